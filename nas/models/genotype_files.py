"""Genotypes by reference: a file or an entry of it, a run folder, a published name, or another tool's text."""

import difflib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import yaml

from nas.runs.old_names import current_name
from search_spaces import nasbench201
from search_spaces.genotype import MAX_JSON_BYTES, Genotype, parse_json
from search_spaces.notation_parts import named_genotypes
from search_spaces.notations import read_notation
from search_spaces.published import PUBLISHED, published_names

SHOWN_LENGTH = 80
STACKED = ("darts", "enas")
"""Networks of `nas.models.stacked_cells`: their macro-architecture is called as their config group."""
MAX_LISTED = 20  # names in a message


def load_genotype(reference: str | Path) -> Genotype:
    """Reads a genotype.

    Args:
        reference: A file with one genotype, as JSON or in the notation of DARTS, ENAS, NNI, NASLib or NAS-Bench-201; a
            run folder, meaning its `genotype.json`; `FILE#INDEX`, an entry of a list such as a search's
            `candidates.json`, counted from 0; `FILE#NAME`, a genotype of a Python file such as DARTS's `genotypes.py`;
            the name of a published cell; or another tool's notation itself. A file or folder of a published cell's
            name comes first.

    Raises:
        FileNotFoundError: If it is none of these; the message lists the published names.
        ValueError: If the file or text does not hold a valid genotype.
    """
    text = str(reference)
    if is_genotype_itself(text):
        return _read(text, None, source="the text given")
    path, entry = split_reference(text)
    if not _is_path(path):
        raise FileNotFoundError(_absent(text[:SHOWN_LENGTH], path=text[:SHOWN_LENGTH]))
    if not path.exists() and text in PUBLISHED:
        return PUBLISHED[text].genotype
    if path.is_dir():
        path = path / "genotype.json"
    if not path.is_file():
        raise FileNotFoundError(_absent(text, path=path))
    return _read(bounded_text(path), entry, source=text)


def network_group(reference: str) -> str | None:
    """Returns the config group of the network that a genotype's cells are made for; None if that is not known.

    Published cells know theirs, and run folders have it in their config, unless their cells were looked up in a table;
    of the pair-block space, DARTS's network is taken for all others.
    """
    if is_genotype_itself(reference):
        return _network_of_space(reference)
    path, _ = split_reference(reference)
    if not _is_path(path):
        return None
    if reference in PUBLISHED and not path.exists():
        return PUBLISHED[reference].models[0].network
    of_space = _network_of_space(reference)
    return of_space if of_space == nasbench201.NAME else _network_of_run(path) or of_space


def _is_path(path: Path) -> bool:
    """Whether the system takes a text for a path at all: it may be too long, or hold a null character."""
    try:
        path.exists()
    except (OSError, ValueError):
        return False
    return "\0" not in str(path)


def bounded_text(path: Path) -> str:
    """Returns the text of a file; raises ValueError if it is too large."""
    with path.open("rb") as file:
        data = file.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise ValueError(f"{path}: the file is larger than {MAX_JSON_BYTES} bytes")
    return data.decode("utf-8", errors="replace")


def _absent(reference: str, *, path: Path | str) -> str:
    """Says what might have been meant by a reference to nothing."""
    near = near_references(reference)
    hint = f"did you mean {near[0]}?" if near else "`nas search` writes one into its run folder."
    return f"no genotype at {path}; {hint} Published ones are {published_names()}"


def near_references(reference: str, known: Iterable[str] = PUBLISHED, *, most: int = 1) -> list[str]:
    """Returns what may have been meant by a reference to nothing: a run of that name, then known names spelt alike."""
    run = Path("results/runs") / reference
    runs = [str(run)] if _is_path(run) and run.is_dir() else []
    return [*runs, *difflib.get_close_matches(reference.lower(), list(known), n=most)]


def is_genotype_itself(reference: str) -> bool:
    """Whether the text is no name of a file or cell but a genotype in another tool's notation."""
    path, _ = split_reference(reference)
    if _is_path(path) and path.exists():
        return False
    return "(" in reference or "{" in reference or reference.lstrip().startswith("|") or len(reference.split()) > 1


def split_reference(reference: str) -> tuple[Path, str | None]:
    """Returns the path of a reference and the entry behind its `#`, if any; a path that exists is never split."""
    whole = Path(reference)
    name, sign, entry = reference.rpartition("#")
    if not name or not sign or (_is_path(whole) and whole.exists()):
        return whole, None
    return Path(name), entry


def _network_of_space(reference: str) -> str | None:
    networks = {"nasnet": "darts", "shufflenas": "shufflenasnet", nasbench201.NAME: nasbench201.NAME}
    with suppress(ValueError, OSError):  # the job itself will say what is wrong
        return networks.get(load_genotype(reference).space)
    return None


def _network_of_run(path: Path) -> str | None:
    """Returns the network group that the config of a run, which a path is or lies in, was made with."""
    run = path if path.is_dir() else path.parent
    with suppress(OSError, ValueError, yaml.YAMLError, LookupError, AttributeError, TypeError, RecursionError):
        network = yaml.safe_load(bounded_text(run / "config.yaml"))["network"]
        stacked = network.get("macro") if network.get("macro") in STACKED else None  # no path: Hydra would open that
        groups = {
            "nas.models.shufflenasnet.ShuffleNASNet": "shufflenasnet",
            "nas.models.stacked_cells.StackedCells": stacked,
        }
        return groups.get(current_name(network["_target_"]))
    return None


def load_genotypes(path: str | Path) -> list[Genotype]:
    """Reads every genotype of a list such as a search's `random.json`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file does not hold a list of genotypes.
    """
    if not _is_path(Path(path)) or not Path(path).is_file():
        raise FileNotFoundError(f"no list of genotypes at {path}; `nas search` writes random.json into its run folder")
    try:
        data = parse_json(bounded_text(Path(path)))
        if not isinstance(data, list):
            raise ValueError(f"it must hold a list, got {type(data).__name__}")
        return [Genotype.from_dict(_entry(data, str(number))) for number in range(len(data))]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read(text: str, entry: str | None, *, source: str) -> Genotype:
    """Reads this project's JSON, or else another tool's notation, or an entry of either."""
    try:
        if not text.lstrip().startswith(("{", "[")):
            return read_notation(_named(named_genotypes(text), entry, text))
        data = parse_json(text)
        if entry is not None:
            return Genotype.from_dict(_entry(data, entry))
        if isinstance(data, dict) and ("space" in data or isinstance(data.get("normal"), dict)):
            return Genotype.from_dict(data)
        if isinstance(data, list) and (not data or isinstance(data[0], dict)):
            raise ValueError("got a list of genotypes; choose an entry of the list with #INDEX")
        return read_notation(text)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _named(named: Mapping[str, str], name: str | None, text: str) -> str:
    """Returns the text of a name in a Python file, or of its only genotype, which may have several names."""
    if name is None and len(set(named.values())) > 1:
        raise ValueError(f"it holds several genotypes; choose one with #NAME: {_listed(named)}")
    if name is not None and name not in named:
        held = f"those of the file are {_listed(named)}" if named else "the file names none"
        raise ValueError(f"no genotype is called {name!r} there; {held}")
    return next(iter(named.values()), text) if name is None else named[name]


def _listed(names: Iterable[str]) -> str:
    first, rest = list(names)[:MAX_LISTED], list(names)[MAX_LISTED:]
    return ", ".join(first) + (f" and {len(rest)} more" if rest else "")


def _entry(data: object, index: str) -> object:
    if not isinstance(data, list):
        raise ValueError(f"#{index} needs a list, got {type(data).__name__}")
    if not index.isdecimal() or int(index) >= len(data):
        raise ValueError(f"#{index} is not one of the {len(data)} entries, counted from 0")
    entry = data[int(index)]
    return entry["genotype"] if isinstance(entry, dict) and "genotype" in entry else entry
