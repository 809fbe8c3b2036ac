"""From the composed config to objects; nothing else sees Hydra.

Modules:
    compared_models: The models that `nas latency` compares.
    config: Builds what a `_target_` names, and reads the config of an earlier run, which may come from a stranger.
    costs: The costs of a search: built from the config, bound to its reward, and kept in the run folder.
    derived_models: Derived models: their settings, size, initial weights, how long they train, and the pool for that.
    extension: More of a run: a search or a retraining of more epochs goes on from a checkpoint.
    parts: The parts that several jobs build from the config: runtime, data, genotype, networks.
    ranked_runs: The searches to be ranked, read back from their run folders, finished or not.
    run_folder: A run is a folder: opened once, by one process at a time.
    search_parts: Searches, built from the config: the loop with one of its three evaluators.
    settings: Settings of small jobs: report, predictor, score and tabulate.
"""
