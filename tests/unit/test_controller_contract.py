"""Every controller of conf/controller is held to the contract, and one of a user's own."""

from functools import partial

import pytest
import torch

from controllers import testing
from controllers.testing import ControllerContract
from controllers.uniform import Uniform
from nas.jobs.building.config import build
from nas.jobs.compare import controller_config
from tests.examples.climbing import HillClimbing


def made(name, decisions, **changed):
    node = controller_config(name, changed)
    return build(node, name, decisions)


class TestEvolution(ControllerContract):
    def make(self, decisions):
        return made("evolution", decisions)


class TestLocalSearch(ControllerContract):
    def make(self, decisions):
        return made("local_search", decisions, starts=3)


class TestBayesian(ControllerContract):
    rewards = 60

    def make(self, decisions):
        return made("bayesian", decisions, initial=4, candidates=20)


class TestLSTM(ControllerContract):
    def make(self, decisions):
        return made("lstm", decisions)


class TestEnas(ControllerContract):
    rewards = 1000  # its constants learn slowly

    def make(self, decisions):
        return made("enas", decisions)


class TestPPO(ControllerContract):
    rewards = 1000

    def make(self, decisions):
        return made("ppo", decisions)


class TestReinforce(ControllerContract):
    rewards = 600

    def make(self, decisions):
        return made("reinforce", decisions)


class TestLSTMRanks(ControllerContract):
    def make(self, decisions):
        return made("lstm_ranks", decisions)


class TestLargestFirst(ControllerContract):
    learns = False

    def make(self, decisions):
        return made("largest_first", decisions)


class TestUniform(ControllerContract):
    learns = False

    def make(self, decisions):
        return made("uniform", decisions)


class TestHillClimbing(ControllerContract):
    def make(self, decisions):
        return HillClimbing(decisions, change=0.3)


class Faulty(HillClimbing):
    """Breaks the contract in one place."""

    def __init__(self, decisions, *, fault):
        super().__init__(decisions, change=0.3)
        self.fault = fault
        self.count = 0

    @property
    def repeats(self):
        return "sometimes" if self.fault == "repeats" else "never"

    def sample(self, num_samples, *, greedy=False):
        samples = super().sample(num_samples, greedy=greedy)
        if self.fault == "bounds":
            samples.actions[-1, -1] = 99
        if self.fault == "shape":
            samples = samples._replace(actions=samples.actions[:, :-1])
        if self.fault == "nan":
            samples = samples._replace(entropy=samples.entropy * float("nan"))
        if self.fault == "greedy" and greedy:
            samples = super().sample(num_samples)
        if self.fault == "bandit":
            samples = self.uniform.sample(num_samples)
        if self.fault == "seed":
            torch.seed()
        return samples

    def observe(self, actions, rewards):
        self.count += 1
        if self.fault == "state" and self.count % 5 == 0:
            self.best = torch.zeros_like(self.best)
        return super().observe(actions, rewards)


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("repeats", "test_known_rewards_come_when_it_says", "repeats must be one of"),
        ("bounds", "test_proposals_are_within_bounds", "an action is no choice"),
        ("shape", "test_proposals_are_within_bounds", "actions must be of shape"),
        ("nan", "test_proposals_are_within_bounds", "entropy must not be NaN"),
        ("greedy", "test_proposals_are_within_bounds", "must all be equal"),
        ("seed", "test_the_seed_decides_everything", "the same seed"),
        ("state", "test_its_state_is_all_there_is", "is not enough to go on from"),
        ("bandit", "test_a_bandit_is_solved", "random draws have 0.25"),
    ],
)
def test_the_contract_finds_what_breaks_it(fault, test, message):
    contract = ControllerContract()
    contract.make = partial(Faulty, fault=fault)
    with pytest.raises(AssertionError, match=message):
        getattr(contract, test)()


def test_a_controller_that_never_finds_what_is_left_has_it_drawn_for_it():
    contract = ControllerContract()

    class Stuck(Uniform):
        def sample(self, num_samples, *, greedy=False):
            return super().sample(num_samples, greedy=True)

    contract.make = Stuck
    contract.test_a_small_space_is_exhausted()


def test_the_space_of_the_contract_decodes_what_it_encodes():
    space = testing.SumSpace()
    for actions in ((0, 1, 2), (2, 2, 0)):
        assert space.encode(space.decode(actions)) == actions
    assert space.canonical(space.decode((0, 1, 2))) == space.canonical(space.decode((2, 0, 1)))
