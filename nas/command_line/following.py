"""What follows from a genotype: the network its cells are made for, and the sizes of the run that it lies in.

A command line stays as typed; what follows is composed before it, so that everything typed wins, `--cfg job` shows it,
and a line says so.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from nas.command_line.words import Words

IMAGES_OF = {"show": "", "latency": "latency."}
"""Commands that take sizes and images from the run of a genotype, and the group in which theirs of the images are."""


def followed(command: str, words: Words) -> list[str]:
    """Returns the overrides that follow from the genotype a command names, and prints a line about them.

    Raises:
        ValueError: If several genotypes of one multirun are made for different networks, or one is not valid.
        FileNotFoundError: If a genotype is not there.
    """
    from nas.runs.console import note

    references = _references(words)
    if not references or command not in ("show", "latency", "retrain", "export", "score"):
        return []
    network = [] if "network" in words.values else _network(references)
    of_run = _of_run(words, references, images=IMAGES_OF[command]) if command in IMAGES_OF else {}
    chosen = [f"network={network[0]}"] if network else []
    reference = words.values["genotype"]
    if of_run:
        note(f"{', '.join(_subjects(of_run))}: as in the run of {reference}")
    elif chosen not in ([], ["network=shufflenasnet"]):
        note(f"{chosen[0]}: the one that the cells of {reference} are made for")
    return [*chosen, *(f"{key}={value}" for key, value in of_run.items())]


def _references(words: Words) -> list[str]:
    """Returns the genotypes that a command names, of a multirun several; none if it names none."""
    given = words.values.get("genotype", "null")
    if len(given) > 1 and given[0] == given[-1] and given[0] in "'\"":
        given = given[1:-1]
    if given in ("", "null"):
        return []
    choice = re.fullmatch(r"choice\((.*)\)", given) if words.several else None
    given = choice[1] if choice else given
    return given.split(",") if words.several and "(" not in given else [given]


def _network(references: list[str]) -> list[str]:
    """Returns the one network group of all genotypes, or none if it is not known."""
    from nas.models.genotype_files import load_genotype, network_group

    for reference in references:
        load_genotype(reference)
    groups = {network_group(reference) for reference in references}
    if len(groups) > 1:
        raise ValueError(
            "the genotypes of this multirun are made for different networks "
            f"({', '.join(sorted(group or 'unknown' for group in groups))}); start one multirun for each"
        )
    return [group for group in groups if group is not None]


def _of_run(words: Words, references: list[str], *, images: str) -> dict[str, str]:
    """Returns by key the sizes of network and images that the runs of all genotypes agree in.

    Left out is what the command says itself: keys, the whole network where it names one, the images where it names
    data, and everything where it names an experiment, which may set any of it.
    """
    from nas.models.genotype_files import is_genotype_itself
    from nas.runs.console import note
    from search_spaces.published import PUBLISHED

    values = words.values
    if values.get("experiment", "null") not in ("", "null") or any(
        is_genotype_itself(one) or (one in PUBLISHED and not Path(one).exists()) for one in references
    ):
        return {}
    from nas.models.of_runs import overrides_of_run

    found = [overrides_of_run(reference) for reference in references]
    agreed = {key: value for key, value in found[0].items() if all(one.get(key) == value for one in found)}
    if differing := {key for one in found for key in one} - set(agreed):
        note(f"the runs differ in {', '.join(_subjects(sorted(differing)))}; the command's own is taken for all")
    if "network" in values:
        agreed = {key: value for key, value in agreed.items() if not key.startswith("network.")}
    if any(key.split(".")[0] == "data" for key in values):
        agreed = {key: value for key, value in agreed.items() if key.startswith("network.")}
    grouped = {key if "." in key else images + key: value for key, value in agreed.items()}
    return {key: value for key, value in grouped.items() if key not in values}


def _subjects(keys: Iterable[str]) -> list[str]:
    """Returns what keys are about: the network, or a key itself."""
    return list(dict.fromkeys("network" if key.startswith("network.") else key for key in keys))
