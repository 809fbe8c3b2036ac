"""Costs of an architecture: counted, timed and predicted, and judged by the guidelines of ShuffleNet V2.

Modules:
    counting: Costs of a genotype: parameters, multiply-adds or latency, each a number with a unit.
    guidelines: A network under the four guidelines of ShuffleNet V2.
    guidelines_text: The guideline check in words, and its table of layers, for the terminal.
    latency/: Latencies of models, measured side by side over batch sizes, backends, precisions and threads.
    latency_predictor: Predicting the latency of a genotype.
    latency_table: Tables of how long the parts of networks take on a device, measured once and kept on disk.
    network_layers: Walking through a network of cells.
    network_parts: The parts that a network is made of, and those that a genotype's path takes.
    operation_costs: Costs of tensor operations on one image.
    operations: Recording of a forward pass, operation by operation.
    pareto: Pareto fronts of two aims: a cost that should be low and a value, such as accuracy, that should be high.
    settings: The costs there are, and how latency is measured where it is one of them.
"""
