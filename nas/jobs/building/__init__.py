"""From the composed config to objects; nothing else sees Hydra.

Modules:
    compared_controllers: What `nas compare` holds side by side, built from the config.
    compared_models: The models that `nas latency` sets side by side.
    config: From the composed config to objects.
    costs: What a search counts as cost: built from the config, bound to its reward, and kept in the run folder.
    derived_models: Derived models as the config has them.
    parts: What jobs build from the config: space, data, networks.
    ranked_runs: The searches to be ranked, read back from their run folders, finished or not.
    recorded: The config of a run, read back to build its parts: a run folder may come from a stranger.
    run_folder: A run is a folder: opened once, by one process at a time.
    search_parts: Searches, built from the config: the loop with one of its three evaluators.
    settings: Settings of the jobs that are small: report, predictor and tabulate.
"""
