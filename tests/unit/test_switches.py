from itertools import permutations, product

import pytest
import torch

from search_spaces.switches import (
    route,
    switch_layers,
    switch_matrix,
    switch_permutation,
    switch_tables,
)


def num_switches(n):
    return sum(len(layer) for layer in switch_layers(n))


def test_two_channels_have_one_switch_and_one_channel_none():
    assert [layer.tolist() for layer in switch_layers(2)] == [[[0, 1]]]
    assert switch_layers(1) == ()


def test_three_channels_have_three_layers_of_one_switch():
    assert [layer.tolist() for layer in switch_layers(3)] == [[[0, 1]], [[1, 2]], [[0, 1]]]


@pytest.mark.parametrize(("n", "expected"), [(4, 6), (8, 20), (16, 56), (1024, 512 * 19)])
def test_powers_of_two_have_the_switches_of_a_benes_network(n, expected):
    assert num_switches(n) == expected


def test_pairs_of_a_layer_are_disjoint_and_the_depth_is_that_of_the_paper():
    for n in range(1, 130):
        layers = switch_layers(n)
        assert len(layers) == max(0, 2 * (n - 1).bit_length() - 1)
        for layer in layers:
            assert layer.min() >= 0
            assert layer.max() < n
            assert len(layer.unique()) == layer.numel() > 0


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_all_settings_give_permutations_and_reach_every_one(n):
    reached = set()
    for setting in product([False, True], repeat=num_switches(n)):
        index = tuple(switch_permutation(torch.tensor(setting, dtype=torch.bool), n).tolist())
        assert sorted(index) == list(range(n))
        reached.add(index)
    assert reached == set(permutations(range(n)))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_routing_finds_every_permutation(n):
    for index in permutations(range(n)):
        assert switch_permutation(route(torch.tensor(index)), n).tolist() == list(index)


def test_routing_refuses_what_is_no_permutation():
    with pytest.raises(ValueError, match=r"expected a permutation of 0 … 2, got \[0, 0, 1\]"):
        route(torch.tensor([0, 0, 1]))


def test_a_network_needs_a_channel():
    with pytest.raises(ValueError, match="at least 1 position, got 0"):
        switch_layers(0)


def test_the_number_of_settings_must_fit():
    with pytest.raises(ValueError, match="6 switches, got 5"):
        switch_matrix(torch.ones(5), switch_tables(4))


def test_a_soft_switch_mixes_its_pair():
    assert switch_matrix(torch.tensor([0.75]), switch_tables(2)).tolist() == [[0.75, 0.25], [0.25, 0.75]]


def test_the_soft_matrix_is_the_product_of_its_layers_written_out():
    p = torch.tensor([0.9, 0.6, 0.2], dtype=torch.float64)
    first = torch.tensor([[0.9, 0.1, 0], [0.1, 0.9, 0], [0, 0, 1]], dtype=torch.float64)
    second = torch.tensor([[1, 0, 0], [0, 0.6, 0.4], [0, 0.4, 0.6]], dtype=torch.float64)
    third = torch.tensor([[0.2, 0.8, 0], [0.8, 0.2, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(switch_matrix(p, switch_tables(3)), third @ second @ first, rtol=0, atol=1e-15)


def test_gradients_of_the_settings_agree_with_finite_differences():
    p = torch.rand(num_switches(6), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: switch_matrix(p, switch_tables(6)), p)
