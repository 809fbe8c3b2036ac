"""One row a run: what was searched, what was found, what it reached and what it cost."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nas.reporting.figures.colours import BLUE, GREY
from nas.reporting.figures.costs import latency_rows
from nas.reporting.figures.figures import Axis, Chart, DataTable, Paragraph, TableColumn
from nas.reporting.figures.series import dots
from nas.reporting.page.records import RunRecord, number
from nas.runs.intervals import plus_minus

SAME_SIZE = 0.05  # relative difference of parameters up to which a page calls cells of one size
MAX_VERDICTS = 3  # runs whose verdicts are sentences


def summary_row(run: RunRecord) -> dict[str, Any]:
    """Returns the figures of a run by column; what is not known is absent."""
    row: dict[str, Any] = {"run": run.name}
    for file, read in {
        "config.yaml": _settings,
        "search.csv": _search,
        "candidates.json": _candidate,
        "metrics.json": _metrics,
        "latency.json": _latency,
        "environment.json": _machine,
    }.items():
        with run.reading(file):
            row |= {key: value for key, value in read(run).items() if value is not None and value == value}
    return row


def summary_table(rows: Sequence[Mapping[str, Any]]) -> DataTable:
    """Lists the runs, with the columns of which at least one run has a value."""
    elsewhere = {
        "comparison": len(rows) <= MAX_VERDICTS,  # in sentences below the table
        "equal_cost_comparison": len(rows) <= MAX_VERDICTS,
        "device": len({row.get("device") for row in rows}) == 1,  # in the line below the title
    }
    known = {key for row in rows for key in row}
    columns = [column for column in COLUMNS if column.key in known and not elsewhere.get(column.key)]
    caption = "A click on a title sorts. " + " ".join(sentence for key, sentence in CAPTIONS.items() if key in known)
    return DataTable("summary", "Runs", caption.strip(), columns, rows)


def lead(rows: Sequence[Mapping[str, Any]], best: int) -> list[Paragraph]:
    """Says in a sentence what was found and what it is worth; nothing if no found cell was trained."""
    row = rows[best]
    if "test_accuracy" not in row:
        return []
    text = (
        "The cell that the search found"
        if len(rows) == 1
        else f"Of {len(rows)} runs the best cell is {row['run']}'s: it"
    )
    text += f" classifies {_percent('test_accuracy')(row)} % of the test images correctly"
    if "random_accuracy" in row:
        which = "of as many parameters" if row.get("same_size") else "of the same space"
        text += f", random cells {which}, trained alike, {_percent('random_accuracy')(row)} %"
        text += f" ({row['comparison']})" if "comparison" in row else ""
        if "equal_cost_accuracy" in row:
            text += ", and the best of random cells that passed through the same finals at the same cost"
            text += f" {_percent('equal_cost_accuracy')(row)} %"
            text += f" ({row['equal_cost_comparison']})" if "equal_cost_comparison" in row else ""
    costs = [f"has {row['parameters']:,.0f} parameters"] if "parameters" in row else []
    costs += [f"takes {row['latency_ms']:.2f} ms for one image"] if "latency_ms" in row else []
    return [Paragraph(text + (f"; its network {' and '.join(costs)}" if costs else "") + ".", "lead")]


def accuracy_chart(rows: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Draws the test accuracy of each run's found cell next to that of its random cells."""
    series = []
    for key, name, colour in (("test_accuracy", "found cell", BLUE), ("random_accuracy", "random cells", GREY)):
        known = [row for row in rows if key in row and "test_accuracy" in row]
        means, stds = ([100 * number(row.get(column)) for row in known] for column in (key, f"{key}_std"))
        series.append(dots(means, [str(row["run"]) for row in known], stds, name=name, colour=colour))
    x, y, known_series = Axis("test accuracy (%)"), Axis("run"), [one for one in series if one.x]
    return [Chart("all-test-accuracy", "Test accuracy", ACCURACY_CAPTION, x, y, known_series)]


def failures(run: RunRecord) -> Iterator[Paragraph]:
    """Says why a run failed, if it did."""
    if failure := run.record("failed.json"):
        yield Paragraph(f"{run.name} failed: {failure['error']}", "loud")


def verdicts(run: RunRecord) -> Iterator[Paragraph]:
    """Says whether the found cell of a run is shown to differ from random ones."""
    metrics = run.record("metrics.json")
    for key, others in (
        ("comparison", "random cells"),
        ("comparison_at_equal_cost", "the best of random cells in the same finals at the same cost"),
    ):
        if isinstance(metrics.get(key), str):
            yield Paragraph(f"{run.name}, found cell against {others}: {metrics[key]}.")


def duration(seconds: float) -> str:
    """Returns a time as text: `48 s`, `12 min 5 s`, `3 h 20 min`."""
    minutes, whole = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {whole} s" if minutes else f"{whole} s"


def _settings(run: RunRecord) -> dict[str, Any]:
    space, controller = run.config.get("search_space") or {}, run.config.get("controller") or {}
    names = (_class(controller.get("policy")), _class(controller))
    return {
        "space": _class(space),
        "controller": " · ".join(name for name in names if name) or None,
        "blocks": space.get("blocks"),
    }


def _search(run: RunRecord) -> dict[str, Any]:
    rows = run.rows("search.csv")
    if not rows:
        return {}
    seconds = [number(row.get("seconds")) for row in [*rows, *run.rows("finals.csv")]]
    return {
        "epochs": len(rows),
        "reward": number(rows[-1].get("best")),
        "search_seconds": sum(value for value in seconds if math.isfinite(value)) or None,
    }


def _candidate(run: RunRecord) -> dict[str, Any]:
    best = (run.json("candidates.json") or [{}])[0]
    keys = ("shared_accuracy", "stand_alone_accuracy", "parameters", "multiply_adds")
    return {key: number(best.get(key)) for key in keys}


def _metrics(run: RunRecord) -> dict[str, Any]:
    metrics = run.record("metrics.json")
    found, random, searched = (metrics.get(key) or {} for key in ("found", "random", "random_search"))
    row: dict[str, Any] = {key: number(found.get(key)) for key in ("parameters", "multiply_adds")}
    sizes = [member["parameters"] for member in metrics.get("members", ()) if member["label"].startswith("random-")]
    row["same_size"] = bool(sizes) and all(abs(size / found["parameters"] - 1) <= SAME_SIZE for size in sizes)
    for key in ("comparison", "equal_cost_comparison"):
        sentence = metrics.get("comparison_at_equal_cost" if key != "comparison" else key)
        if isinstance(sentence, str):
            row[key] = sentence.partition(" (")[0]
    for kind, record in (
        ("test_accuracy", found),
        ("random_accuracy", random),
        ("equal_cost_accuracy", searched),
    ):
        if "test_accuracy" in record:
            spread = record["test_accuracy"]
            row |= {kind: float(spread["mean"]), f"{kind}_std": number(spread.get("std")), f"{kind}_n": spread["n"]}
    return row


def _latency(run: RunRecord) -> dict[str, Any]:
    rows = [row for row in latency_rows(run) if row.get("model", run.name) in (run.name, run.folder.name)]
    first = min(rows, key=lambda row: float(row["batch_size"]), default=None)
    return {} if first is None or first["batch_size"] != 1 else {"latency_ms": first["median_ms"]}


def _machine(run: RunRecord) -> dict[str, Any]:
    return {"device": run.environment.get("device_name") or run.environment.get("device")}


def _class(node: Any) -> str | None:
    """Returns the last part of a node's `_target_`."""
    return str(node["_target_"]).rpartition(".")[2] if isinstance(node, Mapping) and "_target_" in node else None


def _percent(key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: plus_minus(100 * row[key], 100 * number(row.get(f"{key}_std")))


COLUMNS = (
    TableColumn("run", "run"),
    TableColumn("space", "space"),
    TableColumn("controller", "controller"),
    TableColumn("blocks", "B", "d"),
    TableColumn("reward", "best reward", ".4f"),
    TableColumn("shared_accuracy", "shared accuracy (%)", _percent("shared_accuracy")),
    TableColumn("stand_alone_accuracy", "stand-alone (%)", _percent("stand_alone_accuracy")),
    TableColumn("test_accuracy", "test accuracy (%)", _percent("test_accuracy")),
    TableColumn("random_accuracy", "random cells (%)", _percent("random_accuracy")),
    TableColumn("comparison", "verdict"),
    TableColumn("equal_cost_accuracy", "random search (%)", _percent("equal_cost_accuracy")),
    TableColumn("equal_cost_comparison", "verdict at equal cost"),
    TableColumn("parameters", "parameters", ",.0f"),
    TableColumn("multiply_adds", "multiply-adds (M)", lambda row: f"{row['multiply_adds'] / 1e6:.2f}"),
    TableColumn("latency_ms", "latency (ms)", ".2f"),
    TableColumn("search_seconds", "search time", lambda row: duration(row["search_seconds"])),
    TableColumn("device", "device"),
)
CAPTIONS = {
    "blocks": "B: blocks of a cell.",
    "shared_accuracy": "Shared accuracy: of the best cell with the shared weights of the search, on reward images.",
    "stand_alone_accuracy": "Stand-alone: of that cell in the search's finals, trained from scratch, on reward images.",
    "test_accuracy": "Test accuracy: of the found cell trained from scratch, mean ± standard deviation over seeds.",
    "random_accuracy": "Random cells: uniformly drawn, with the same training, mean ± standard deviation over cells.",
    "equal_cost_accuracy": "Random search: the best of random cells in the same finals, for the search's core-seconds.",
    "latency_ms": "Latency: median at batch size 1.",
}
ACCURACY_CAPTION = (
    "Means after retraining; the line through a dot is one standard deviation, of the found cell over seeds, of the "
    "random cells over cells. Whether a difference is shown, the verdict of a run says."
)
