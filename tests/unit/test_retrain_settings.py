import pytest

from nas.training.settings import RetrainSettings


@pytest.mark.parametrize(
    ("turns", "expected"),
    [(False, [(7, 8)] * 4), (True, [(0,), (1,), (2,), (0,)])],
)
def test_random_cells_take_their_own_seeds_or_turns_with_those_of_the_found_cell(turns, expected):
    settings = RetrainSettings(
        epochs=2, batch_size=4, lr_max=0.1, lr_min=0.0, seeds=(0, 1, 2), random_seeds=(7, 8), random_turns=turns
    )
    assert [tuple(settings.seeds_of_random(cell)) for cell in range(4)] == expected
