"""Heavy packages are imported only where they are needed; which package imports which is for import-linter."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for top in ("search_spaces", "controllers", "nas") for path in (ROOT / top).rglob("*.py"))
HEAVY = {"torchvision", "wandb", "vl_convert", "sklearn", "scipy"}


def imported(path: Path) -> set[str]:
    """The modules that are imported with a module, not within its functions."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def test_packages_that_few_need_are_imported_where_they_are_used():
    found = {str(path.relative_to(ROOT)): {name.split(".")[0] for name in imported(path)} & HEAVY for path in SOURCES}
    assert len(found) > 200
    assert not {path: names for path, names in found.items() if names}


def test_every_package_has_a_table_of_its_contents():
    for top in ("search_spaces", "controllers", "nas"):
        for contents in (ROOT / top).rglob("__init__.py"):
            text, folder = contents.read_text(), contents.parent
            parts = {path.stem for path in folder.glob("*.py")} | {
                path.parent.name for path in folder.glob("*/__init__.py")
            }
            named = set(re.findall(r"^ +(\w+)/?:|`(\w+)`:", text, re.MULTILINE))
            lacking = parts - {"__init__", "__main__"} - {name for pair in named for name in pair}
            assert not lacking, f"{contents.relative_to(ROOT)} does not tell of {lacking}"


def test_the_command_line_starts_without_torch_or_hydra():
    loaded, left = set(), ["nas", "nas.cli"]
    while left:  # all that is imported before a command is known
        name = left.pop()
        loaded.add(name)
        path = ROOT / name.replace(".", "/")
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if path.exists():
            left += [new for new in imported(path) - loaded if new]
    assert {"nas.compute.distributed.launch", "nas.command_line.words"} <= loaded
    assert not {name.split(".")[0] for name in loaded} & {"torch", "hydra", "omegaconf", "numpy"}
