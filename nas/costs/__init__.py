"""What an architecture costs: counted, timed and predicted, and judged by the guidelines of ShuffleNet V2.

Modules:
    cell_graph: The graph of a cell as guideline G3 of ShuffleNet V2 sees it (Ma et al. 2018, arXiv:1807.11164, §2).
    counting: What a genotype costs: parameters, multiply-adds or latency, each a number with a unit.
    guidelines: How an architecture stands under the four guidelines of ShuffleNet V2.
    guidelines_text: The guideline check in words, and its table of layers, for the terminal.
    latency/: How long models take: measured side by side, over batch sizes, backends, precisions and threads.
    latency_predictor: Predicting the latency of a genotype.
    latency_table: Tables of how long the parts of networks take on a device, measured once and kept on disk.
    network_layers: Walking through a network of cells.
    network_parts: What a network is made of, part by part, and which parts a genotype's path takes.
    operation_costs: What tensor operations cost on one image.
    operations: What a forward pass computes, operation by operation.
    pareto: Pareto fronts of two aims: a cost that should be low and a value, such as accuracy, that should be high.
    part_modules: Modules that stand for what a network does between its modules, so that it can be timed by itself.
    settings: The costs there are, and how latency is measured where it is one of them.
"""
