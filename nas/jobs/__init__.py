"""The jobs behind the commands, one `run(cfg, out, tracker=…)` each; they join through files in the run folder."""
