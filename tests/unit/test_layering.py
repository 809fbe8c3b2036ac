"""Imports point one way, and heavy or foreign packages are imported only where they belong."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for top in ("search_spaces", "controllers", "nas") for path in (ROOT / top).rglob("*.py"))
MAY_IMPORT = {
    "search_spaces": {"search_spaces"},
    "controllers": {"search_spaces", "controllers"},
    "nas": {"search_spaces", "controllers", "nas"},
}
HYDRA_FILES = {"nas/cli.py", "nas/config.py", "nas/runs.py", "nas/suggestions.py"}


def imported(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    where = path.relative_to(ROOT)
    for name in imported(path):
        top = name.split(".")[0]
        if top in MAY_IMPORT:
            assert top in MAY_IMPORT[where.parts[0]], f"{where} imports {name}"
        if name.startswith("nas.jobs"):
            assert where.parts[:2] == ("nas", "jobs") or str(where) == "nas/cli.py", f"{where} imports {name}"
        if top in ("hydra", "omegaconf"):
            assert str(where) in HYDRA_FILES or where.parts[:2] == ("nas", "jobs"), f"{where} imports {name}"
        if top == "wandb":
            assert str(where) == "nas/tracking.py"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_that_few_need_are_imported_where_they_are_used(path):
    tops = {name.split(".")[0] for name in imported(path, top_level_only=True)}
    assert not tops & {"torchvision", "wandb", "matplotlib", "sklearn", "scipy"}


def test_the_command_line_starts_without_torch_or_hydra():
    loaded, left = set(), ["nas", "nas.cli"]
    while left:  # all that is imported before a command is known
        name = left.pop()
        loaded.add(name)
        path = ROOT / name.replace(".", "/")
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if path.exists():
            left += [new for new in imported(path, top_level_only=True) - loaded if new]
    assert "nas.distributed.launch" in loaded
    assert not {name.split(".")[0] for name in loaded} & {"torch", "hydra", "omegaconf", "numpy"}
