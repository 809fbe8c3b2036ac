"""The search: a controller proposes architectures, an evaluator rewards them, the controller learns from the rewards.

The same loop runs with shared weights, a table, or short trainings as its evaluator; see `nas.searching.evaluators`.
With shared weights an epoch begins by training them (ENAS, arXiv:1802.03268, §2.2).
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import torch

from controllers.ask_tell import AskTell, Draw
from controllers.protocol import Controller
from controllers.uniform import Uniform
from nas.costs.pareto import nondominated
from nas.costs.settings import FIELDS
from nas.runs.seeds import derive_seed, seed_cpu, seed_everything
from nas.searching.diagnostics.watch import Watch, choice_shares
from nas.searching.evaluators import Evaluator
from nas.searching.random_cells import distinct, random_cells
from nas.searching.settings import QuerySettings, SearchSettings
from search_spaces.classes import CanonicalClasses
from search_spaces.genotype import Genotype
from search_spaces.space import SearchSpace

EvaluatorT = TypeVar("EvaluatorT", bound=Evaluator)


class Step(NamedTuple):
    """One epoch of a search.

    Attributes:
        epoch: Its number, from 0.
        trained: What the evaluator logged of its training.
        draws: The architectures that were rewarded, by update of the controller.
        learned: What the controller logged of the last update.
    """

    epoch: int
    trained: Mapping[str, float]
    draws: list[Draw]
    learned: Mapping[str, float]


@dataclass(slots=True, kw_only=True)
class Search(Generic[EvaluatorT]):
    """The state of a search, and its epochs.

    Attributes:
        settings: The protocol.
        seed: All random streams derive from it.
        space: The search space.
        controller: Proposes architectures and learns from their rewards.
        evaluator: Rewards architectures.
        rows: The log, one row per epoch.
        scored: Every architecture that was rewarded: epoch, reward, the figures of its evaluation, actions as text.
        best: The index in `scored` of the highest reward, the first of equal ones; -1 before there is one.
        first: Actions of cells that it begins with, see `nas.searching.settings.WarmUpSettings`.
        known: Rewards known before, by actions; the controller learns from them.
        renew: Makes a fresh controller where the guard wants it; see `nas.searching.diagnostics.watch.Watch`.
        asking: Asks the controller; where rewards are exact, for nothing that is known.
        watch: Records how the policy moved, and looks out for its collapse.
        classes: The classes of the space, where the warm-up draws them; None where it draws genotypes.
    """

    settings: SearchSettings | QuerySettings
    seed: int
    space: SearchSpace
    controller: Controller
    evaluator: EvaluatorT
    rows: list[dict[str, float]] = field(default_factory=list)
    scored: list[dict[str, Any]] = field(default_factory=list)
    best: int = -1
    first: Sequence[Sequence[int]] = ()
    known: Mapping[tuple[int, ...], float] = field(default_factory=dict)
    renew: Callable[[int], Controller] | None = None
    asking: AskTell = field(init=False)
    watch: Watch = field(init=False)
    classes: CanonicalClasses | None = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self.asking = AskTell(self.controller, self.space, first=self.first, remember=self.evaluator.is_exact)
        actions, rewards = torch.tensor([*self.known]), torch.tensor([*self.known.values()], dtype=torch.float64)
        for part in torch.split(torch.arange(len(rewards)), settings.samples_per_update):
            if len(part):
                self.asking.observe(actions[part], rewards[part])
        if self.asking.exhausted:
            raise ValueError("the reward of every cell of the space is known before the search")
        self.classes = CanonicalClasses(self.space) if settings.sampling == "classes" else None
        self.watch = Watch(
            self.space,
            settings=settings.guard,
            num_epochs=settings.epochs,
            first_epoch=settings.warmup_epochs,
            renew=self.renew,
        )

    @property
    def finished(self) -> bool:
        """Whether all queries are spent, nothing is left to ask for, or the guard stopped the search."""
        return len(self.scored) >= self.settings.queries or self.watch.stopped or self.asking.exhausted

    @property
    def incumbent(self) -> dict[str, Any]:
        """The row of `scored` with the highest reward so far."""
        return self.scored[self.best]

    def best_cell(self) -> Genotype | None:
        """Returns the cell with the highest reward so far; None before the first."""
        return self._genotype(self.incumbent) if self.scored else None

    def epoch(self) -> dict[str, float]:
        """Runs an epoch and lets the guard act; returns what to log."""
        started = time.perf_counter()
        step = self.step()
        samples = [draw.samples for draw in step.draws]
        rewarded = self.scored[-sum(len(one.actions) for one in samples) :]
        rewards = torch.tensor([entry["reward"] for entry in rewarded], dtype=torch.float64)
        best = self.incumbent["reward"]
        costs = (FIELDS[name] for name in self.evaluator.costs)
        queries = {  # what to log of an epoch in which nothing trained
            "queries": len(self.scored),
            "proposals": sum(draw.proposals for draw in step.draws),
            "own": sum(draw.own for draw in step.draws),
        }
        row = {
            "epoch": step.epoch,
            **(step.trained or queries),
            "reward": rewards.mean().item(),
            "reward_max": rewards.max().item(),
            **({"report": self.incumbent["report"]} if "report" in self.incumbent else {}),
            "best": best,
            "entropy": samples[-1].entropy.mean().item(),
            **step.learned,
            **self.watch.note(samples, rewards, best=best),
            **{cost: statistics.fmean(entry[cost] for entry in rewarded) for cost in costs},
            **choice_shares(self.space.decisions, torch.cat([one.actions for one in samples])),
        }
        if not self.evaluator.is_instant:
            row["seconds"] = time.perf_counter() - started
        self.rows.append(row)
        self.controller = self.asking.controller = self.watch.act(self.controller)
        self.evaluator.ranks.check_agreement(
            [{**row, "seconds": 0}, self.controller.state_dict()], on=f"epoch {step.epoch}"
        )
        return row

    def step(self) -> Step:
        """Runs an epoch without logging and guard, which take longer than looking cells up in a table."""
        settings = self.settings
        epoch = self.scored[-1]["epoch"] + 1 if self.scored else 0
        seed = seed_cpu if self.evaluator.device.type == "cpu" else seed_everything
        seed(derive_seed(self.seed, "epoch", epoch))
        trained = self.evaluator.train(epoch, lambda count: self._propose(epoch, count))
        if settings.anneal_controller:
            self.controller.set_learning_rate_scale(self.evaluator.learning_rate_scale(epoch))
        learned: Mapping[str, float] = {}
        draws = []
        num_cells = min(settings.controller_samples, settings.queries - len(self.scored))
        for first in range(0, num_cells, settings.samples_per_update):
            draw = self.asking.draw(min(settings.samples_per_update, num_cells - first))
            images = derive_seed(self.seed, "reward", epoch, 0 if settings.common_images else first)
            rewards = self._evaluate(epoch, draw.samples.actions, seed=images)
            if epoch >= settings.warmup_epochs:
                learned = self.asking.observe(draw.samples.actions, rewards)
            draws.append(draw)
        return Step(epoch, trained, draws, learned)

    def _propose(self, epoch: int, count: int) -> list[Genotype]:
        """Returns cells whose weights are to be trained, drawn uniformly while the search warms up."""
        warm = epoch >= self.settings.warmup_epochs
        if self.classes is not None and not warm:
            return self._decode(self.classes.sample(count))
        return self._decode((self.controller if warm else Uniform(self.space.decisions)).sample(count).actions)

    def _evaluate(self, epoch: int, actions: torch.Tensor, *, seed: int) -> torch.Tensor:
        """Returns the rewards, (N,) float64, of actions (N, T), and records all that was found out."""
        evaluations = self.evaluator.evaluate(self._decode(actions), seed=seed)
        for row, evaluation in zip(actions.tolist(), evaluations, strict=True):
            entry = {"epoch": epoch, "reward": evaluation.reward, **evaluation.figures}
            self.scored.append({**entry, "actions": " ".join(map(str, row))})
            if self.best < 0 or evaluation.reward > self.incumbent["reward"]:
                self.best = len(self.scored) - 1
        return torch.tensor([evaluation.reward for evaluation in evaluations], dtype=torch.float64)

    def candidates(self) -> list[dict[str, Any]]:
        """Returns the best cells, highest reward first, each function once.

        With `settings.final_samples` they are sampled from the controller and scored again, since rewards were those of
        earlier weights on a batch each; otherwise they are those with the highest rewards of the search.
        """
        if not self.settings.final_samples:
            best = sorted(self.scored, key=lambda entry: -entry["reward"])  # stable: the first of equals
            return self.evaluator.score(self._first_distinct(best, self.settings.top_k))
        seed_everything(derive_seed(self.seed, "candidates"))
        greedy = self._decode(self.controller.sample(1, greedy=True).actions)
        sampled = self._decode(self.controller.sample(self.settings.final_samples).actions)
        return sorted(
            self.evaluator.score(distinct(self.space, [*greedy, *sampled])),
            key=lambda entry: (-float(entry["reward"]), -float(entry["shared_accuracy"])),
        )

    def _first_distinct(self, entries: Sequence[Mapping[str, Any]], count: int) -> list[Genotype]:
        found: dict[object, Genotype] = {}
        for entry in entries:
            genotype = self._genotype(entry)
            found.setdefault(self.space.canonical(genotype), genotype)
            if len(found) == count:
                break
        return list(found.values())

    def front(self, cost: str) -> list[dict[str, Any]]:
        """Returns the rewarded cells that no other beats in both accuracy and a cost, by ascending cost.

        Args:
            cost: Its column in `scored`.
        """
        numbers = nondominated([(entry[cost], entry["accuracy"]) for entry in self.scored])
        return self.evaluator.score([self._genotype(self.scored[number]) for number in numbers])

    def random_cells(self, *, parameters: float) -> list[dict[str, Any]]:
        """Draws the cells of the random baseline and scores them like the candidates.

        Args:
            parameters: Parameters of the found cell; theirs are about as many if `settings.random_parameters` says so.

        Returns:
            `settings.random_cells` entries, fewer if cells of that size are too rare, which is said then.
        """
        settings = self.settings
        if settings.random_cells == 0:
            return []
        seed_everything(derive_seed(self.seed, "random cells"))
        return self.evaluator.score(
            random_cells(
                self.space,
                settings.random_cells,
                parameters=self.evaluator.costs.get("parameters", _no_parameters),
                near=parameters,
                tolerance=settings.random_parameters,
            )
        )

    def _genotype(self, entry: Mapping[str, Any]) -> Genotype:
        return self.space.decode([int(action) for action in entry["actions"].split()])

    def _decode(self, actions: torch.Tensor) -> list[Genotype]:
        return [self.space.decode(row) for row in actions.tolist()]

    def state_dict(self) -> dict[str, Any]:
        """Returns everything a resumed search needs; random streams need nothing, they start afresh every epoch."""
        return {
            "rows": self.rows,
            "scored": self.scored,
            "watch": self.watch.state_dict(),
            "controller": self.controller.state_dict(),
            **self.evaluator.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.rows, self.scored = state["rows"], state["scored"]
        self.best = max(range(len(self.scored)), key=lambda number: self.scored[number]["reward"], default=-1)
        self.watch.load_state_dict(state["watch"], scored=self.scored)
        self.controller.load_state_dict(state["controller"])
        if self.asking.remember:
            actions = [[int(word) for word in entry["actions"].split()] for entry in self.scored]
            self.asking.remember_known(actions, [entry["reward"] for entry in self.scored])
        self.evaluator.load_state_dict(state)


def _no_parameters(genotype: Genotype) -> float:
    raise ValueError(f"random_parameters must be null: the parameters of {genotype.space} are not known")
