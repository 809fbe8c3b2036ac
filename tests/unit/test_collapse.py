"""Planted collapses are reported within two epochs, and healthy searches are left in peace."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from controllers.independent import IndependentPolicy
from controllers.reinforce import Reinforce
from controllers.uniform import Uniform
from nas.jobs.building.config import build
from nas.jobs.compare import controller_config
from nas.searching.diagnostics.settings import GuardSettings
from nas.searching.diagnostics.watch import Watch
from nas.searching.evaluators import accuracy_reward
from nas.searching.search import Search
from nas.searching.settings import QuerySettings
from nas.searching.table_lookup import TableEvaluator, open_table
from search_spaces.nasbench201 import SKIP, NASBench201Space, arch_string
from tests import learners

ROOT = Path(__file__).parents[2]
SPACE = NASBench201Space()
FILE = ROOT / "tests" / "data" / "nasbench201_cifar10.csv.gz"


@pytest.fixture(scope="module")
def evaluator():
    columns = {"key": "arch", "reward": "cifar10_valid_12"}
    return open_table(path=str(FILE), key_of=arch_string, reward_scale=0.01, **columns)[0]


class EveryProposal(TableEvaluator):
    """Is asked for every proposal, known or not, as shared weights are."""

    is_exact = False


def learner(*, lr: float = 1e-6, **settings) -> Reinforce:
    return learners.learner(SPACE.decisions, IndependentPolicy, optimizer={"lr": lr}, **settings)


def make(
    evaluator, controller, *, reward=accuracy_reward, queries=200, renew=None, seed=0, kind=EveryProposal, **guard
) -> Search[TableEvaluator]:
    return Search(
        settings=QuerySettings(queries=queries, guard=GuardSettings(**guard)),
        seed=seed,
        space=SPACE,
        controller=controller,
        evaluator=kind(lookup=evaluator, reward=reward),
        renew=renew,
    )


def run(search: Search[TableEvaluator], updates: int) -> list[tuple[int, str, str]]:
    for _ in range(updates):
        search.epoch()
    return [(finding.epoch, finding.kind, finding.action) for finding in search.watch.findings]


def finish(search: Search[TableEvaluator]) -> list[str]:
    while not search.finished:
        search.epoch()
    return [finding.kind for finding in search.watch.findings]


def force(controller: Reinforce, choice: int) -> None:
    """Makes one choice of every decision all but certain."""
    with torch.no_grad():
        for logits in controller.policy.logits:
            logits.zero_()[choice] = 12.0


def test_a_forced_policy_is_reported_too_where_no_cell_is_rewarded_twice(evaluator):
    search = make(evaluator, learner(), kind=TableEvaluator)
    assert run(search, 3) == []
    force(search.controller, 2)
    found = run(search, 2)
    assert {kind for _, kind, _ in found} & {"collapsed", "converged"}
    assert search.rows[-1]["own"] == 0


@pytest.mark.parametrize("event", [0, 5])
def test_a_policy_forced_to_one_choice_is_reported_within_two_epochs(evaluator, event):
    search = make(evaluator, learner())
    assert run(search, event) == []
    force(search.controller, 2)
    found = run(search, 2)
    assert found == [(event + 1, "collapsed", "warn")]
    assert "its entropy is 0 % of a uniform policy's" in search.watch.findings[0].message
    assert run(search, 6) == found  # said once


class Parrot(Uniform):
    """From some sample on says what it said before; it would claim to be open to everything."""

    def __init__(self, decisions, *, after: int) -> None:
        super().__init__(decisions)
        self.left, self.last = after, None

    def sample(self, num_samples, *, greedy=False):
        if self.left > 0:
            self.left -= 1
            self.last = super().sample(num_samples)
        return self.last

    def state_dict(self):
        return {"left": self.left}


def test_a_controller_that_returns_the_same_samples_is_reported_within_two_epochs(evaluator):
    search = make(evaluator, Parrot(SPACE.decisions, after=4))
    assert run(search, 4) == []
    assert run(search, 2) == [(5, "repeats", "warn")]
    assert "100 % of the last 10 samples had been seen before" in search.watch.findings[0].message


def test_ops_without_weights_that_are_rewarded_are_reported_though_the_reward_rises(evaluator):
    def skips(score, genotype) -> float:
        return sum(op == SKIP for block in genotype.normal.blocks for op in block.ops) / 6

    search = make(evaluator, learner(lr=0.3, baseline={"start": None}), reward=skips, queries=300)
    kinds = finish(search)
    assert "skip_ops" in kinds
    taken_over = next(row["epoch"] for row in search.watch.rows if row["weight_free"] > 0.85)
    reported = next(finding.epoch for finding in search.watch.findings if finding.kind == "skip_ops")
    assert taken_over <= reported <= taken_over + 2


@pytest.mark.parametrize("slope", [0.0, -0.001])
def test_a_reward_that_does_not_rise_is_reported_as_soon_as_it_is_due(evaluator, slope):
    rewards = iter(range(10_000))
    search = make(
        evaluator,
        learner(),
        reward=lambda score, genotype: 0.7 + slope * next(rewards),
        reward_samples=20,
        reward_after=40,
    )
    assert run(search, 7) == []
    assert run(search, 1) == [(7, "no_gain", "warn")]  # the eighth epoch completes 40 rewards
    assert "has not risen" in search.watch.findings[0].message


def test_a_reward_that_falls_below_its_start_later_on_is_reported(evaluator):
    rewards = iter([*[0.5] * 20, *[0.6] * 20, *[0.4] * 60])
    settings = {"reward_samples": 20, "reward_after": 40}
    search = make(evaluator, learner(), reward=lambda score, genotype: next(rewards), **settings)
    assert run(search, 15) == []
    assert run(search, 1) == [(15, "no_gain", "warn")]
    assert "has fallen: -0.1" in search.watch.findings[0].message


@pytest.mark.parametrize("seed", range(3))
def test_random_search_is_left_in_peace(evaluator, seed):
    """Its reward does not rise either, but what cannot learn has no such duty."""
    torch.manual_seed(seed)
    assert finish(make(evaluator, Uniform(SPACE.decisions), queries=600, seed=seed)) == []


def test_the_default_controller_converges_and_is_not_warned_of(evaluator):
    torch.manual_seed(0)
    config = controller_config("lstm", OmegaConf.create())
    search = make(evaluator, build(config, "controller", SPACE.decisions), queries=500, seed=2)
    assert finish(search) == ["converged"]
    assert search.watch.findings[0].epoch > 25
    assert search.watch.findings[0].action == "none"


def test_a_policy_that_is_sure_of_a_cell_hardly_better_than_the_first_has_collapsed(evaluator):
    search = make(evaluator, learner(), reward=lambda score, genotype: score.accuracy, queries=100)
    run(search, 10)
    force(search.controller, 0)  # nothing but `none`, the worst cell
    assert "collapsed" in {kind for _, kind, _ in run(search, 2)}
    assert "converged" not in {finding.kind for finding in search.watch.findings}


def test_a_policy_that_is_sure_of_a_good_cell_has_converged_unless_it_is_too_early(evaluator):
    good = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"

    def reward(score, genotype) -> float:
        return 0.9 if arch_string(genotype) == good else score.accuracy

    for updates, kind in ((10, "converged"), (2, "collapsed")):
        search = make(evaluator, learner(), reward=reward, queries=200, earliest=0.25)
        run(search, updates)
        force(search.controller, 3)
        assert [kind for _, kind, _ in run(search, 2)] == [kind]


def test_what_rewards_did_before_the_controller_learns_does_not_excuse_a_collapse():
    """Shared weights that warm up raise every reward, whatever the policy does."""

    def findings(first_epoch: int) -> list[str]:
        settings = GuardSettings(earliest=0.0)
        watch = Watch(SPACE, settings=settings, num_epochs=20, first_epoch=first_epoch)
        controller = learner()
        for epoch in range(20):
            force(controller, 1) if epoch == 10 else None
            torch.manual_seed(epoch)
            samples = controller.sample(10)
            rewards = torch.full((10,), 0.1 + 0.08 * min(epoch, 9) - 0.05 * (epoch >= 10))
            watch.note([samples], rewards, best=0.9)
            controller = watch.act(controller)
        return [finding.kind for finding in watch.findings]

    assert "converged" in findings(first_epoch=0)
    assert "collapsed" in findings(first_epoch=10)


def test_a_stopped_search_is_finished(evaluator):
    search = make(evaluator, learner(), action="stop")
    force(search.controller, 2)
    finish(search)
    assert len(search.rows) == 2
    assert search.watch.stopped


def renewed(number: int) -> Reinforce:
    torch.manual_seed(100 + number)
    return learner()


def collapsing(evaluator) -> Search[TableEvaluator]:
    search = make(evaluator, renewed(0), renew=renewed, action="restart", queries=100)
    force(search.controller, 2)
    return search


def test_a_restart_brings_a_fresh_controller_as_often_as_allowed(evaluator):
    search = collapsing(evaluator)
    first = search.controller
    found = run(search, 2)
    assert {action for _, _, action in found} == {"restart"}
    assert search.controller is not first
    assert search.controller.baseline.value == 0.0
    search.epoch()
    assert search.rows[-1]["entropy_share"] > 0.99
    force(search.controller, 1)
    assert {action for _, _, action in run(search, 4)[len(found) :]} == {"warn"}


def test_no_controller_is_made_anew_at_the_end_of_a_search(evaluator):
    search = make(evaluator, renewed(0), renew=renewed, action="restart", queries=100, earliest=0.25)
    run(search, 14)
    first = search.controller
    force(first, 2)
    assert {action for _, _, action in run(search, 2)} == {"warn"}  # 4 of 20 epochs are left
    assert search.controller is first


@pytest.mark.parametrize("stop", [1, 2, 5])
def test_a_search_goes_on_exactly_around_a_restart(evaluator, tmp_path, stop):
    whole = collapsing(evaluator)
    finish(whole)
    assert whole.watch.restarts == [1]
    first = collapsing(evaluator)
    run(first, stop)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = make(evaluator, renewed(7), renew=renewed, action="restart", queries=100)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    finish(second)
    assert second.rows == whole.rows
    assert second.watch.rows == whole.watch.rows
    assert second.watch.findings == whole.watch.findings


def test_a_restart_needs_a_way_to_make_a_controller(evaluator):
    with pytest.raises(ValueError, match="needs a way to make a fresh controller"):
        make(evaluator, learner(), action="restart")


def test_rewards_are_judged_after_twice_as_many_as_are_compared():
    assert GuardSettings(reward_samples=30, reward_after=60).reward_after == 60
    with pytest.raises(ValueError, match=r"reward_after .* reward_samples 50, got 99"):
        GuardSettings(reward_samples=50, reward_after=99)
