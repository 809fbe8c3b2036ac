"""What a person looks at: charts, cells, the live view, trackers, the report.

Modules:
    cells/: Pictures of a cell.
    cost_plots: Figures of costs: accuracy against cost with the Pareto front.
    dashboard: A search as it runs, at the foot of the terminal.
    diagnostics_plots: The figure of a search's diagnostics: where the policy is unsure, which ops are likely.
    figures/: The charts of a report, drawn by this project's own scales.
    latency_plots: The figure of a comparison of latencies.
    latency_report: Rows of latencies as a person reads them.
    page/: The HTML page of a report.
    plots: Figures of a run, from the rows it leaves behind to an SVG file that is the same whenever the rows are.
    sweeps/: The whole pipeline for every combination of settings, and what all of them come to.
    tensorboard: Metrics for TensorBoard, in the folder `tensorboard` of the run folder.
    trackers: Where metrics go besides the run folder.
"""
