"""The jobs, one `run(cfg, out)` for each command, and what they share.

Modules:
    bench: How fast does this machine search and retrain, and how far is that from what it could do?
    building/: From the composed config to objects; nothing else sees Hydra.
    compare: Several controllers in one table, over many seeds, under the same budget.
    export: Write a trained model for use elsewhere, check that it computes the same, and leave a model card with it.
    failures: What is said of a job that cannot go on: what is wrong, what was kept, and the cure, in a few lines.
    finals: The finals of a search: its best candidates trained stand-alone, each resumable.
    front: The Pareto front of a search: which candidates no other beats in both accuracy and cost.
    latency: Time forward passes of models side by side, over batch sizes, backends, precisions and threads.
    multirun: Multiruns: what a command with several values of a key asks for.
    permutations: The papers' demonstrations of learned permutations, with tables and pictures.
    pipeline: Search, retrain the found cell beside random ones, time it, and report, in one run folder.
    predict: Run a trained model on image files and write down its most likely classes.
    predictor: Measure the latency table, and how well sums over it foretell the latency of whole networks.
    rank: The same cells scored with the shared weights of searches and trained stand-alone; do the two agree?
    replay: Run a finished run again, from what its folder records, and say whether it comes to the same.
    report: One HTML page of runs that opens from disk, with its figures and tables as files beside it.
    retrain: Train derived models from a found cell, beside random ones at the same budget, and measure them.
    runs: What runs there are, how far they are and what they found; or in what two of them differ.
    score: Judge cells by their untrained networks, on one batch of images.
    search: Let a controller propose cells and an evaluator reward them, then write the best down.
    show: Draw a genotype, count the model it makes, and hold it against the guidelines.
    sweep: The pipeline for every combination of settings, through Hydra's multirun, and one summary of all.
    table: The published figures of Table I beside what this code counts and what runs measured.
    tabulate: Train cells of a space from scratch, in narrow bins of size, and write a table of what each comes to.
    watching: What the jobs that search tell of the watch over a search: lines as they come, files at the end.
"""
