"""Overrides that follow from a genotype: the network its cells are made for, and the sizes of its run.

These overrides are composed before those of the command line, so that everything typed wins; `--cfg job` shows them,
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
    network = None if "network" in words.values else _network(references)
    of_run = _of_run(words, references, images=IMAGES_OF[command]) if command in IMAGES_OF else {}
    if of_run:
        note(f"{', '.join(_subjects(of_run))}: as in the run of {words.values['genotype']}")
    elif network not in (None, "shufflenasnet"):
        note(f"network={network}: the one that the cells of {words.values['genotype']} are made for")
    return [f"{key}={value}" for key, value in {"network": network, **of_run}.items() if value is not None]


def _references(words: Words) -> list[str]:
    """Returns the genotypes that a command names, of a multirun several; none if it names none."""
    given = re.sub(r"""^(['"])(.*)\1$""", r"\2", words.values.get("genotype", "null"))
    if given in ("", "null"):
        return []
    given = re.sub(r"^choice\((.*)\)$", r"\1", given) if words.several else given
    return given.split(",") if words.several and "(" not in given else [given]


def _network(references: list[str]) -> str | None:
    """Returns the one network group of all genotypes; None if it is not known."""
    from nas.models.genotype_files import load_genotype, network_group

    for reference in references:
        load_genotype(reference)
    groups = {network_group(reference) for reference in references}
    if len(groups) > 1:
        raise ValueError(
            "the genotypes of this multirun are made for different networks "
            f"({', '.join(sorted(group or 'unknown' for group in groups))}); start one multirun for each"
        )
    return groups.pop()


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
    own_data = any(key.split(".")[0] == "data" for key in values)
    taken = {key: value for key, value in agreed.items() if not ("network" in values if "." in key else own_data)}
    grouped = {key if "." in key else images + key: value for key, value in taken.items()}
    return {key: value for key, value in grouped.items() if key not in values}


def _subjects(keys: Iterable[str]) -> list[str]:
    """Returns what keys are about: the network, or a key itself."""
    return list(dict.fromkeys("network" if key.startswith("network.") else key for key in keys))
