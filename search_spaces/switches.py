"""Switch networks: any permutation of n ≥ 1 positions as few layers of switches, each on two positions.

A switch lets its pair pass (setting 1) or swaps it (setting 0); a soft one of setting p is [[p, 1 − p], [1 − p, p]]. So
the matrix of a network is doubly stochastic whatever its settings, and a permutation as soon as they are 0 or 1.

The network is that of Benes for any n (Beauquier & Darrot 2002, "On arbitrary size Waksman networks and their
vulnerability"): a layer of switches on (i, i + ⌊n/2⌋), two networks of ⌊n/2⌋ and ⌈n/2⌉ positions, and the first layer
again. It has 2⌈log₂ n⌉ − 1 layers. We keep the switch that theirs saves in every network of even size: for n a power of
2, a layer is then a butterfly factor.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor

Layer = list[tuple[tuple[int, int], bool]]
"""The switches of a layer: the two positions, the lower one first, and whether they pass."""


@dataclass(frozen=True, slots=True)
class SwitchTables:
    """A switch network in the form in which it is applied.

    Attributes:
        partner: (D, n), by layer the position that each position is paired with, itself if it is in no pair.
        switch: (D, n), by layer the number of each position's switch, `num_switches` if it is in no pair.
        num_switches: S, over all layers; numbered layer by layer.
    """

    partner: Tensor
    switch: Tensor
    num_switches: int


def switch_layers(n: int) -> tuple[Tensor, ...]:
    """Returns the layers of the network on n positions, first applied first.

    They are max(0, 2⌈log₂ n⌉ − 1) tensors (pairs, 2) of disjoint pairs of positions, the lower position first.

    Raises:
        ValueError: If n is below 1.
    """
    if n < 1:
        raise ValueError(f"a switch network needs at least 1 position, got {n}")
    return tuple(torch.tensor([pair for pair, _ in layer]) for layer in _routed(range(n)))


def by_layer(settings: Tensor, n: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Returns the layers of the network on n positions, each with its own of the settings (S,)."""
    layers = switch_layers(n)
    return zip(layers, torch.split(settings, [len(layer) for layer in layers]), strict=True)


def switch_tables(n: int) -> SwitchTables:
    """Returns the network on n positions as tables.

    Raises:
        ValueError: If n is below 1.
    """
    layers = switch_layers(n)
    num_switches = sum(len(layer) for layer in layers)
    partner = torch.arange(n).repeat(len(layers), 1)
    switch = torch.full((len(layers), n), num_switches)
    for number, (layer, own) in enumerate(by_layer(torch.arange(num_switches), n)):
        partner[number, layer] = layer.flip(1)
        switch[number, layer] = own[:, None]
    return SwitchTables(partner=partner, switch=switch, num_switches=num_switches)


def switch_matrix(settings: Tensor, tables: SwitchTables) -> Tensor:
    """Returns the doubly stochastic matrix (n, n) of soft switches; it acts on columns.

    Args:
        settings: (S,), in [0, 1]: 1 lets the pair of a switch pass, 0 swaps it.
        tables: The network on n positions, on the device of the settings.

    Raises:
        ValueError: If the number of settings is not that of the network's switches.
    """
    if settings.shape != (tables.num_switches,):
        raise ValueError(f"the network has {tables.num_switches} switches, got {settings.numel()} settings")
    straight = torch.cat([settings, settings.new_ones(1)])[tables.switch]  # (D, n); 1 where no switch is
    x = torch.eye(tables.partner.shape[1], dtype=settings.dtype, device=settings.device)
    for p, partner in zip(straight, tables.partner, strict=True):
        x = torch.lerp(x.index_select(0, partner), x, p[:, None])  # exact at p = 0 and p = 1
    return x


def switch_permutation(settings: Tensor, n: int) -> Tensor:
    """Returns the permutation (n,) of hard switches: output i is input `index[i]`.

    Args:
        settings: (S,), bool: True lets the pair of a switch pass, False swaps it.
        n: The number of positions.
    """
    index = torch.arange(n, device=settings.device)
    for layer, passes in by_layer(settings, n):
        swapped = layer.to(settings.device)[~passes]  # (swapped pairs, 2)
        index[swapped] = index[swapped.flip(1)]
    return index


def route(index: Tensor) -> Tensor:
    """Returns settings (S,), True to pass, that apply a permutation, found by the looping algorithm in O(n log n).

    Args:
        index: (n,): output i shall be input `index[i]`.

    Raises:
        ValueError: If `index` is not a permutation.
    """
    sources: list[int] = index.tolist()
    if not sources or sorted(sources) != list(range(len(sources))):
        raise ValueError(f"expected a permutation of 0 … {len(sources) - 1}, got {sources}")
    return torch.tensor([passes for layer in _routed(sources) for _, passes in layer], dtype=torch.bool)


def _routed(sources: Sequence[int], first: int = 0) -> list[Layer]:
    """Returns the network that applies a permutation, by layer.

    Args:
        sources: For each output its input, both counted within the network.
        first: The position at which the network begins.
    """
    n = len(sources)
    if n == 1:
        return []
    half = n // 2
    pairs = [(first + i, first + i + half) for i in range(half)]
    if n == 2:
        return [[(pairs[0], sources[0] == 0)]]
    lower = _color(sources)
    sent_lower = dict(zip(sources, lower, strict=True))
    inner = [0] * half, [0] * (n - half)
    for output, source in enumerate(sources):
        place, came_from = (value - half if value >= half else value for value in (output, source))
        inner[lower[output]][place] = came_from
    upper_layers, lower_layers = _routed(inner[0], first), _routed(inner[1], first + half)
    # The upper network may be the shallower, and then sits in the middle.
    margin: list[Layer] = [[] for _ in range((len(lower_layers) - len(upper_layers)) // 2)]
    no_switches: Layer = []
    inner_layers = zip_longest([*margin, *upper_layers], lower_layers, fillvalue=no_switches)
    inputs = [(pair, not sent_lower[i]) for i, pair in enumerate(pairs)]
    outputs = [(pair, not lower[i]) for i, pair in enumerate(pairs)]
    return [inputs, *(above + below for above, below in inner_layers), outputs]


def _color(sources: Sequence[int]) -> list[bool]:
    """Says for each output whether its value takes the lower inner network.

    The two outputs of a switch take different networks, and so do the two inputs of one. Following these constraints
    from output to input and back, all outputs fall into loops, which can be coloured one by one, and for odd n one path
    from the last output to the last input, both without a switch and wired to the lower network.
    """
    n = len(sources)
    half = n // 2
    reader = {source: output for output, source in enumerate(sources)}
    lower: dict[int, bool] = {}
    for start in range(n - 1, -1, -1):
        output = start
        while output not in lower:
            lower[output] = True
            source = sources[output]
            if source == 2 * half:  # the last of an odd number has no partner: the path ends
                break
            rival = reader[(source + half) % (2 * half)]
            lower[rival] = False
            output = (rival + half) % (2 * half)
    return [lower[output] for output in range(n)]
