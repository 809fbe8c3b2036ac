"""Cells proposed, rewarded, watched and put through finals.

Modules:
    cell_files: Cells with figures from files: rewards known before, scores that a search begins with.
    diagnostics/: The figures that record every epoch of a search, and the rules by which a user is warned.
    evaluators: The protocol of an evaluator, which rewards architectures, and of a reward function.
    finals: The best candidates of a search trained stand-alone before one of them is called found.
    random_cells: The cells of the random baseline.
    readouts: The loss of a path after a simple readout of its outputs is fitted to the images.
    reward_functions: Rewards that weigh accuracy against what a cell costs, latency in the first place.
    search: The loop: a controller proposes, an evaluator rewards, the controller learns.
    settings: Settings of searches: with shared weights, and with exact rewards.
    shared_weights: An evaluator: a supernet, trained a path at a time, scores every architecture.
    stand_alone: An evaluator, and the truth of a ranking: cells trained from scratch for a short budget.
    supernet_scorer: Scores of architectures under the weights that they share.
    table_files: Tables of what somebody has trained before, read from CSV files.
    table_lookup: An evaluator: rewards looked up in such a table.
    zero_cost: Scores of untrained networks, from one batch of images.
"""
