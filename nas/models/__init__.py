"""Networks, and trained networks made ready for use.

Modules:
    derived: Networks of any architecture: bound to a genotype, given shared weights, counted.
    exporting/: Trained models for use elsewhere: as ONNX, as a torch.export program, as one Python file.
    genotype_files: Genotypes by reference: a file, a run folder, a published name, another tool's text.
    hardening: Learned mixers on the way from soft to exact.
    inference/: A trained network made ready for inference without changing its function.
    loading: A trained model in one line: `model = nas.load_model("results/runs/four")`.
    macro: Parts that the macro-architectures share: numbers of cells, stems, mixers, initial weights.
    model_card: Records of trained models, which hold all but the weights.
    nasbench201: The network of NAS-Bench-201 (arXiv:2001.00326, §2.1).
    of_runs: Networks of the cells of a run, as its files describe them.
    prediction: A trained model on image files.
    prediction_settings: How images are read for a prediction, and what is shown.
    shufflenasnet: The network of ShuffleNASNet (arXiv:1812.02975, §III-B).
    shufflenets: ShuffleNet v1 and v2, with any mixer in the place of their channel shuffle.
    stacked_cells: The network of NASNet's descendants, and its auxiliary classifier.
"""
