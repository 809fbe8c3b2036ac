"""The jobs, one `run(cfg, out)` for each command, and what they share.

Modules:
    bench: Bench: how fast does this machine search and retrain, and how far is that from what it could do?.
    building/: From the composed config to objects; nothing else sees Hydra.
    compare: Compare: several controllers in one table, over many seeds, under the same budget.
    export: Export: write a trained model for use elsewhere, check that it computes the same, and leave a model ...
    failures: What is said of a job that cannot go on.
    finals: The finals of a search: its best candidates trained stand-alone, each resumable, then put in order by ...
    front: The Pareto front of a search.
    latency: Latency: time forward passes of models side by side, over batch sizes, backends, precisions and ...
    multirun: Multiruns: what a command with several values of a key asks for, and which of its members this ...
    permutations: Permutations: the papers' demonstrations of learned permutations, with tables and pictures.
    pipeline: Pipeline: search, retrain the found cell beside random ones, time it, and report, in one run folder.
    predict: Predict: run a trained model on image files and write down its most likely classes.
    predictor: Predictor: measure the latency table, and how well sums over it foretell the latency of whole ...
    rank: Rank: the same cells scored with the shared weights of searches and trained stand-alone; do the two ...
    replay: Replay: run a finished run again, from what its folder records, and say whether it comes to the same.
    report: Report: one HTML page of runs that opens from disk, with its figures and tables as files beside it.
    retrain: Retrain: train derived models from a found cell, beside random ones at the same budget, and measure ...
    runs: Runs: what runs there are, how far they are and what they found; or in what two of them differ.
    search: Search: train shared weights and controller in turns, then derive the best cells and write them down.
    show: Show: draw a genotype, count the model it makes, and hold it against the guidelines.
    sweep: Sweep: the pipeline for every combination of settings, through Hydra's multirun, and one summary of all.
    table: Table: the published figures of Table I beside what this code counts and what runs measured.
    tabular_search: Search in a table: what `nas search` does where cells are looked up instead of trained.
    watching: What the jobs that search tell of the watch over a search.
"""
