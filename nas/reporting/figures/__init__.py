"""The figures of runs and reports, each defined once and drawn by Vega-Lite in the page, as SVG and as PNG.

Modules:
    colours: The colours of a report, by role, on a light page and on a dark one.
    costs: Accuracy against cost, and latency as `nas latency` measured it.
    drawing: Figures as Vega-Lite, from which the page, SVG files and PNGs are drawn.
    figures: Figures, tables and texts of a report as plain data, in sections.
    mixing: The learned permutations of a trained model, drawn as matrices.
    searches: Searches and retrainings of a run: rewards, losses, accuracies, preferences of the controller.
    series: Series made from the rows of a file: known values only, and few enough of them for a page.
    studies: Studies of the method: how well shared weights rank cells, and controllers compared.
    swept: Settings in which runs differ: in a table, and as the axis against which results are drawn.
"""
