import math

import pytest
import torch

from controllers.ask_tell import MAX_PROPOSALS, AskTell
from controllers.protocol import Samples
from controllers.testing import SumSpace
from controllers.uniform import Uniform
from search_spaces.nasbench201 import NASBench201Space

SPACE = SumSpace(blocks=3)


class Scripted:
    """Proposes a list of architectures a call, the last again where more are wanted; notes what it is told."""

    def __init__(self, calls, repeats):
        self.calls = list(calls)
        self.repeats = repeats
        self.told = []

    def sample(self, num_samples, *, greedy=False):
        rows = self.calls[0]
        self.calls = self.calls[1:] or self.calls
        rows = [*rows, *rows[-1:] * num_samples][:num_samples]
        return Samples(torch.tensor(rows), torch.full((num_samples,), -0.5), torch.full((num_samples,), 0.5))

    def observe(self, actions, rewards):
        self.told.append((actions.tolist(), rewards.tolist()))
        return {"told": len(self.told)}

    def set_learning_rate_scale(self, scale):
        pass

    def state_dict(self):
        return {"calls": list(self.calls)}

    def load_state_dict(self, state_dict):
        self.calls = list(state_dict["calls"])


def ops(genotypes):
    return [SPACE.encode(genotype) for genotype in genotypes]


@pytest.mark.parametrize(
    ("repeats", "told"),
    [
        ("never", [([[0, 1, 1]], [2.0])]),
        ("with the next", [([[0, 1, 1], [1, 0, 0]], [2.0, 1.0])]),
        ("at once", [([[1, 0, 0]], [1.0]), ([[0, 1, 1]], [2.0])]),
    ],
)
def test_what_computes_the_same_is_asked_for_once_and_told_as_the_controller_wants(repeats, told):
    controller = Scripted([[[0, 0, 1]], [[1, 0, 0], [0, 1, 1]], [[0, 1, 1]]], repeats)
    asking = AskTell(controller, SPACE)
    first = asking.ask(1)
    assert ops(first) == [(0, 0, 1)]
    assert asking.tell(first, [1.0]) == {"told": 1}
    second = asking.ask(1)
    assert ops(second) == [(0, 1, 1)]
    asking.tell(second, [2.0])
    assert controller.told == [([[0, 0, 1]], [1.0]), *told]


def test_one_that_is_proposed_twice_in_a_draw_is_asked_for_once():
    controller = Scripted([[[0, 0, 1], [1, 0, 0], [2, 2, 2]]], "with the next")
    asking = AskTell(controller, SPACE)
    genotypes = asking.ask(2)
    assert ops(genotypes) == [(0, 0, 1), (2, 2, 2)]
    asking.tell(genotypes, [1.0, 3.0])
    assert controller.told == [([[0, 0, 1], [2, 2, 2], [1, 0, 0]], [1.0, 3.0, 1.0])]


def test_after_twenty_proposals_without_anything_new_a_query_is_drawn_uniformly():
    controller = Scripted([[[0, 0, 0]]], "never")
    asking = AskTell(controller, SPACE, seed=0)
    asking.tell(asking.ask(1), [1.0])
    torch.manual_seed(0)
    draw = asking.draw(2)
    assert draw.proposals == 2 * MAX_PROPOSALS
    assert draw.own == 0
    assert len(draw.samples.actions) == 2
    assert draw.samples.log_prob.tolist() == [-0.5] * 2  # of the last proposal


def test_rewards_of_an_earlier_search_are_not_paid_for_again():
    asking = AskTell(Uniform(SPACE.decisions), SPACE, seed=1)
    known = [SPACE.decode(row) for row in ((0, 0, 0), (0, 0, 1), (1, 1, 1))]
    asking.tell(known, [0.1, 0.2, 0.3])
    asked = []
    while not asking.exhausted:
        genotypes = asking.ask(3)
        asking.tell(genotypes, [0.0] * len(genotypes))
        asked += map(SPACE.canonical, genotypes)
    assert len(asked) == len(set(asked)) == 7
    assert set(asked).isdisjoint(map(SPACE.canonical, known))
    assert asking.ask(2) == []


def test_without_memory_every_proposal_is_asked_for_and_told():
    controller = Scripted([[[0, 0, 1]]], "with the next")
    asking = AskTell(controller, SPACE, remember=False)
    draw = asking.draw(3)
    assert draw.samples.actions.tolist() == [[0, 0, 1]] * 3
    asking.observe(draw.samples.actions, torch.tensor([1.0, 2.0, 3.0]))
    assert controller.told == [([[0, 0, 1]] * 3, [1.0, 2.0, 3.0])]
    assert not asking.exhausted


def test_it_goes_on_from_a_file_as_if_nothing_had_happened(tmp_path):
    space = NASBench201Space()
    first = AskTell(Uniform(space.decisions), space, seed=5)
    for _ in range(3):
        genotypes = first.ask(4)
        first.tell(genotypes, [0.5] * 4)
    pending = first.ask(4)
    first.save(tmp_path / "asked.pt")
    second = AskTell(Uniform(space.decisions), space, seed=5)
    second.load(tmp_path / "asked.pt")
    for one in (first, second):
        one.tell(pending, [0.1, 0.2, 0.3, 0.4])
    assert first.known == second.known
    assert first.ask(5) == second.ask(5)


def test_a_seed_leaves_the_global_generator_alone():
    asking = AskTell(Uniform(SPACE.decisions), SPACE, seed=2)
    before = torch.random.get_rng_state()
    asking.tell(asking.ask(2), [0.0, 1.0])
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("rewards", "message"),
    [([1.0], "2 genotypes and 1 rewards"), ([1.0, math.nan], "must be finite"), ([], "2 genotypes and 0 rewards")],
)
def test_rewards_that_do_not_fit_are_refused(rewards, message):
    asking = AskTell(Uniform(SPACE.decisions), SPACE, seed=0)
    genotypes = asking.ask(2)
    with pytest.raises(ValueError, match=message):
        asking.tell(genotypes, rewards)


def test_at_least_one_must_be_asked_for():
    with pytest.raises(ValueError, match="at least 1"):
        AskTell(Uniform(SPACE.decisions), SPACE).ask(0)


def test_named_architectures_are_asked_for_first_but_for_those_that_are_known():
    controller = Scripted([[[2, 2, 2]]], "never")
    asking = AskTell(controller, SPACE, first=[(0, 0, 0), (0, 0, 1), (1, 0, 0)])
    asking.tell([SPACE.decode((0, 0, 0))], [0.5])
    draw = asking.draw(2)
    assert draw.samples.actions.tolist() == [[0, 0, 1], [2, 2, 2]]
    assert (draw.own, draw.proposals) == (1, 1)
