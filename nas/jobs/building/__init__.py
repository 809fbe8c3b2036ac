"""From the composed config to objects; nothing else sees Hydra.

Modules:
    compared_controllers: What `nas compare` holds side by side, built from the config.
    compared_models: The models that `nas latency` sets side by side.
    config: From the composed config to objects.
    costs: What a search counts as cost.
    derived_models: Derived models as the config has them.
    parts: What jobs build from the config.
    ranked_runs: The searches to be ranked, read back from their run folders, finished or not, and what they ...
    recorded: The config of a run, read back to build its parts.
    run_folder: A run is a folder: opened once, by one process at a time, with the config and the machine written ...
    search_parts: The parts of a search with shared weights, built from the config.
    settings: Settings of the jobs that are small.
"""
