"""Finding the genotype a user means: a file, an entry of a file, or a run folder."""

from pathlib import Path

from search_spaces.genotype import MAX_JSON_BYTES, Genotype, parse_json


def load_genotype(reference: str | Path) -> Genotype:
    """Reads a genotype.

    Args:
        reference: A JSON file with one genotype; a run folder, meaning its `genotype.json`; or `FILE#INDEX`, an entry
            of a list such as a search's `candidates.json`, counted from 0.

    Raises:
        FileNotFoundError: If there is no such file; the message names the command that makes it.
        ValueError: If the file does not hold a valid genotype.
    """
    text = str(reference)
    name, hash_sign, index = text.rpartition("#")
    path, entry = (Path(name), index) if hash_sign else (Path(text), None)
    if path.is_dir():
        path = path / "genotype.json"
    if not path.is_file():
        raise FileNotFoundError(f"no genotype at {path}; `nas search` writes one into its run folder")
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"the file is larger than {MAX_JSON_BYTES} bytes")
        data = parse_json(path.read_text(encoding="utf-8"))
        return Genotype.from_dict(data if entry is None else _entry(data, entry))
    except ValueError as error:
        hint = "; choose an entry of the list with #INDEX" if entry is None and "got list" in str(error) else ""
        raise ValueError(f"{text}: {error}{hint}") from None


def load_genotypes(path: str | Path) -> list[Genotype]:
    """Reads every genotype of a list such as a search's `random.json`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file does not hold a list of genotypes.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no list of genotypes at {path}; `nas search` writes random.json into its run folder")
    data = parse_json(Path(path).read_text(encoding="utf-8"))
    if not isinstance(data, list):
        raise ValueError(f"{path} must hold a list, got {type(data).__name__}")
    return [load_genotype(f"{path}#{i}") for i in range(len(data))]


def _entry(data: object, index: str) -> object:
    if not isinstance(data, list):
        raise ValueError(f"#{index} needs a list, got {type(data).__name__}")
    if not index.isdecimal() or int(index) >= len(data):
        raise ValueError(f"#{index} is not one of the {len(data)} entries, counted from 0")
    entry = data[int(index)]
    return entry["genotype"] if isinstance(entry, dict) and "genotype" in entry else entry
