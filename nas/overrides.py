"""From what is typed after a command to overrides that Hydra takes. Nothing heavy is imported: every command asks."""

from collections.abc import Iterable, Mapping, Sequence

MULTIRUN = {"-m", "--multirun"}


def quote(override: str, *, several: bool = False) -> str:
    """Quotes a value that Hydra's grammar does not take bare: `run/candidates.json#3`, or a genotype as text.

    Args:
        override: A key and its value.
        several: Whether commas part values of a multirun, each to be quoted by itself.
    """
    key, equals, value = override.partition("=")
    is_text = key == "genotype" and any(sign in value for sign in "({[ ")
    if not equals or not ("#" in value or is_text) or value[:1] in ("'", '"') or (value[:1] in "[{" and not is_text):
        return override
    values = value.split(",") if several and not is_text else [value]
    escaped = [one.replace("\\", "\\\\").replace("'", "\\'") for one in values]
    return f"{key}=" + ",".join(f"'{one}'" for one in escaped)


def name_compared(arguments: Sequence[str]) -> list[str]:
    """Turns `--compare A B` into the override `compare=['A','B']`."""
    if "--compare" not in arguments:
        return list(arguments)
    at = arguments.index("--compare")
    names = ",".join(f"'{name}'" for name in arguments[at + 1 : at + 3])
    return [*arguments[:at], f"compare=[{names}]", *arguments[at + 3 :]]


def follow_genotype(overrides: Sequence[str]) -> list[str]:
    """Adds the network that the genotype's cells are made for, unless the command names a network.

    Raises:
        ValueError: If several genotypes of one multirun are made for different networks.
    """
    values = dict(override.split("=", 1) for override in overrides if "=" in override)
    reference = _genotype(values)
    if "network" in values or not reference:
        return list(overrides)
    from nas.genotypes import load_genotype, network_group

    references = _references(overrides, reference)
    groups = {network_group(name) for name in references}
    if len(groups) > 1:
        try:
            for name in references:
                load_genotype(name)
        except FileNotFoundError as error:
            raise ValueError(str(error)) from error
        raise ValueError(
            "the genotypes of this multirun are made for different networks "
            f"({', '.join(sorted(group or 'unknown' for group in groups))}); start one multirun for each"
        )
    group = groups.pop()
    return list(overrides) if group is None else [f"network={group}", *overrides]


def follow_run(overrides: Sequence[str], *, images: str = "") -> list[str]:
    """Returns, as overrides, with what network, images and classes the run of the genotype has it.

    What the command says itself is left out: keys, the whole network where it names one, the images where it names
    data, and all of it where it names an experiment, which may say anything. Of several runs, of a multirun, what they
    agree in is taken.

    Args:
        overrides: Of the command.
        images: The group of the keys `image_shape` and `num_classes`, with a dot.
    """
    values = dict(override.split("=", 1) for override in overrides if "=" in override)
    reference = _genotype(values)
    if not reference or values.get("experiment", "null") not in ("", "null"):
        return []
    from nas.console import note
    from nas.run_networks import overrides_of_run

    found = [overrides_of_run(one) for one in _references(overrides, reference)]
    agreed = {key: value for key, value in found[0].items() if all(one.get(key) == value for one in found)}
    if differing := {key for one in found for key in one} - set(agreed):
        note(f"the runs differ in {_subjects(sorted(differing))}: there all are taken as the command says")
    if "network" in values:
        agreed = {key: value for key, value in agreed.items() if not key.startswith("network.")}
    if any(key.split(".")[0] == "data" for key in values):
        agreed = {key: value for key, value in agreed.items() if key.startswith("network.")}
    grouped = {key if "." in key else images + key: value for key, value in agreed.items()}
    added = {key: value for key, value in grouped.items() if key not in values}
    if added:
        note(f"{_subjects(added)}: as in the run of {reference}")
    return [f"{key}={value}" for key, value in added.items()]


def _subjects(keys: Iterable[str]) -> str:
    """Returns what overrides are about: the network, or a key itself."""
    return ", ".join(dict.fromkeys("network" if key.startswith("network.") else key for key in keys))


def _genotype(values: Mapping[str, str]) -> str:
    """Returns the genotype that a command names, without quotes around it; empty if it names none."""
    given = values.get("genotype", "")
    quoted = len(given) > 1 and given[0] == given[-1] and given[0] in "'\""
    return "" if given == "null" else given[1:-1] if quoted else given


def _references(overrides: Sequence[str], genotype: str) -> list[str]:
    """Returns the genotypes that a command names, of a multirun several."""
    return genotype.split(",") if MULTIRUN & set(overrides) and "(" not in genotype else [genotype]
