"""Cells proposed, rewarded, watched and put through finals.

Modules:
    accuracy_predictor: A predictor of accuracy from a few trainings, by which finals choose further cells.
    diagnostics/: The figures that record every epoch of a search, and the rules by which a user is warned.
    evaluators: The protocol of an evaluator, which rewards architectures, and of a reward function.
    random_cells: The cells of the random baseline.
    reward_functions: Rewards that weigh accuracy against what a cell costs, latency in the first place.
    search: The loop: a controller proposes, an evaluator rewards, the controller learns.
    settings: Settings of searches: with shared weights, and with exact rewards.
    shared_weights: An evaluator: a supernet, trained a path at a time, scores every architecture.
    stand_alone: An evaluator, the truth of a ranking, and finals: cells trained from scratch for a short budget.
    successive_halving: The rungs of finals, and the budgets that bound them.
    supernet_scorer: Scores of architectures under the weights that they share, calibrated or not.
    table_files: Cells with figures from CSV files: tables of results, rewards known before, cells to begin with.
    table_lookup: An evaluator: rewards looked up in such a table.
    zero_cost: Scores of untrained networks, from one batch of images.
"""
