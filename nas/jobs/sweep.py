"""Sweep: the pipeline for every combination of settings, through Hydra's multirun, and one summary of all.

A member runs wherever Hydra's launcher takes it. It never raises, so that it stops no other; how it went stands in its
folder, and from the folders alone the summary is made.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from nas.jobs.multirun import (
    check_installed,
    common_keys,
    current_member,
    is_of_hydra,
    is_override,
    read_overrides,
    remove_if_bare,
    runs_alone,
)
from nas.reporting.sweeps.members import Member, check_fixed, member_state, run_member
from nas.reporting.sweeps.report import report
from nas.reporting.sweeps.summary import read_members
from nas.runs.checkpoints import load_json
from nas.runs.configs import may_change
from nas.runs.console import header, result, shown
from nas.runs.listing import PLAN_FILE, read_json
from nas.searching.successive_halving import parse_time

ROOT = Path("results/sweeps")
REPORT_SECONDS = 10  # of the start and the end of a sweep


@dataclass(frozen=True, slots=True)
class Plan:
    """The members that a command asks for, and how they are run.

    Attributes:
        folder: The folder of the sweep.
        arguments: The arguments that Hydra gets.
        members: Every combination; empty where a sweeper other than Hydra's own chooses them as it goes.
        launcher: Hydra's launcher of the members.
        budget: Seconds of the whole sweep, if there is one.
        side_by_side: Members that are known to run at a time.
    """

    folder: Path
    arguments: tuple[str, ...]
    members: tuple[Member, ...]
    launcher: str
    budget: float | None
    side_by_side: int

    def share(self) -> list[str]:
        """Returns the override that gives each member that is left to run its part of the budget, if there is one."""
        left = [one for one in self.members if member_state(self.folder / one.name) != "finished"]
        if self.budget is None or not left:
            return []
        plans = [read_json(self.folder / one.name / PLAN_FILE) or {} for one in self.members if one not in left]
        seconds = self.budget - REPORT_SECONDS - sum(plan.get("spent", 0.0) for plan in plans) / self.side_by_side
        return [f"budget={max(1.0, seconds / math.ceil(len(left) / self.side_by_side)):.0f}s"]


def start(arguments: Sequence[str], *, launch: Callable[[Sequence[str]], None]) -> int:
    """Runs the members that are not finished, then writes and prints what all in the folder come to.

    Args:
        arguments: The arguments of the command line.
        launch: Runs Hydra with the arguments it is given; leaves with SystemExit where Hydra does.

    Returns:
        The exit code: 0 if all members asked for are finished, else 1.

    Raises:
        ValueError: If nothing is swept, the launcher is not installed, or the sweep was begun with other settings.
    """
    plan = make_plan(arguments)
    check_fixed(plan.folder, plan.members, free=may_change)
    _describe(plan)
    code = 0
    if not plan.members or any(member_state(plan.folder / member.name) != "finished" for member in plan.members):
        try:
            launch((*plan.arguments, *plan.share()))
        except SystemExit as stopped:
            code = stopped.code if isinstance(stopped.code, int) else 1
            if code not in (0, 1) or not read_members(plan.folder):  # interrupted, or a mistake before any member
                remove_if_bare(plan.folder)
                raise
    return conclude(plan) or code


def make_plan(arguments: Sequence[str]) -> Plan:
    """Reads a command line.

    Raises:
        ValueError: If an override cannot be read, nothing is swept, an objective is given, or the launcher is not
            installed.
    """
    values, several = read_overrides([argument for argument in arguments if is_override(argument)])
    name = values.pop("name", [f"{datetime.now():%Y%m%d-%H%M%S-%f}"])
    if "name" in several:
        raise ValueError("name is the name of the whole sweep and takes one value")
    check_installed(values)
    if values.get("objective", ["null"]) != ["null"]:
        raise ValueError("objective is for other commands; a sweep's is the test accuracy")
    chosen_otherwise = any(key.startswith(("hydra/sweeper", "hydra.sweeper")) for key in values)
    task = {key: found for key, found in values.items() if not is_of_hydra(key)}
    fixed = {key: found[0] for key, found in task.items() if key not in several}
    swept = {key: found for key, found in task.items() if key in several}
    budget, launcher = values.get("budget", ["null"]), values.get("hydra/launcher", ["basic"])[0]
    if "budget" in several or (budget != ["null"] and chosen_otherwise):
        raise ValueError("budget is the time of the whole sweep: it takes one value, and members that are known before")
    if not swept and not chosen_otherwise:
        raise ValueError("nothing is swept; give a key several values, such as search_space.blocks=2,3,4")
    combinations = [] if chosen_otherwise else itertools.product(*swept.values())
    return Plan(
        folder=ROOT / name[0].strip("'\""),
        arguments=(
            "--multirun",
            *(one for one in arguments if not is_override(one)),
            *(one for one in arguments if is_override(one) and not one.startswith("name=")),
            f"name={name[0]}",
            common_keys(list(fixed)),
        ),
        members=tuple(Member(swept=dict(zip(swept, one, strict=True)), fixed=fixed) for one in combinations),
        launcher=launcher,
        budget=None if budget == ["null"] else parse_time(budget[0].strip("'\"")),
        side_by_side=max(1, int(values.get("hydra.launcher.n_jobs", ["2"])[0])) if launcher == "parallel" else 1,
    )


def run(cfg: DictConfig, out: Path, *, pipeline: Callable[[DictConfig, Path], Any]) -> float | None:
    """Runs the member that Hydra's overrides tell, in its folder below `out`, the folder of the sweep.

    Args:
        cfg: Config of the pipeline.
        out: The folder of the sweep.
        pipeline: Runs the pipeline in a run folder.

    Returns:
        Its test accuracy, which a sweeper may use; None if the member failed.
    """
    member = current_member()
    folder = out / member.name
    if member_state(folder) != "finished":
        run_member(member, folder, lambda: pipeline(cfg, folder), echo=runs_alone())
    if member_state(folder) != "finished":
        return None
    return float(load_json(folder / "metrics.json")["found"]["test_accuracy"]["mean"])


def conclude(plan: Plan) -> int:
    """Reports what the members in the folder come to; returns the exit code."""
    members = read_members(plan.folder)
    if any(member["state"] == "finished" for member in members):
        report(plan.folder, members)
    asked = {member.name for member in plan.members} or {member["member"] for member in members}
    states = {member["member"]: member["state"] for member in members}
    done = sum(states.get(name) == "finished" for name in asked)
    for member in members:
        if member["member"] in asked and member["state"] != "finished":
            reason = member.get("error", "the same command goes on with it")
            result(f"{member['state']}: {shown(plan.folder / member['member'])}: {reason}")
    result(f"{done} of {len(asked)} members finished in {shown(plan.folder)}")
    return 0 if done == len(asked) else 1


def _describe(plan: Plan) -> None:
    states = [member_state(plan.folder / member.name) for member in plan.members]
    plans = {"finished": "finished", "resumable": "to resume", "failed": "to try again"}
    told = [f"{states.count(state)} {plan}" for state, plan in plans.items() if state in states]
    header(
        "sweep",
        {
            "folder": shown(plan.folder),
            "members": ", ".join([str(len(plan.members) or "as the sweeper chooses"), *told]),
            "launcher": plan.launcher,
            "progress": f"nas runs root={shown(plan.folder)}",
        },
    )
