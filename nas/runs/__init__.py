"""A run is a folder: files that are whole or absent, checkpoints, configs, listing and comparing.

Modules:
    checkpoints: Files that are whole or absent.
    comparison: Whether two runs came to the same, to the bit.
    configs: The config of a run: read from its folder, compared with another, and in what a resumed run may differ.
    console: What a person sees: a header, a progress bar with the time left, fixed-width rows, and the next command.
    intervals: Comparisons of repeated measurements: spread, intervals, rank tests, verdicts.
    listing: Run folders as they stand: the job, its state, how far it is and what it found.
    seeds: Random streams: a seed for each of them, derived from that of the run.
    shards: Portions: one job's work cut among several runs, which any launcher can take to any machine.
    trust: Which dotted names of a run folder, a model file or its card may be called.
"""
