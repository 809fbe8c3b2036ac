"""Rankings of architectures by shared weights: the same cells scored with them and trained stand-alone.

Modules:
    chosen_cells: The K cells of a ranking: some that the policies sample, the others stratified draws of the space.
    estimates: Rank correlations, the best of k retrained cells, and bootstrap intervals over cells.
    figures: The figures of a ranking: how each run's predictions order the cells.
    ordering: Measures of how well scores order cells whose true quality is known.
    plots: Figures of a ranking: predictions against stand-alone accuracies.
    settings: How many cells are ranked, how they are scored, and what is reported.
    shared_scores: What a search's shared weights, and its policy, say of cells.
    table_truth: Cells whose truth a table holds, and how well shared scores order them.
    tables: The text that a person sees of a ranking.
"""
