"""Plants defects one at a time and runs the tests that execute their lines until the first fails.

    python -m tests.defects.plant --draw 30 --seed 1 > drawn.json          # by a seeded tool, from CORE
    python -m tests.defects.plant --run chosen.json drawn.json --contexts .coverage --out results.json

`--contexts` is a database of coverage.py with a context a test. `--tree DIR` runs the tests of another checkout, whose
lines are found by their text, in whichever file they were then. A defect that no test notices is one more test to
write. Results are kept as they come.
"""

import argparse
import ast
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CORE = (
    *("nas/training/step.py", "nas/training/member.py", "nas/searching/search.py"),
    *("nas/searching/evaluators.py", "nas/training/evaluation.py", "controllers/reinforce.py"),
    *("controllers/policy_gradients.py", "controllers/best_architectures.py", "nas/runs/checkpoints.py"),
    *("nas/jobs/building/run_folder.py", "nas/training/autosave.py", "nas/training/schedules.py"),
    *("nas/training/sgd.py", "nas/training/weight_average.py", "nas/models/hardening.py"),
    *("nas/models/shufflenasnet.py", "nas/data/splits.py", "nas/data/augmentation.py", "nas/data/cutmix.py"),
    *("nas/runs/intervals.py", "nas/runs/rank_tests.py", "nas/runs/trust.py", "nas/costs/pareto.py"),
    *("nas/searching/reward_functions.py", "nas/studies/ranking/correlations.py", "nas/command_line/words.py"),
    *("controllers/lstm.py", "controllers/evolution.py", "search_spaces/shufflenas.py"),
    *("search_spaces/cells.py", "search_spaces/genotype.py", "search_spaces/auto_shuffle.py"),
)
"""Modules in which a defect makes results wrong."""
COMPARED = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "=="}
OPERATED = {ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.Div: "*"}
TIMEOUT = 600  # seconds for the tests of a defect: one that hangs is noticed


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


def tests_of(database: Path, path: str, line: int) -> list[str]:
    """Returns the tests that executed a line, those of modules with few of them first."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "select context.context, file.path, arc.fromno, arc.tono from arc join file on file.id = arc.file_id "
            "join context on context.id = arc.context_id where file.path like ? and ? in (arc.fromno, arc.tono)",
            (f"%{path}", line),
        )
        found = {context.split("|")[0] for context, *_ in rows if context}
    modules: dict[str, list[str]] = {}
    for one in sorted(found):
        modules.setdefault(one.partition("::")[0], []).append(one)
    cheap = sorted(modules, key=lambda name: (not name.startswith(("tests/unit", "tests/property")), name))
    return [one for name in cheap for one in modules[name]]


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


def plant(defect: dict[str, Any], *, tree: Path, python: str, database: Path) -> dict[str, Any]:
    """Runs the tests that execute a defect's line, with the defect in place; the checkout is left as it was."""
    file = file_in(tree, defect)
    if file is None:
        return {**defect, "outcome": "no such line here"}
    lines = file.read_text().splitlines()
    number = lines.index(defect["line"]) + 1
    tests = tests_of(database, str(file.relative_to(tree)), number)
    if not tests:
        return {**defect, "outcome": "not executed"}
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
        failed, outcome = [], "caught"
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
    parser.add_argument("--contexts", type=Path)
    parser.add_argument("--tree", type=Path, default=ROOT)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.draw:
        sys.stdout.write(
            json.dumps(draw(given.draw, seed=given.seed, tree=given.tree), indent=1, ensure_ascii=False) + "\n"
        )
        return
    defects = [one for file in given.run for one in json.loads(file.read_text())]
    results = json.loads(given.out.read_text()) if given.out.exists() else []
    known = [(one["file"], one["new"]) for one in results]
    for defect in defects:
        if (defect["file"], defect["new"]) in known:
            continue
        results.append(plant(defect, tree=given.tree, python=given.python, database=given.contexts))
        given.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        sys.stderr.write(f"{results[-1]['outcome']}: {defect['file']}: {defect['why']}\n")


if __name__ == "__main__":
    main()
