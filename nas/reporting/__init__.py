"""Charts, pictures of cells, the live view, trackers and the report: all that a person looks at.

Modules:
    cells/: Pictures of a cell.
    dashboard: A search as it runs, at the foot of the terminal.
    figures/: Every figure, defined once: in the page, as SVG and as PNG.
    latency_report: Measured latencies as a person reads them: figure, table, comparison.
    page/: The HTML page of a report.
    plots: The figures that searches, retrainings and their costs leave in run folders.
    run_result: What a finished run came to, for Python and notebooks.
    sweeps/: The whole pipeline for every combination of settings, and what all of them come to.
    tensorboard: Metrics for TensorBoard, in the folder `tensorboard` of the run folder.
    trackers: Where metrics go besides the run folder.
"""
