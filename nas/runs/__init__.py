"""A run is a folder: files that are whole or absent, checkpoints, configs, listing and comparing.

Modules:
    checkpoints: Files that are whole or absent.
    comparison: Comparison of the results of two runs to the bit.
    configs: The config of a run: read from its folder, compared with another, and in what a resumed run may differ.
    console: The output for people: a header, a progress bar with the time left, fixed-width rows, the next command.
    intervals: Comparisons of repeated measurements: spread, intervals, rank tests, verdicts.
    listing: The state of run folders: the job, its progress and its results.
    old_names: The names that classes, functions and settings had before they moved.
    seeds: Random streams: a seed for each of them, derived from that of the run.
    shards: Portions: one job's work cut among several runs, which any launcher can take to any machine.
    trust: Trust in dotted names of a run folder, a model file or its card.
"""
