"""Plants defects one at a time and runs the tests that execute their lines until the first fails.

    python -m tests.defects.plant --draw 30 --seed 1 > drawn.json          # by a seeded tool, from CORE
    python -m tests.defects.plant --trace chosen.json drawn.json --out reached.json  # all tests once: which reach them
    python -m tests.defects.plant --run reached.json --out results.json

`--tree DIR` runs the tests of another checkout, whose lines are found by their text, in whichever file they were then.
A defect that no test notices is one more test to write. Results are kept as they come.
"""

import argparse
import ast
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CORE = (
    *("nas/training/step.py", "nas/training/weight_trainer.py", "nas/training/member.py", "nas/searching/search.py"),
    *("nas/searching/shared_weights.py", "nas/searching/supernet_scorer.py", "nas/searching/stand_alone.py"),
    *("nas/searching/table_lookup.py", "nas/training/evaluation.py", "controllers/reinforce.py"),
    *("controllers/policy_gradients.py", "controllers/best_architectures.py", "nas/runs/checkpoints.py"),
    *("nas/jobs/building/run_folder.py", "nas/training/autosave.py", "nas/training/schedules.py"),
    *("nas/training/sgd.py", "nas/training/weight_average.py", "nas/models/hardening.py"),
    *("nas/models/shufflenasnet.py", "nas/data/splits.py", "nas/data/augmentation.py"),
    *("nas/runs/intervals.py", "nas/runs/trust.py", "nas/costs/pareto.py"),
    *("nas/searching/reward_functions.py", "nas/studies/ranking/estimates.py", "nas/command_line/words.py"),
    *("controllers/lstm.py", "controllers/evolution.py", "search_spaces/cell_space.py"),
    *("search_spaces/cells.py", "search_spaces/genotype.py", "search_spaces/auto_shuffle.py"),
)
"""Modules in which a defect makes results wrong."""
COMPARED = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "=="}
OPERATED = {ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.Div: "*"}
TIMEOUT = 1800  # seconds for the tests of a defect, which may hang


def draw(count: int, *, seed: int, tree: Path = ROOT) -> list[dict[str, Any]]:
    """Returns defects of one changed operator, number or condition each, evenly over the core modules.

    Args:
        count: How many.
        seed: Of the draw.
        tree: A checkout that must have their lines as well.
    """
    stream = random.Random(seed)
    found: list[dict[str, Any]] = []
    while len(found) < count:
        path = stream.choice(CORE)
        changes = list(_changes(ROOT / path))
        if changes:
            change = {"file": path, **stream.choice(changes)}
            if change not in found and file_in(tree, change) is not None:
                found.append(change)
    return found


def _changes(path: Path) -> Iterator[dict[str, Any]]:
    text = path.read_text()
    lines = text.splitlines()

    def change(node: ast.AST, old: str, new: str, at: int) -> dict[str, Any] | None:
        line = lines[node.lineno - 1]
        place = line.find(old, at)
        if place < 0 or lines.count(line) != 1:
            return None
        return {
            "line": line,
            "new": line[:place] + new + line[place + len(old) :],
            "why": f"{old.strip()} → {new.strip()}",
        }

    for node in ast.walk(ast.parse(text)):
        made = None
        if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED and node.lineno == node.end_lineno:
            new = COMPARED[type(node.ops[0])]
            old = {"<=": "<", "<": "<=", ">=": ">", ">": ">=", "!=": "==", "==": "!="}[new]
            made = change(node, f" {old} ", f" {new} ", node.left.end_col_offset)
        elif isinstance(node, ast.BinOp) and type(node.op) in OPERATED and node.lineno == node.end_lineno:
            old = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}[type(node.op)]
            made = change(node, f" {old} ", f" {OPERATED[type(node.op)]} ", node.left.end_col_offset)
        elif isinstance(node, ast.If) and node.test.lineno == node.test.end_lineno:
            condition = ast.get_source_segment(text, node.test)
            made = change(node, f"if {condition}:", f"if not ({condition}):", 0)
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value in (0, 1, 2):
            made = change(node, str(node.value), str(node.value + 1), node.col_offset)
        if made is not None:
            yield made


def trace(defects: list[dict[str, Any]], *, tree: Path, python: str) -> list[dict[str, Any]]:
    """Runs the tests of a checkout once and returns the defects with the tests that reach their statements.

    What the tests print is printed, with the slowest twenty and the seconds they took.
    """
    marks: dict[Path, list[tuple[int, int]]] = {}
    for number, defect in enumerate(defects):
        file = file_in(tree, defect)
        if file is not None:
            lines = file.read_text().splitlines()
            marks.setdefault(file, []).append((_statement(lines, lines.index(defect["line"]) + 1), number))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as planted:
        (tree / "nas" / "_reached.py").write_text(REACHED.format(folder=folder))
        planted.callback((tree / "nas" / "_reached.py").unlink)
        for file, places in marks.items():
            lines = file.read_text().splitlines()
            planted.callback(file.write_text, file.read_text())
            for at, number in sorted(places, reverse=True):
                indent = lines[at - 1][: -len(lines[at - 1].lstrip())]
                lines.insert(at - 1, f"{indent}__import__('nas._reached')._reached.reach({number})")
            file.write_text("\n".join(lines) + "\n")
        command = [python, "-m", "pytest", "-q", "-p", "nas._reached", "--durations=20", "-p", "no:cacheprovider"]
        subprocess.run(command, cwd=tree, check=False)
        reached = [
            {line for file in Path(folder).glob(f"{number}.*") for line in file.read_text().splitlines()}
            for number in range(len(defects))
        ]
    return [{**defect, "tests": in_order(tests)} for defect, tests in zip(defects, reached, strict=True)]


REACHED = """
import functools, os, pathlib

FOLDER = {folder!r}
KNOWN = set()


def pytest_runtest_logstart(nodeid, location):
    pathlib.Path(FOLDER, f"test-{{os.getpid()}}").write_text(nodeid)


@functools.cache
def test_of(process):
    while process > 1:
        try:
            return pathlib.Path(FOLDER, f"test-{{process}}").read_text()
        except OSError:
            process = int(pathlib.Path(f"/proc/{{process}}/stat").read_text().rpartition(")")[2].split()[1])
    return ""


def reach(number):
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    process = os.getpid()
    if (number, test, process) not in KNOWN:
        KNOWN.add((number, test, process))
        if not os.path.exists(f"{{FOLDER}}/test-{{process}}"):
            test = test_of(process)
        if test:
            with open(f"{{FOLDER}}/{{number}}.{{process}}", "a") as file:
                file.write(test + "\\n")
"""
"""A module of the traced checkout. A process that a test starts asks which test its ancestor runs."""


def _statement(lines: list[str], number: int) -> int:
    """Returns the line before which a call can stand: the first of the innermost statement, not of an `elif`."""
    holding = [
        node
        for node in ast.walk(ast.parse("\n".join(lines)))
        if isinstance(node, ast.stmt) and node.lineno <= number <= (node.end_lineno or 0)
    ]
    return max(node.lineno for node in holding if not lines[node.lineno - 1].lstrip().startswith("elif"))


def in_order(tests: set[str]) -> list[str]:
    """Returns tests of functions before tests of jobs."""
    return sorted(tests, key=lambda name: (not name.startswith(("tests/unit", "tests/property")), name))


def file_in(tree: Path, defect: dict[str, Any]) -> Path | None:
    """Returns the file of a checkout that has a defect's line once: of several, the one most like the file here."""
    mine = set((ROOT / defect["file"]).read_text().splitlines())
    texts = {
        file: file.read_text().splitlines()
        for package in ("nas", "controllers", "search_spaces")
        for file in sorted((tree / package).rglob("*.py"))
    }
    having = [file for file, lines in texts.items() if lines.count(defect["line"]) == 1]
    return max(having, key=lambda file: len(mine & set(texts[file])), default=None)


def plant(defect: dict[str, Any], *, tree: Path, python: str) -> dict[str, Any]:
    """Runs the tests that reach a defect, with the defect in place; the checkout is left as it was."""
    tests = defect["tests"]
    file = file_in(tree, defect)
    if file is None:
        return {**defect, "outcome": "no such line here", "tests": 0}
    lines = file.read_text().splitlines()
    number = lines.index(defect["line"]) + 1
    if not tests:
        return {**defect, "outcome": "not reached", "tests": 0}
    begun = time.monotonic()
    kept = Path(tempfile.mkdtemp()) / file.name
    shutil.copy(file, kept)
    try:
        file.write_text("\n".join([*lines[: number - 1], defect["new"], *lines[number:]]) + "\n")
        done = subprocess.run(
            [python, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider", *tests],
            cwd=tree,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        failed = [one.split()[1] for one in done.stdout.splitlines() if one.startswith(("FAILED", "ERROR"))]
        outcome = "survived" if done.returncode == 0 else "caught"
    except subprocess.TimeoutExpired:
        failed, outcome = [], "timed out"
    finally:
        shutil.copy(kept, file)
        shutil.rmtree(kept.parent)
    return {
        **defect,
        "outcome": outcome,
        "by": failed[:1],
        "tests": len(tests),
        "seconds": round(time.monotonic() - begun, 1),
    }


def main() -> None:
    """Draws defects, or plants those of files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, nargs="+", default=[])
    parser.add_argument("--trace", type=Path, nargs="+", default=[])
    parser.add_argument("--tree", type=Path, default=ROOT)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.draw:
        sys.stdout.write(
            json.dumps(draw(given.draw, seed=given.seed, tree=given.tree), indent=1, ensure_ascii=False) + "\n"
        )
        return
    defects = [one for file in given.trace or given.run for one in json.loads(file.read_text())]
    if given.trace:
        reached = trace(defects, tree=given.tree, python=given.python)
        given.out.write_text(json.dumps(reached, indent=1, ensure_ascii=False) + "\n")
        return
    results = json.loads(given.out.read_text()) if given.out.exists() else []
    known = [(one["file"], one["line"], one["new"]) for one in results]
    for defect in defects:
        if (defect["file"], defect["line"], defect["new"]) in known:
            continue
        results.append(plant(defect, tree=given.tree, python=given.python))
        given.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        sys.stderr.write(f"{results[-1]['outcome']}: {defect['file']}: {defect['why']}\n")


if __name__ == "__main__":
    main()
