"""From what is typed to what Hydra composes; nothing here imports torch, so help and mistakes are quick.

Modules:
    commands: The commands of the program and what `nas --help` prints.
    completion: Completion of commands, keys and values in bash, zsh and fish.
    conf_files: The settings of a command as its YAML files state them.
    following: Overrides that follow from a genotype.
    help: The text of `nas COMMAND --help`, made from the YAML files alone.
    mistakes: Mistakes that show without torch: unknown keys and options, values out of range, absent files.
    running: One job in its run folder, from the composed config on; a mistake of the user's becomes a few lines.
    search_path: Hydra's search path, with the folder of configs that the environment names.
    words: The words of a command line: options, and overrides in the form that Hydra's grammar takes.
"""
