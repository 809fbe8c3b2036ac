"""Controllers compared in one table, over many seeds, under the same budget.

Modules:
    figures: What trials come to: means and spreads, whether a difference is shown, and curves.
    plots: Figures of a comparison: the way of the incumbents, and the share of the true front that was found.
    settings: What is compared, and on which seeds.
    tables: What a person sees of a comparison: tables, and the verdict on each controller.
    trials: One search of one controller from one seed.
"""
