"""Cells proposed, rewarded, watched and put through finals.

Modules:
    choice_shares: How often a controller chose what, and how likely its policy makes it.
    diagnostics/: Whether a search is healthy: what every epoch is recorded by, and when a user is warned.
    evaluators: Evaluators turn genotypes into rewards; a reward function says what of a measurement counts.
    finals: The best candidates of a search trained stand-alone before one of them is called found.
    random_cells: The cells of the random baseline.
    reward_functions: Rewards that weigh accuracy against what a cell costs, latency in the first place.
    search: The search itself: shared weights and controller trained in turns (ENAS, arXiv:1802.03268, §2.2).
    settings: What a search with shared weights is told: its protocol, beside how weights train.
    table_files: Tables of what somebody has trained before, read from CSV files.
    table_lookup: Evaluation by looking up what somebody has trained before.
    tabular_search: A search without weights: cells are sampled, looked up in a table and learned from.
    tabular_settings: What a search in a table is told.
"""
