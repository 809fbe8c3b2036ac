"""The jobs, one `run(cfg, out)` for each command, and what they share.

Modules:
    bench: The speed at which this machine searches and retrains, and how far that is from what it could reach.
    budget: The plan of a run that is to end in time, made from measured steps, and what is decided by the clock.
    building/: From the composed config to objects; nothing else sees Hydra.
    compare: Several controllers in one table, over many seeds, under the same budget.
    export: A trained model written for use elsewhere, checked to compute the same, with a model card.
    failures: Messages for a job that cannot continue: what is wrong, what was kept, and the cure, in a few lines.
    finals: The finals of a search: its best candidates trained stand-alone, each resumable.
    latency: Forward passes of models timed next to each other, over batch sizes, backends, precisions and threads.
    multirun: Multiruns: a command with several values of a key, and the members that Hydra makes of it.
    permutations: The papers' demonstrations of learned permutations, with tables and pictures.
    pipeline: Search, retraining of the found cell next to random ones, latency and report, in one run folder.
    predict: The most likely classes of image files, by a trained model.
    predictor: The latency table, and how well sums over it predict the latency of whole networks.
    rank: The same cells scored with the shared weights of searches and trained stand-alone, and how well they agree.
    rank_table: The same with a table as the ground truth: every cell of a space scored.
    replay: A finished run repeated from its folder, and whether the results are the same.
    report: One HTML page of runs that opens from disk, with its figures and tables as files next to it.
    retrain: Derived models trained from a found cell, next to random ones at the same budget, and measured.
    runs: The runs there are, their progress and results; or the differences between two of them.
    score: Cells scored by their untrained networks, on one batch of images.
    search: A controller proposes cells and an evaluator rewards them.
    search_results: The files and lines that a search ends with: the best cells, the Pareto front, the warnings.
    show: A genotype drawn, its model counted and examined by the guidelines.
    sweep: The pipeline for every combination of settings, through Hydra's multirun, and one summary of all.
    table: The published figures of Table I next to what this code counts and what runs measured.
    tabulate: Cells of a space trained from scratch, in narrow bins of size, and the table of their accuracies.
"""
