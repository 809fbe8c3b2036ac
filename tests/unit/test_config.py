import re
from fractions import Fraction
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from nas.jobs.building.config import build, plain
from nas.runs.configs import check_resumable, differing_keys


def node(target: str, **keys):
    return OmegaConf.create({"_target_": target, **keys})


COMPARISON = "nas.studies.controller_comparison.settings.ComparisonSettings"
FRONT = "nas.studies.controller_comparison.settings.FrontSettings"
GUARD = "nas.searching.diagnostics.settings.GuardSettings"
SEARCH = "nas.searching.settings.SearchSettings"
SPACE = "search_spaces.shufflenas.ShuffleNASSpace"
ADAM = "controllers.policy_gradients.Adam"


def test_build_calls_the_target_with_its_keys():
    assert build(node(SPACE, blocks=3), "search_space").blocks == 3


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"blocks": 0}, "search_space.blocks must lie in 1 … 64, got 0"),
        ({"blocks": "abc"}, "search_space.blocks must .*integer, got 'abc'"),
        ({"blocks": 2.5}, "search_space.blocks must .*integer, got 2.5"),
        ({"blocks": True}, "search_space.blocks must .*integer, got True"),
        ({"ops": "conv_1x1"}, "search_space.ops must .*, got 'conv_1x1'"),
        ({"ops": [1]}, "search_space.ops must .*string, got 1"),
        ({"depth": 3}, "search_space.depth is unknown; .* takes blocks, ops, mixers, output"),
        ({"blocks": "???"}, "search_space.blocks is not set|blocks is not set"),
        ({"blocks": "${nowhere}"}, "search_space: "),
    ],
)
def test_mistakes_name_key_and_rule(keys, message):
    with pytest.raises(ValueError, match=message):
        build(node(SPACE, **keys), "search_space")


def test_targets_in_lists_and_in_other_dicts_are_built_too():
    part = {"_target_": "fractions.Fraction", "numerator": 1, "denominator": 3}
    made = build(node("types.SimpleNamespace", parts=[part, 2], by_name={"one": part}), "x")
    assert made == SimpleNamespace(parts=[Fraction(1, 3), 2], by_name={"one": Fraction(1, 3)})


def test_a_node_without_a_target_and_an_error_without_a_text_are_answered():
    with pytest.raises(ValueError, match=r"^x has no _target_ to build"):
        build(node(None), "x")
    with pytest.raises(ValueError, match=r"^x: does not fit into memory: MemoryError"):
        build(node(f"{__name__}.out_of_memory"), "x")


def out_of_memory():
    raise MemoryError


def test_nested_targets_are_checked_too():
    policy = {"_target_": "controllers.lstm.LSTMPolicy", "_partial_": True, "hidden_size": "big"}
    with pytest.raises(ValueError, match=r"controller\.policy\.hidden_size must .*integer, got 'big'"):
        build(node("controllers.reinforce.Reinforce", policy=policy), "controller", [])


@pytest.mark.parametrize("where", ["controller", "controller.lstm"])
def test_an_old_key_of_a_controller_is_answered_with_the_new_one(where):
    with pytest.raises(ValueError, match=rf"{where}\.elite_size is unknown; did you mean {where}\.elites\.size\?"):
        build(node("controllers.reinforce.Reinforce", elite_size=3), where, [])


def test_a_value_that_a_nested_target_refuses_is_named_by_its_whole_key():
    average = {"_target_": "controllers.policy_gradients.MovingAverageBaseline", "decay": 1.0, "start": None}
    with pytest.raises(ValueError, match=r"^controller\.baseline\.decay must lie in \[0, 1\), got 1\.0"):
        build(node("controllers.reinforce.Reinforce", baseline=average), "controller", [])


@pytest.mark.parametrize(
    ("target", "keys", "key"),
    [
        (SEARCH, {"guard": None}, "x.guard "),
        (SEARCH, {"guard": "stop"}, "x.guard "),
        (SEARCH, {"guard": {"_target_": GUARD, "entropy": 2.0}}, "x.guard.entropy "),
        (SEARCH, {"guard": {"_target_": GUARD, "entrpy": 0.1}}, "x.guard.entrpy is unknown; did you mean entropy"),
        (SEARCH, {"epoch": 1}, "x.epoch is unknown; did you mean epochs"),
        (COMPARISON, {"published": None}, "x.published "),
        (COMPARISON, {"published": {"uniform": [94.0, None]}}, "x.published"),
        (COMPARISON, {"samples_per_update": 5}, "x.samples_per_update "),
        (FRONT, {}, "x.reward "),
        (ADAM, {"betas": [0.9]}, "x.betas"),
        (ADAM, {"betas": [0.9, 0.99, 0.5]}, "x.betas"),
        ("controllers.reinforce.Reinforce", {"decisions": [], "objective": None}, "x.objective "),
    ],
)
def test_groups_mappings_and_pairs_are_checked_too(target, keys, key):
    with pytest.raises(ValueError, match=f"^{re.escape(key)}"):
        build(node(target, **keys), "x")


def test_a_target_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"reward: cannot import 'nowhere\.Reward'"):
        build(node("nowhere.Reward"), "reward")
    with pytest.raises(ValueError, match="no _target_"):
        build(OmegaConf.create({"a": 1}), "reward")


def test_optional_numbers_take_null():
    assert build(node(SEARCH, max_grad_norm=None), "search").max_grad_norm is None


def test_arguments_beside_the_node_reach_settings_too():
    assert build(node("nas.compute.settings.RuntimeSettings", threads=1), "runtime", threads=2).threads == 2


def test_differences_are_named_and_free_keys_left_out():
    old = {"name": "a", "seed": 0, "search": {"epochs": 3, "bn": "batch"}, "logger": {"mode": "x"}}
    new = {"name": "b", "seed": 0, "search": {"epochs": 4, "more": 1}, "logger": {"mode": "y"}}
    assert differing_keys(old, new) == [
        "search.epochs (was 3, is 4)",
        "search.bn (was batch, is absent)",
        "search.more (was absent, is 1)",
    ]


def test_a_run_is_not_resumed_with_another_config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("seed: 0\nsearch: {epochs: 3}\n")
    check_resumable(path, {"seed": 0, "search": {"epochs": 3}})
    with pytest.raises(ValueError, match=r"search\.epochs \(was 3, is 5\)"):
        check_resumable(path, {"seed": 0, "search": {"epochs": 5}})


def test_plain_refuses_what_is_no_group():
    with pytest.raises(ValueError, match="must be a group of keys"):
        plain(OmegaConf.create([1]), "search")
