"""Local search, Bayesian optimisation, the largest first, and advantages from ranks, on cases worked out by hand."""

import itertools
import math

import pytest
import torch

from controllers.ask_tell import AskTell
from controllers.bayesian import Bayesian, path_features
from controllers.largest_first import LargestFirst
from controllers.local_search import LocalSearch
from controllers.policy_gradients import RankBaseline
from controllers.testing import SumSpace
from controllers.uniform import Uniform
from search_spaces.genotype import Decision
from search_spaces.nasbench201 import NASBench201Space, arch_string
from search_spaces.shufflenas import ShuffleNASSpace

DECISIONS = [Decision("cell", step, "op", ("a", "b", "c")) for step in range(2)]


def tell(controller, row, reward):
    return controller.observe(torch.tensor([row]), torch.tensor([reward], dtype=torch.float64))


def test_local_search_moves_to_the_first_neighbour_that_is_better_and_begins_anew_at_an_optimum():
    controller = LocalSearch(DECISIONS)
    tell(controller, (0, 0), 0.5)
    proposals = controller.sample(4).actions.tolist()
    assert sorted(proposals) == [[0, 1], [0, 2], [1, 0], [2, 0]]
    tell(controller, proposals[0], 0.4)
    assert controller.sample(1).actions.tolist() == [proposals[1]]
    assert tell(controller, proposals[1], 0.6) == {"climbs": 1.0, "place": 0.6}
    better = proposals[1]
    neighbours = controller.sample(4).actions.tolist()
    assert all(sum(a != b for a, b in zip(better, row, strict=True)) == 1 for row in neighbours)
    for row in neighbours[:3]:
        tell(controller, row, 0.1)
    assert tell(controller, neighbours[3], 0.6) == {"climbs": 1.0}  # equal is not better: a local optimum
    assert controller.sample(3, greedy=True).actions.tolist() == [better] * 3
    assert tell(controller, (2, 2), 0.2) == {"climbs": 2.0, "place": 0.2}  # a new start, however poor


def test_local_search_climbs_from_the_best_of_its_starts():
    controller = LocalSearch(DECISIONS, starts=3)
    for row, reward in (((0, 0), 0.1), ((1, 1), 0.7)):
        assert tell(controller, row, reward)["climbs"] == 0
    assert tell(controller, (2, 2), 0.3) == {"climbs": 1.0, "place": 0.7}
    assert sorted(controller.sample(4).actions.tolist()) == [[0, 1], [1, 0], [1, 2], [2, 1]]


def test_known_neighbours_cost_local_search_nothing():
    space = SumSpace(blocks=2, ops=("conv_1x1", "max_pool_3x3"))  # (0, 1) and (1, 0) compute the same
    asking = AskTell(LocalSearch(space.decisions), space, seed=0)
    asked = []
    while not asking.exhausted:
        genotypes = asking.ask(1)
        asked += genotypes
        asking.tell(genotypes, [0.5])
    assert len(asked) == 3


def test_bayesian_optimisation_finds_the_best_of_a_sum_in_a_twentieth_of_random_draws():
    space = SumSpace(blocks=5, ops=("conv_1x1", "max_pool_3x3", "sep_conv_3x3", "identity"))
    values = torch.tensor([0.1, 0.4, 0.2, 0.3])
    found = []
    for seed in range(3):
        torch.manual_seed(seed)
        controller = Bayesian(space.decisions, candidates=50, paths=False)
        best = 0.0
        for number in itertools.count(1):
            actions = controller.sample(1).actions
            reward = (values[actions] * torch.tensor([1.0, 2, 3, 4, 5])).sum(dim=1).double()
            best = max(best, reward.item())
            controller.observe(actions, reward)
            if best > 5.999 or number == 100:
                break
        found.append(number)
    assert max(found) <= 50  # of 1,024, so that random draws need some 500


def test_paths_are_counted_by_their_ops():
    space = NASBench201Space()
    features = path_features(space.decisions, (3, 0, 2, 1, 0, 2))
    # |3x3~0|+|none~0|1x1~1|+|skip~0|none~1|1x1~2|: from input to output by the skip, or by 3x3, 1x1, 1x1
    assert features == {
        "normal: skip_connect": pytest.approx(math.log(2)),
        "normal: nor_conv_3x3 nor_conv_1x1 nor_conv_1x1": pytest.approx(math.log(2)),
    }
    assert path_features(space.decisions, (0, 0, 0, 0, 0, 0)) == {}


def test_paths_follow_the_inputs_that_blocks_point_at():
    space = ShuffleNASSpace(blocks=2, ops=("conv_1x1", "identity"))
    names = [decision.name for decision in space.decisions]
    row = [0] * len(names)
    row[names.index("normal.1.input")] = 1  # reads block 0
    row[names.index("normal.1.op")] = 1
    features = path_features(space.decisions, row)
    assert features["normal: conv_1x1 identity"] == pytest.approx(math.log(2))
    assert features["reduction: conv_1x1"] == pytest.approx(math.log(2))


def test_the_largest_come_first_and_each_once():
    space = NASBench201Space()
    order = [tuple(row) for row in LargestFirst(space.decisions)._by_size()]
    assert len(order) == len(set(order)) == 15_625
    sizes = [sum({3: 9, 2: 1}.get(op, 0) for op in row) for row in order]
    assert sizes == sorted(sizes, reverse=True)
    assert arch_string(space.decode(order[0])).count("nor_conv_3x3") == 6


def test_what_was_rewarded_elsewhere_is_not_proposed_by_the_largest_first():
    controller = LargestFirst(NASBench201Space().decisions)
    largest = controller.sample(3).actions
    controller.observe(largest[:2], torch.tensor([0.1, 0.2]))
    assert controller.sample(1).actions.tolist() == largest[2:].tolist()


def test_advantages_from_ranks_by_hand():
    baseline = RankBaseline(window=4, scale=2.0)
    assert baseline.advantage(torch.tensor([1.0, 3.0]).double()).tolist() == [-0.5, 0.5]
    # known: 1, 3, 2, 2; a reward of 2 beats one of four and equals two
    assert baseline.advantage(torch.tensor([2.0, 2.0]).double()).tolist() == [0.0, 0.0]
    # known: 3, 2, 2, 9: the oldest is forgotten
    assert baseline.advantage(torch.tensor([9.0]).double()).tolist() == [2 * (3.5 / 4 - 0.5)]
    assert baseline.value == [3.0, 2.0, 2.0, 9.0]
    assert baseline.level == 2.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LocalSearch(DECISIONS, starts=0), "starts must be at least 1"),
        (lambda: LocalSearch([Decision("cell", 0, "op", ("a",))]), "at least one decision with two choices"),
        (lambda: Bayesian(DECISIONS, initial=1), "initial must be at least 2"),
        (lambda: Bayesian(DECISIONS, candidates=0), "candidates must be at least 1"),
        (lambda: Bayesian(DECISIONS, parents=-1), "parents must be at least 0"),
        (lambda: RankBaseline(window=1, scale=1.0), "window must be at least 2"),
        (lambda: RankBaseline(window=9, scale=0.0), "scale must be above 0"),
        (lambda: Uniform(DECISIONS).sample(0), "at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
