"""What a person looks at: charts, cells, the live view, trackers, the report.

Modules:
    cells/: Pictures of a cell.
    cost_plots: Figures of costs: accuracy against cost with the Pareto front.
    dashboard: A search as it runs, at the foot of the terminal.
    diagnostics_plots: The figure of a search's diagnostics: where the policy is unsure, which ops are likely.
    figures/: Every figure, defined once: in the page, as SVG and as PNG.
    latency_plots: The figure of a comparison of latencies.
    latency_report: Rows of latencies as a person reads them.
    page/: The HTML page of a report.
    plots: The figures that a search and a retraining leave in their run folders.
    sweeps/: The whole pipeline for every combination of settings, and what all of them come to.
    tensorboard: Metrics for TensorBoard, in the folder `tensorboard` of the run folder.
    trackers: Where metrics go besides the run folder.
"""
