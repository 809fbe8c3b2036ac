"""The state of run folders: the job, its progress and its results, read without torch or Hydra.

A run that is done has the digests of what it made; one that is at work holds the lock of its folder.
"""

import csv
import fcntl
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from nas.runs.old_names import with_current_names

State = Literal["running", "finished", "failed", "resumable"]
STATES: tuple[State, ...] = ("running", "finished", "failed", "resumable")
FAILED_FILE = "failed.json"
PORTION_FILE = "portion.json"
DONE_FILE = "digests.json"
"""What every job writes last, whatever it is."""
PLAN_FILE = "plan.json"  # of a run with a budget of time
FINALS_FOLDER = ".finals"
"""Of a search, while its finals last: hidden, as NAME/finals may be another run."""
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast, and not everywhere
IN_PORTIONS = ("compare", "rank")
"""Jobs that can be cut in portions, and the keys of their settings."""
MAX_DEPTH = 4  # of runs below a folder


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """Job, state and results of a run folder.

    Attributes:
        folder: The run folder.
        job: The command that made it; `?` where nothing tells.
        state: `running` (a process holds its lock), `finished`, `failed` (as a member of a sweep) or `resumable`.
        progress: Where it is, such as `search 12/30`, unless the job has no epochs or is finished; and which portion
            it is, or how many of its portions are done: `portion 0 of 4`, `portions 3/4`.
        best_reward: Highest of the search so far.
        shared_accuracy: Accuracy of the found cell with shared weights, in 0 … 1.
        test_accuracy: Mean of the found cell's trainings, in 0 … 1.
        latency_ms: Median, at the first batch size.
        parameters: Parameters of the found cell's model.
        changed: When a file was last made or replaced, in seconds of Unix time.
        error: Why it failed, in a line.
    """

    folder: Path
    job: str
    state: State
    progress: str
    best_reward: float | None
    shared_accuracy: float | None
    test_accuracy: float | None
    latency_ms: float | None
    parameters: int | None
    changed: float
    error: str | None


def find_runs(roots: Iterable[Path]) -> list[Path]:
    """Returns the run folders among the roots and up to four levels below, runs in run folders left out.

    Raises:
        FileNotFoundError: If none of the roots is there.
    """
    present = [root for root in map(Path, roots) if root.is_dir()]
    if not present:
        raise FileNotFoundError(f"no folder {' or '.join(map(str, roots))}; `nas search` makes results/runs")
    return list(dict.fromkeys(folder for root in present for folder in runs_below(root, is_run=_is_begun)))


def runs_below(folder: Path, *, is_run: Callable[[Path], bool], depth: int = MAX_DEPTH) -> Iterator[Path]:
    """Yields the folder itself if it is a run, or else the runs below it in order of name, hidden folders passed over.

    Args:
        folder: Where to look.
        is_run: Whether a folder is a run; below one nothing is looked for.
        depth: How many levels below the folder are looked at.
    """
    if is_run(folder):
        yield folder
    elif depth > 0:
        for below in sorted(folder.iterdir()):
            if below.is_dir() and not below.name.startswith("."):
                yield from runs_below(below, is_run=is_run, depth=depth - 1)


def read_run(folder: Path) -> RunSummary:
    """Reads the state of a run; what cannot be read is left out."""
    job, state = job_of(folder), state_of(folder)
    candidates, metrics, latency = (
        read_json(folder / name) for name in ("candidates.json", "metrics.json", "latency.json")
    )
    return RunSummary(
        folder=folder,
        job=job,
        state=state,
        progress=" ".join(filter(None, ("" if state == "finished" else progress_of(folder), portions_of(folder, job)))),
        best_reward=_best_reward(folder),
        shared_accuracy=_at(candidates, 0, "shared_accuracy"),
        test_accuracy=_at(metrics, "found", "test_accuracy", "mean"),
        latency_ms=_at(latency, "latency", 0, "median_ms"),
        parameters=_at(metrics, "found", "parameters") or _at(candidates, 0, "parameters"),
        changed=folder.stat().st_mtime,
        error=_at(read_json(folder / FAILED_FILE), "error") if state == "failed" else None,
    )


def state_of(folder: Path) -> State:
    """Returns the state of a run folder; a failure that was overcome since does not count."""
    if is_held(folder):
        return "running"
    if (folder / DONE_FILE).exists() or (folder / PORTION_FILE).exists():
        return "finished"
    return "failed" if (folder / FAILED_FILE).exists() else "resumable"


def is_held(folder: Path) -> bool:
    """Whether a process is at work in a run folder.

    To ask is to take a shared lock for a moment; a run that starts in just that moment tries again.
    """
    try:
        with (folder / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:  # without a lock, nothing has ever run here
        return isinstance(error, BlockingIOError)
    return False


def job_of(folder: Path) -> str:
    """Returns the command that made a run folder, from what it wrote down, or else from its settings; `?` if none."""
    written = _at(read_json(folder / "environment.json"), "job")
    if isinstance(written, str):
        return written
    config = read_config(folder)
    if (folder / "member.json").exists() or {"search", "retrain", "latency"} <= set(config):
        return "pipeline"
    return next((job for job in ("search", "retrain", "latency", "compare", "bench") if job in config), "?")


def _search_epochs(config: Mapping[str, Any]) -> Any:
    """Returns the epochs of a search; with a budget of queries one per update of the controller."""
    queries, each = (_count(config, "search", key) for key in ("queries", "samples_per_update"))
    return math.ceil(queries / each) if queries and each > 0 else _at(config, "search", "epochs")


def progress_of(folder: Path) -> str:
    """Returns how many epochs of which part are done, such as `search 12/30`; of a retraining, whole trainings only.

    Of a ranking, or of its portion, it is trainings: `rank 5/24`.
    """
    config = read_config(folder)  # takes longer than all else, and finished runs do without
    for key, value in (_at(read_json(folder / PLAN_FILE), "lengths") or {}).items():
        group, _, name = key.partition(".")
        config[group] = {**config.get(group, {}), name: value}
    if "rank" in config:
        trainings = _count(config, "rank", "architectures") * _count(config, "rank", "seeds")
        own = range(_count(config, "rank", "portion"), trainings, max(1, _count(config, "rank", "portions")))
        return f"rank {len(list((folder / 'stand_alone').glob('*.json')))}/{len(own)}"
    searches = job_of(folder) in ("search", "pipeline") and not (folder / "candidates.json").exists()
    if searches and (total := _search_epochs(config)):
        if (folder / FINALS_FOLDER / "candidates.json").exists():
            effort = read_json(folder / "effort.json")
            if _at(effort, "finals_seconds") is not None and _at(config, "search", "random_search"):
                return "random search"
            planned = sum(cells * epochs for cells, epochs in _at(effort, "rungs") or ())
            return f"finals {count_rows(folder / 'finals.csv')}/{planned}" if planned else "finals"
        return f"search {count_rows(folder / 'search.csv')}/{total}"
    epochs, seeds = _at(config, "retrain", "epochs"), _at(config, "retrain", "seeds")
    if not isinstance(epochs, int) or not isinstance(seeds, list):
        return ""
    if (folder / "metrics.json").exists():
        return "latency" if "latency" in config else ""
    cells = _at(config, "search", "random_cells") or len(read_json(Path(str(config.get("random_cells")))) or ())
    each = 1 if _at(config, "retrain", "random_turns") else len(_at(config, "retrain", "random_seeds") or ())
    return f"retrain {count_rows(folder / 'retrain.csv')}/{(len(seeds) + cells * each) * epochs}"


def portions_of(folder: Path, job: str) -> str:
    """Returns which portion a run is, or how many of its portions, in the folders below, are done; empty if neither."""
    if job not in IN_PORTIONS:
        return ""
    config = read_config(folder)
    if (portions := _count(config, job, "portions")) > 1:
        return f"portion {_count(config, job, 'portion')} of {portions}"
    below = {file.parent: _count(read_config(file.parent), job, "portions") for file in folder.glob("*/config.yaml")}
    done = [state_of(one) == "finished" for one, portions in below.items() if portions > 1]
    return f"portions {sum(done)}/{max(below.values())}" if done else ""


def count_rows(file: Path) -> int:
    """Returns how many rows a CSV file has below its titles; 0 if it is not there."""
    return max(0, len(file.read_bytes().splitlines()) - 1) if file.is_file() else 0


def read_config(folder: Path) -> dict[str, Any]:
    """Reads the settings of a run; empty where there are none."""
    try:
        config = yaml.load((folder / "config.yaml").read_text(encoding="utf-8"), Loader=LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return with_current_names(config) if isinstance(config, dict) else {}


def read_json(file: Path) -> Any:
    """Reads a JSON file as `nas.runs.checkpoints.write_json` writes it; None if there is none that can be read."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _is_begun(folder: Path) -> bool:
    return (folder / "config.yaml").exists() or (folder / FAILED_FILE).exists()


def _best_reward(folder: Path) -> float | None:
    """Returns the highest reward of a search; None where it has no epoch yet."""
    with suppress(OSError, LookupError, ValueError, TypeError):
        *_, last = csv.DictReader((folder / "search.csv").read_text(encoding="utf-8").splitlines())
        return float(last["best"])
    return None


def _at(data: Any, *keys: str | int) -> Any:
    """Returns what lies at a path of keys and indices, None if the path ends early."""
    for key in keys:
        try:
            data = data[key]
        except (LookupError, TypeError):
            return None
    return data


def _count(config: Any, *keys: str) -> int:
    """Returns the whole number at a path of keys, 0 if there is none."""
    value = _at(config, *keys)
    return value if isinstance(value, int) else 0
