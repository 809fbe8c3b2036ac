"""What a sweep costs beside its members' work: starting them through each launcher, and reporting a thousand.

    python -m tests.scale.launching OUT

Makes the folder OUT, works in it and writes OUT/launching.json. A launcher starts the same tiny pipeline two and four
times: the difference halved is what a member takes, the rest what starting takes. The thousand members are copies of
one that is finished, under other seeds; the sweep is then started again, which reads and reports them all.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from nas.compute.device import make_runtime
from nas.compute.environment import environment
from nas.runs.checkpoints import write_json

TINY = (
    *("experiment=toy", "search.epochs=1", "search.random_cells=0"),
    *("retrain.epochs=1", "retrain.seeds=[0]", "latency.batch_sizes=[1]"),
)
LAUNCHERS = ("basic", "parallel", "slurm_rehearsal", "ray_tasks")
FEW, MORE = 2, 4
COPIES = (10, 100, 1000)


def main() -> None:
    """Measures everything, and writes what there is as it goes."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True)
    figures: dict[str, Any] = {"settings": {"members": [FEW, MORE], "copies": list(COPIES), "overrides": list(TINY)}}
    figures["environment"] = environment(make_runtime(device="cpu"), seed=0)
    figures["load"] = os.getloadavg()
    figures |= {"launchers": {}, "reporting": []}
    for launcher in LAUNCHERS:
        figures["launchers"][launcher] = launching(out, launcher)
        write_json(out / "launching.json", figures)
    for number in COPIES:
        figures["reporting"].append(reporting(out, number))
        write_json(out / "launching.json", figures)


def launching(out: Path, launcher: str) -> dict[str, float]:
    """Returns seconds of starting and of a member; CPU seconds where the launcher's processes are children of ours."""
    few, more = (started(out, f"{launcher}-{number}", launcher, number) for number in (FEW, MORE))
    each = {kind: (more[kind] - few[kind]) / (MORE - FEW) for kind in few}
    starting = {kind: few[kind] - FEW * each[kind] for kind in few}
    return {f"{kind}_{what}": row[kind] for what, row in (("member", each), ("starting", starting)) for kind in few}


def started(out: Path, name: str, launcher: str, members: int) -> dict[str, float]:
    """Runs a sweep; returns its seconds, and those of the CPU."""
    seeds = ",".join(map(str, range(members)))
    return timed(out, *TINY, f"seed={seeds}", f"name={name}", f"hydra/launcher={launcher}")


def timed(out: Path, *arguments: str) -> dict[str, float]:
    """Runs `nas sweep`; returns its seconds, and those of the CPU."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "nas", "sweep", *arguments],
        cwd=out,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OSError(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - begun, "cpu_seconds": spent}


def reporting(out: Path, members: int) -> dict[str, Any]:
    """Returns what it takes to report copies of one finished member, and what that leaves."""
    sweeps = out / "results" / "sweeps"
    source, folder = sweeps / f"{LAUNCHERS[0]}-{FEW}" / "seed-0", sweeps / f"copies-{members}"
    for seed in range(members):
        shutil.copytree(source, folder / f"seed-{seed}", ignore=shutil.ignore_patterns("*.pt"))
        record = {"swept": {"seed": str(seed)}, "fixed": dict(one.split("=", 1) for one in TINY)}
        (folder / f"seed-{seed}" / "member.json").write_text(json.dumps(record))
    figures = timed(out, *TINY, f"seed=range({members})", f"name={folder.name}")
    size = sum(file.stat().st_size for file in source.rglob("*"))
    return {
        "members": members,
        **figures,
        "member_bytes": size,
        "report_bytes": (folder / "report.html").stat().st_size,
    }


if __name__ == "__main__":
    main()
