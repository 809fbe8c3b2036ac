"""The predictor of the finals: hand-counted features, a planted effect, and which cells enter the first rung."""

import pytest
import torch

from nas.jobs.finals import PREDICTED_TOGETHER, first_rung
from nas.searching.accuracy_predictor import cell_features, predicted_rewards
from search_spaces.genotype import Block, CellGenotype, Genotype
from search_spaces.shufflenas import ShuffleNASSpace

SPACE = ShuffleNASSpace(blocks=4)


def test_the_features_of_a_cell_by_hand():
    # node 1: conv of 0, node 2: identity of 1, node 3: pool of 2, node 4: pool of 0; loose: 3 and 4
    ops = ("conv_1x1", "identity", "max_pool_3x3", "max_pool_3x3")
    blocks = tuple(Block((source,), (op,)) for source, op in zip((0, 1, 2, 0), ops, strict=True))
    features = cell_features(Genotype("shufflenas", CellGenotype(blocks), None))
    assert features == {
        "normal.conv_1x1": 1,
        "normal.identity": 1,
        "normal.max_pool_3x3": 2,
        "normal longest": 2,
        "normal loose": 2,
        "normal channel_shuffle": 1,
    }


def entries(count: int, seed: int = 0) -> list[dict]:
    """Random cells whose shared score says nothing."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        [int(torch.randint(len(one.choices), (), generator=generator)) for one in SPACE.decisions] for _ in range(count)
    ]
    return [
        {"genotype": SPACE.decode(row).to_dict(), "reward": float(torch.rand((), generator=generator))} for row in drawn
    ]


def truth(entry: dict) -> float:
    return 0.4 - 0.02 * cell_features(Genotype.from_dict(entry["genotype"]))["normal longest"]


def test_a_planted_effect_is_predicted():
    trained, others = entries(30), entries(40, seed=1)
    trained = [{**entry, "stand_alone_reward": truth(entry)} for entry in trained]
    predicted = torch.tensor(predicted_rewards(trained, others))
    wanted = torch.tensor([truth(entry) for entry in others])
    assert torch.corrcoef(torch.stack([predicted, wanted]))[0, 1] > 0.9


def test_a_shared_score_that_says_all_is_followed_from_few_trainings():
    trained = [{**entry, "stand_alone_reward": 0.3 + 0.1 * entry["reward"]} for entry in entries(8)]
    others = entries(30, seed=1)
    predicted = torch.tensor(predicted_rewards(trained, others))
    assert torch.corrcoef(torch.stack([predicted, torch.tensor([one["reward"] for one in others])]))[0, 1] > 0.8


@pytest.mark.parametrize(("share", "sizes"), [(0.0, [18]), (0.5, [9, 4, 4, 1]), (0.99, [2, 4, 4, 4, 4])])
def test_a_rung_is_filled_with_what_is_predicted_best(share, sizes):
    candidates = entries(60)
    given = [dict(entry) for entry in candidates]
    entered = []
    for batch in first_rung(candidates, 18, share):
        if entered:
            left = [entry for entry in candidates if "label" not in entry or entry in batch]
            predictions = predicted_rewards(entered, left)
            worst = min(predictions[left.index(entry)] for entry in batch)
            assert sum(value > worst for value in predictions) < len(batch)
        for entry in batch:
            entry["stand_alone_reward"] = truth(entry)
        entered += batch
        assert len(batch) == sizes.pop(0)
    assert [entry["label"] for entry in entered] == [f"candidate-{number}" for number in range(18)]
    first = 18 - round(share * 18) if share < 0.9 else 2
    assert [entry["genotype"] for entry in entered[:first]] == [entry["genotype"] for entry in given[:first]]
    assert PREDICTED_TOGETHER == 4


def test_where_nothing_could_be_trained_the_shortlist_goes_on():
    candidates = entries(10)
    batches = []
    for batch in first_rung(candidates, 6, 0.5):
        batches.append(batch)
        for entry in batch:
            entry["diverged"] = "why"
    assert [len(batch) for batch in batches] == [3, 3]
    assert [entry for batch in batches for entry in batch] == candidates[:6]
