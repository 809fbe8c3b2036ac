"""Networks, and trained networks made ready for use.

Modules:
    auxiliary: The auxiliary classifier of NASNet's descendants.
    derived: What is done with a network whatever its architecture.
    exporting/: Trained models for use elsewhere.
    genotype_files: Finding the genotype a user means.
    hardening: Learned mixers on the way from soft to exact.
    inference/: A trained network made ready for inference without changing its function.
    loading: A trained model in one line.
    macro: What the macro-architectures have in common.
    model_card: What there is to know of a trained model beside its weights.
    of_runs: What a run says of the networks of its cells.
    prediction: A trained model on image files.
    prediction_settings: How images are read for a prediction, and what is shown.
    shufflenasnet: The network of ShuffleNASNet (arXiv:1812.02975, §III-B).
    shufflenets: ShuffleNet v1 and v2, the bodies in which AutoShuffleNet, dynamic shuffle and kaleidoscope ...
    stacked_cells: The network of NASNet's descendants.
"""
