"""The figures of runs and reports, each defined once and drawn by Vega-Lite in the page, as SVG and as PNG.

Modules:
    colours: The colours of a report, by role, on a light page and on a dark one.
    contests: Controllers side by side in a table, from what `nas compare` leaves.
    drawing: Figures as Vega-Lite, from which the page, SVG files and PNGs are drawn.
    figures: What a report shows, as plain data: figures, tables and texts, in sections.
    learning: How runs learned, from `search.csv` and `retrain.csv`: rewards, losses, accuracies.
    mixing: The learned permutations of a trained model, drawn as matrices.
    policy: What the controller came to prefer.
    ranking_figures: How well shared weights rank cells, from what `nas rank` leaves.
    series: Series of the rows of a file: which values are known, and few enough of them for a page.
    swept: In what runs differ: their settings side by side, and figures against the one that was swept.
    timing: Latency as `nas latency` measured it: against batch size, models of all runs beside each other.
    tradeoffs: Accuracy against what it costs: the cells of a search, and the trained models of all runs.
"""
