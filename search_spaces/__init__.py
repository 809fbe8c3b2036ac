"""The search spaces: decisions and genotypes as pure data, and the modules that a choice becomes.

Modules:
    auto_shuffle: The learned permutation of AutoShuffleNet.
    batch_norm: Batch norm, with the statistics of several processes, and faster on the CPU.
    butterfly: Butterfly and kaleidoscope matrices: products that apply in O(n log n).
    canonical: The canonical form of a cell.
    cell_space: The search spaces of two cells made of blocks.
    cells: The cell: one module for every cell-based space.
    classes: Uniform draws over what genotypes compute.
    dynamic_shuffle: Shuffles that depend on the image.
    genotype: The pure data of a search: decisions and genotypes.
    graph_canonical: The canonical form of a labelled directed graph.
    kaleidoscope: Kaleidoscope matrices as mixers.
    mixers: The interface of mixers, and the table of them by name.
    nasbench201: The cell of NAS-Bench-201.
    nasnet: The pair-block space of NASNet, ENAS and DARTS.
    notation_nni: Cells exported by NNI.
    notation_parts: The parts that all readers of foreign notations share.
    notations: Cells in the notations of other tools.
    ops: The table of ops by name.
    permutations: Permutations as matrices, index vectors and Kronecker products.
    published: Cells that papers published or searches of this project found.
    shufflenas: The search space of ShuffleNASNet.
    shuffles: The mixers that come with the project.
    space: The interface of every search space.
    switches: Switch networks: any permutation as few layers of switches.
"""
