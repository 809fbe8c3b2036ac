"""A search without weights: cells are sampled, looked up in a table and learned from, thousands in seconds.

The loop is that of `nas.searching.search` without its first half. What a cell counts for in the end, the table's
report, is written down beside its reward and never looked at by the search.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from controllers.protocol import Controller, Samples
from nas.costs.pareto import nondominated
from nas.costs.settings import FIELDS
from nas.runs.seeds import derive_seed, seed_cpu
from nas.searching.choice_shares import choice_shares
from nas.searching.diagnostics.watch import Watch
from nas.searching.evaluators import RewardFunction
from nas.searching.table_lookup import TabularCost, TabularEvaluator
from nas.searching.table_lookup import (
    open_table as open_table,  # configs know it as nas.searching.tabular_search.open_table
)
from nas.searching.tabular_settings import (
    TabularSearchSettings,  # and this as nas.searching.tabular_search.TabularSearchSettings
)
from nas.training.evaluation import Score
from search_spaces.genotype import Genotype
from search_spaces.space import SearchSpace


@dataclass(slots=True, kw_only=True)
class TabularSearch:
    """The state of a search in a table, and its steps.

    Attributes:
        settings: The protocol.
        seed: All random streams derive from it.
        space: What is searched.
        controller: Samples cells and learns from rewards.
        evaluator: Looks cells up.
        reward: Of what was looked up as accuracy.
        cost: Recorded of every cell, if there is one.
        rows: What was logged, one an update.
        scored: Every cell that was looked up: update, reward, accuracy, report, cost, actions.
        best: Place in `scored` of the highest reward, the first of equals; −1 before the first.
        renew: Makes the controller anew where the guard wants it; see `nas.searching.diagnostics.watch.Watch`.
        watch: Records how the policy moved, and looks out for its collapse.
    """

    settings: TabularSearchSettings
    seed: int
    space: SearchSpace
    controller: Controller
    evaluator: TabularEvaluator
    reward: RewardFunction
    cost: TabularCost | None = None
    rows: list[dict[str, float]] = field(default_factory=list)
    scored: list[dict[str, Any]] = field(default_factory=list)
    best: int = -1
    renew: Callable[[int], Controller] | None = None
    watch: Watch = field(init=False)

    def __post_init__(self) -> None:
        num_updates = math.ceil(self.settings.queries / self.settings.samples_per_update)
        self.watch = Watch(self.space, settings=self.settings.guard, num_epochs=num_updates, renew=self.renew)

    @property
    def finished(self) -> bool:
        """Whether all queries are spent, or the guard stopped the search."""
        return len(self.scored) >= self.settings.queries or self.watch.stopped

    def update(self) -> dict[str, float]:
        """Takes a step; returns what to log, the diagnostics among it."""
        samples, rewards, learned = self.step()
        row = {
            "epoch": len(self.rows),
            "queries": len(self.scored),
            "reward": rewards.mean().item(),
            "reward_max": rewards.max().item(),
            **{key: value for key, value in self.incumbent.items() if key in ("report", self._cost_field)},
            "best": self.incumbent["reward"],
            "entropy": samples.entropy.mean().item(),
            **learned,
            **self.watch.note([samples], rewards, best=self.incumbent["reward"]),
            **choice_shares(self.space.decisions, samples.actions),
        }
        self.rows.append(row)
        self.controller = self.watch.act(self.controller)
        return row

    def step(self) -> tuple[Samples, torch.Tensor, Mapping[str, float]]:
        """Samples, looks up and learns once, and no more: diagnostics take several times as long.

        Returns:
            What was sampled, its rewards (N,) float64, and what the controller said of its learning.
        """
        number = self.scored[-1]["epoch"] + 1 if self.scored else 0
        seed_cpu(derive_seed(self.seed, "epoch", number))
        count = min(self.settings.samples_per_update, self.settings.queries - len(self.scored))
        samples = self.controller.sample(count)
        rewards = self._look_up(samples.actions, number)
        return samples, rewards, self.controller.observe(samples.actions, rewards)

    @property
    def incumbent(self) -> dict[str, Any]:
        """The row of `scored` with the highest reward so far."""
        return self.scored[self.best]

    @property
    def _cost_field(self) -> str | None:
        return None if self.cost is None else FIELDS[self.cost.name]

    def _look_up(self, actions: torch.Tensor, update: int) -> torch.Tensor:
        """Returns the rewards, (N,) float64, of actions (N, T), and notes all that is known of them."""
        genotypes = [self.space.decode(row) for row in actions.tolist()]
        accuracies = self.evaluator.rewards(genotypes, seed=derive_seed(self.seed, "reward", update)).tolist()
        for row, genotype, accuracy in zip(actions.tolist(), genotypes, accuracies, strict=True):
            reward = self.reward(Score(loss=math.nan, accuracy=accuracy), genotype)
            if not math.isfinite(reward):
                raise ValueError(f"the reward must be a finite number, got {reward} for {genotype.to_json()}")
            entry: dict[str, Any] = {"epoch": update, "reward": reward, "accuracy": accuracy}
            if self.evaluator.table.report is not None:
                entry["report"] = self.evaluator.report(genotype)
            if self.cost is not None:
                entry[FIELDS[self.cost.name]] = self.cost(genotype)
            self.scored.append({**entry, "actions": " ".join(map(str, row))})
            if self.best < 0 or reward > self.incumbent["reward"]:
                self.best = len(self.scored) - 1
        return torch.tensor([entry["reward"] for entry in self.scored[-len(genotypes) :]], dtype=torch.float64)

    def best_cell(self) -> Genotype | None:
        """Returns the cell with the highest reward so far; None before the first."""
        return self._genotype(self.incumbent) if self.scored else None

    def candidates(self) -> list[dict[str, Any]]:
        """Returns the cells with the highest rewards, best first, the best of those that compute the same."""
        found: dict[object, dict[str, Any]] = {}
        for entry in sorted(self.scored, key=lambda entry: -entry["reward"]):  # stable: the first of equals
            genotype = self._genotype(entry)
            if self.space.canonical(genotype) not in found:
                found[self.space.canonical(genotype)] = self._described(entry, genotype)
            if len(found) == self.settings.top_k:
                break
        return list(found.values())

    def front(self) -> list[dict[str, Any]]:
        """Returns the cells that no other beats in both accuracy and cost, by ascending cost; none without a cost."""
        if self._cost_field is None:
            return []
        numbers = nondominated([(entry[self._cost_field], entry["accuracy"]) for entry in self.scored])
        return [self._described(self.scored[i], self._genotype(self.scored[i])) for i in numbers]

    def _genotype(self, entry: Mapping[str, Any]) -> Genotype:
        return self.space.decode([int(action) for action in entry["actions"].split()])

    def _described(self, entry: Mapping[str, Any], genotype: Genotype) -> dict[str, Any]:
        figures = {key: value for key, value in entry.items() if key not in ("epoch", "actions")}
        return {"genotype": genotype.to_dict(), "key": self.evaluator.key_of(genotype), **figures}

    def state_dict(self) -> dict[str, Any]:
        """Returns everything a resumed search needs; random streams need nothing, they start anew every update."""
        return {
            "rows": self.rows,
            "scored": self.scored,
            "best": self.best,
            "watch": self.watch.state_dict(),
            "controller": self.controller.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.rows, self.scored, self.best = state["rows"], state["scored"], state["best"]
        self.watch.load_state_dict(state["watch"], scored=self.scored)
        self.controller.load_state_dict(state["controller"])
