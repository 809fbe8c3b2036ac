"""How well shared weights rank architectures: the same cells scored with them and trained stand-alone.

Modules:
    chosen_cells: The K cells of a ranking: some that the policies sample, the others stratified draws of the space.
    correlations: Rank correlations, exact with ties, of one pair of lists or of many at once.
    figures: What a ranking comes to: how each run's predictions order the cells.
    intervals: How sure a figure is: percentile bootstrap over cells.
    plots: What a ranking looks like: predictions against stand-alone accuracies.
    selection: What retraining k cells yields: the k predicted best, or k drawn at random, at the same cost.
    settings: How many cells are ranked, how they are scored, and what is reported.
    shared_scores: What a search's shared weights, and its policy, say of cells.
    strata: Which cells are ranked: uniform draws, stratified by what the shared weights predict of them.
    tables: What a person sees of a ranking.
"""
