"""The charts of a report, drawn by this project's own scales.

Modules:
    colours: The colours of a report, by role, on a light page and on a dark one.
    contests: Controllers side by side in a table, from what `nas compare` leaves.
    drawing: A drawing is a list of marks in px, y downwards; each has a role, which a style turns into a colour.
    figures: What a report shows, as plain data.
    learning: How runs learned, from `search.csv` and `retrain.csv`.
    matrices: The layout of figures made of little squares.
    mixing: The learned permutations of a trained model, drawn as matrices.
    plots: The layout of charts: from values to a drawing, and what a reader's pointer needs to find the values ...
    policy: What the controller came to prefer.
    ranking_figures: How well shared weights rank cells, from what `nas rank` leaves.
    scales: From values to places on an axis, and the round values that are marked there.
    series: Series of the rows of a file.
    swept: In what runs differ: their settings side by side, and figures against the one that was swept.
    timing: Latency as `nas latency` measured it.
    tradeoffs: Accuracy against what it costs.
"""
