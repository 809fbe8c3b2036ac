"""What every controller must do, as tests: a contract that a controller of your own can be held to.

    class TestMine(ControllerContract):
        def make(self, decisions):
            return Mine(decisions)

in a file that pytest collects runs them all. Failures say in words what was expected.
"""

import io
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, get_args

import torch
from torch import Tensor

from controllers.ask_tell import AskTell
from controllers.protocol import Controller, Repeats, Samples
from search_spaces.genotype import Block, CellGenotype, Decision, Genotype
from search_spaces.nasbench201 import NASBench201Space
from search_spaces.shufflenas import ShuffleNASSpace

SPACES = (ShuffleNASSpace(blocks=3), NASBench201Space())
"""Of pointers and ops, two cells; of ops alone."""


class SumSpace:
    """Blocks that all read the input: those in another order compute the same.

    Args:
        blocks: T, one decision each.
        ops: Choices of each.
    """

    def __init__(self, *, blocks: int = 3, ops: Sequence[str] = ("conv_1x1", "max_pool_3x3", "sep_conv_3x3")) -> None:
        self.name = "sums"
        self.decisions = tuple(Decision("normal", block, "op", tuple(ops)) for block in range(blocks))

    def decode(self, actions: Sequence[int]) -> Genotype:
        """Returns the genotype of T actions."""
        names = [decision.choices[action] for decision, action in zip(self.decisions, actions, strict=True)]
        blocks = tuple(Block((0,), (name,)) for name in names)
        return Genotype(space=self.name, normal=CellGenotype(blocks=blocks))

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        """Returns the actions of a genotype."""
        return tuple(self.decisions[0].choices.index(block.ops[0]) for block in genotype.normal.blocks)

    def canonical(self, genotype: Genotype) -> tuple[str, ...]:
        """Returns the ops in alphabetical order."""
        return tuple(sorted(block.ops[0] for block in genotype.normal.blocks))


class Trace(NamedTuple):
    """What a controller did in a few rounds: what it proposed, and what it logged."""

    actions: list[list[list[int]]]
    logged: list[dict[str, float]]


class ControllerContract:
    """The tests; a subclass says how its controller is made, and whether it learns.

    Attributes:
        learns: Whether the mean reward of what it proposes rises.
        rewards: After how many rewards that must show.
    """

    learns: ClassVar[bool] = True
    rewards: ClassVar[int] = 300

    def make(self, decisions: Sequence[Decision]) -> Controller:
        """Makes the controller; what is random about it comes from torch's global generator."""
        raise NotImplementedError

    def test_proposals_are_within_bounds(self) -> None:
        """Shapes, choices, probabilities and entropies are those that `controllers.protocol.Samples` states."""
        for space in SPACES:
            controller = self._seeded(space.decisions)
            for number in (1, 2, 7, 20):
                samples = controller.sample(number)
                _check_samples(samples, number, space.decisions)
                controller.observe(samples.actions, _rewards(samples.actions))
            greedy = controller.sample(3, greedy=True)
            _check_samples(greedy, 3, space.decisions)
            _check((greedy.actions == greedy.actions[0]).all(), "greedy proposals must all be equal")

    def test_the_seed_decides_everything(self) -> None:
        """Two controllers made and driven from the same seed do and log the same."""
        for space in SPACES:
            first, second = (_drive(self._seeded(space.decisions), rounds=8) for _ in range(2))
            _check(first == second, "the same seed must give the same proposals and the same log")

    def test_its_state_is_all_there_is(self) -> None:
        """At any moment another instance goes on from the state, through a file, as if it were the first."""
        for space in SPACES:
            for moment in (0, 3, 8):
                controller, other = self._seeded(space.decisions), self._seeded(space.decisions, seed=1)
                _drive(controller, rounds=moment)
                pending = controller.sample(2).actions if moment % 2 else None
                file = io.BytesIO()
                torch.save(controller.state_dict(), file)
                file.seek(0)
                other.load_state_dict(torch.load(file, weights_only=True))
                traces = []
                for one in (controller, other):
                    torch.manual_seed(7)
                    if pending is not None:
                        one.observe(pending, _rewards(pending))
                    traces.append(_drive(one, rounds=4))
                _check(traces[0] == traces[1], f"after {moment} rounds its state is not enough to go on from")

    def test_it_takes_in_what_it_did_not_propose(self) -> None:
        """Rewards of other architectures, as of earlier runs, are taken in before and after its own."""
        for space in SPACES:
            controller = self._seeded(space.decisions)
            others = torch.tensor([[0] * len(space.decisions), [len(one.choices) - 1 for one in space.decisions]])
            for _ in range(3):
                controller.observe(others, _rewards(others))
                own = controller.sample(2).actions
                controller.observe(own, _rewards(own))

    def test_a_small_space_is_exhausted(self) -> None:
        """Asked until nothing is left, it has proposed each function once, whatever the number asked for."""
        space = SumSpace()
        for number in (1, 4):
            asking = AskTell(self._seeded(space.decisions), space, seed=3)
            asked: list[object] = []
            while not asking.exhausted:
                genotypes = asking.ask(number)
                _check(bool(genotypes), "something is left, and nothing was asked for")
                asked += map(space.canonical, genotypes)
                asking.tell(genotypes, [float(len(space.canonical(one)[0])) for one in genotypes])
            _check(len(asked) == len(set(asked)) == 10, f"10 functions must be asked for once, {len(asked)} were")

    def test_the_learning_rate_can_be_scaled(self) -> None:
        """A schedule may scale the learning rate, also of what has none."""
        controller = self._seeded(SPACES[0].decisions)
        controller.set_learning_rate_scale(0.5)
        _drive(controller, rounds=2)

    def test_known_rewards_come_when_it_says(self) -> None:
        """`repeats` is one of the words of `controllers.protocol.Repeats`."""
        word = self._seeded(SPACES[0].decisions).repeats
        _check(word in get_args(Repeats), f"repeats must be one of {get_args(Repeats)}, got {word!r}")

    def test_a_bandit_is_solved(self) -> None:
        """Where the reward is the share of the decisions answered right, what it proposes gets better than random."""
        if not self.learns:
            return
        decisions = SumSpace(blocks=6, ops=("a", "b", "c", "d")).decisions
        means = []
        for seed in range(2):
            controller = self._seeded(decisions, seed=seed)
            rewards: list[float] = []
            while len(rewards) < self.rewards:
                actions = controller.sample(10).actions
                right = (actions == 2).double().mean(dim=1)
                controller.observe(actions, right)
                rewards += right.tolist()
            last = rewards[-self.rewards // 3 :]
            means.append(sum(last) / len(last))
        mean = sum(means) / len(means)
        _check(mean > 0.3, f"the last third of {self.rewards} rewards has a mean of {mean:.3f}, random draws have 0.25")

    def _seeded(self, decisions: Sequence[Decision], *, seed: int = 0) -> Controller:
        torch.manual_seed(seed)
        return self.make(decisions)


def _check(holds: Any, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def _rewards(actions: Tensor) -> Tensor:
    """Returns a reward, in [0, 1), of each row of actions."""
    weights = torch.arange(1, actions.shape[1] + 1, dtype=torch.float64)
    return (actions.double() @ weights * 0.618).remainder(1.0)


def _drive(controller: Controller, *, rounds: int) -> Trace:
    trace = Trace([], [])
    for number in range(rounds):
        actions = controller.sample(1 + number % 3).actions
        trace.actions.append(actions.tolist())
        trace.logged.append(dict(controller.observe(actions, _rewards(actions))))
    return trace


def _check_samples(samples: Samples, number: int, decisions: Sequence[Decision]) -> None:
    counts = torch.tensor([len(decision.choices) for decision in decisions])
    shape = tuple(samples.actions.shape)
    _check(shape == (number, len(decisions)), f"actions must be of shape {(number, len(decisions))}, got {shape}")
    _check(samples.actions.dtype == torch.int64, f"actions must be int64, got {samples.actions.dtype}")
    _check(((samples.actions >= 0) & (samples.actions < counts)).all(), "an action is no choice of its decision")
    for name in ("log_prob", "entropy"):
        values = getattr(samples, name)
        _check(tuple(values.shape) == (number,), f"{name} must be of shape {(number,)}, got {tuple(values.shape)}")
        _check(not values.isnan().any(), f"{name} must not be NaN")
    _check((samples.log_prob <= 1e-6).all(), "a log-probability must not be above 0")
    _check((samples.entropy >= -1e-6).all(), "an entropy must not be below 0")
    if samples.probabilities is not None:
        sums = samples.probabilities.double().sum(dim=2)
        _check((sums - 1).abs().max() < 1e-4, "the probabilities of a decision's choices must sum to 1")
        beyond = torch.arange(samples.probabilities.shape[2]) >= counts[:, None]
        _check(not samples.probabilities[:, beyond].any(), "beyond the choices of a decision probabilities must be 0")
