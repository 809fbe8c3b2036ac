"""The commands of the program and what `nas --help` prints; imports nothing that takes time."""

import os
from pathlib import Path

CONF = Path(__file__).parents[2] / "conf"
"""The configs of the commands and their groups."""
CONFIG_DIR = "NAS_CONFIG_DIR"
"""Environment variable: a folder of the user's own configs, laid out like `conf/`, which every command reads too."""
COMMANDS = (
    *("pipeline", "sweep", "search", "retrain", "latency", "bench", "predictor", "rank", "tabulate", "score"),
    *("compare", "runs", "show", "export", "predict", "replay", "permutations", "report", "table"),
)


def usage() -> str:
    """Returns the help of the program: its commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = "".join(f"  {name:<{width}}  {_summary(name)}\n" for name in COMMANDS)
    return (
        "usage: nas COMMAND [KEY=VALUE ...] [options]\n\n"
        f"commands:\n{lines}\n"
        "Every setting is a Hydra override: data=cifar10 search.epochs=50 search_space.blocks=4.\n"
        "  nas COMMAND --help       the settings and their values\n"
        "  nas COMMAND --cfg job    the composed config\n"
        "  nas COMMAND -m KEY=A,B   one run for each value\n"
        "  name=RUN                 the run folder results/runs/RUN; the same name resumes a run that stopped\n"
    )


def own_configs() -> Path | None:
    """Returns the folder of configs that the environment names, absolute; None if it names none.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If a config in it has the name of one of the package, which would hide it.
    """
    if not (named := os.environ.get(CONFIG_DIR)):
        return None
    folder = Path(named).expanduser().resolve()
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {named}, which {CONFIG_DIR} names")
    found = [path.relative_to(folder) for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}*.yaml")]
    if hidden := [str(file) for file in found if (CONF / file).exists()]:
        raise ValueError(f"{CONFIG_DIR}={named} has {hidden[0]}, and so has this package; give yours another name")
    return folder


def _summary(command: str) -> str:
    """Returns the first line of a command's config, without parsing it."""
    with (CONF / f"{command}.yaml").open(encoding="utf-8") as file:
        return file.readline().removeprefix("# ").strip().removesuffix(".")
