"""Choosing in which order every tensor's channels lie, so that what is read together lies together.

In the networks that keep half of their channels out of a layer, what a layer reads was written by several earlier ones.
A channel has a name here, a number that says when it was written and nothing about where it lies.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, groupby
from typing import NamedTuple

from torch import nn

from nas.models.inference.channel_orders import freedom

LOOKAHEAD = 32  # numbers of a key, two a layer; where more agree, the order is of no importance


@dataclass(frozen=True)
class Layer:
    """Modules that read the same channels; every channel of the network is written once and read by one layer.

    Attributes:
        modules: At least one.
        reads: Names of the channels they read, in the order for which they were trained.
        writes: Names of the channels that each of them writes.
    """

    modules: Sequence[nn.Module]
    reads: list[int]
    writes: list[list[int]]


class Piece(NamedTuple):
    """Channels `start` … `start + length - 1` of the tensor of that number, tensors being numbered as written."""

    tensor: int
    start: int
    length: int


class Placement(NamedTuple):
    """Where a layer's channels lie.

    Attributes:
        pieces: What the layer reads, to be joined.
        reads: Names of the channels in this order.
        writes: Names of the channels that each module writes, in the order in which it is to write them.
    """

    pieces: list[Piece]
    reads: list[int]
    writes: list[list[int]]


Place = tuple[int, int]
"""The tensor that a channel lies in, and its position there."""
Key = tuple[int, ...]


def place(layers: Sequence[Layer]) -> list[Placement]:
    """Chooses the orders of a network's channels, as each module allows them, so that layers read few pieces.

    A tensor is sorted by the layer that reads a channel next; if that one must write in the order in which it reads,
    then by the next after it, and so on, in Gray's order, in which neighbours differ in little.
    """
    keys = _keys(layers)
    places: dict[int, Place] = {}
    placements, tensors = [], count()
    for layer in layers:
        reads = _arranged(layer.reads, _labels(layer), places, keys)
        placement = Placement(_pieces([places[name] for name in reads]), reads, [])
        number = {name: i for i, name in enumerate(layer.reads)}
        for module, written in zip(layer.modules, layer.writes, strict=True):
            free = freedom(module)
            labelled = zip(written, free.leaving.labels(len(written)), strict=True)
            names = (
                [written[number[name]] for name in reads]
                if free.tied
                else _gray_sorted(written, {name: (label, *keys[name]) for name, label in labelled})
            )
            placement.writes.append(names)
            tensor = next(tensors)
            places.update({name: (tensor, position) for position, name in enumerate(names)})
        placements.append(placement)
    return placements


def _labels(layer: Layer) -> list[int]:
    """Returns a label for every channel that a layer reads: those of the lowest must come first, and so on."""
    return max(freedom(module).entering for module in layer.modules).labels(len(layer.reads))


def _keys(layers: Sequence[Layer]) -> dict[int, Key]:
    """Returns by what a channel is sorted: the layer that reads it and its label there, and so on while orders tie."""
    keys: dict[int, Key] = {}
    for number, layer in reversed(list(enumerate(layers))):
        tied = [written for module, written in zip(layer.modules, layer.writes, strict=True) if freedom(module).tied]
        for i, (name, label) in enumerate(zip(layer.reads, _labels(layer), strict=True)):
            then = keys[tied[0][i]] if tied else ()
            keys[name] = (number, label, *then)[:LOOKAHEAD]
    return keys


def _gray_sorted(names: list[int], keys: Mapping[int, Key]) -> list[int]:
    """Sorts by keys; every other group of equal beginnings is reversed, so that neighbours agree in what follows."""
    if len({keys[name] for name in names}) < 2:
        return names
    depth = next(
        i for i, column in enumerate(zip(*(keys[name] for name in names), strict=False)) if len(set(column)) > 1
    )
    groups: dict[int, list[int]] = defaultdict(list)
    for name in names:
        groups[keys[name][depth]].append(name)
    ordered = [_gray_sorted(groups[number], keys) for number in sorted(groups)]
    return list(chain.from_iterable(reversed(group) if i % 2 else group for i, group in enumerate(ordered)))


def _arranged(names: list[int], labels: list[int], places: Mapping[int, Place], keys: Mapping[int, Key]) -> list[int]:
    """Returns what a layer reads in ascending order of labels, and within a label as runs that lie together.

    The next run is one whose beginning will be read together with the end of the one before, if there is any.
    """
    runs: dict[int, list[list[int]]] = defaultdict(list)  # by label
    before = None
    for label, at, name in sorted((label, places[name], name) for name, label in zip(names, labels, strict=True)):
        if before != (label, at[0], at[1] - 1):
            runs[label].append([])
        runs[label][-1].append(name)
        before = (label, *at)
    arranged: list[int] = []
    for waiting in runs.values():
        while waiting:
            fits = (i for i, run in enumerate(waiting) if arranged and keys[run[0]][2:] == keys[arranged[-1]][2:])
            arranged += waiting.pop(next(fits, 0))
    return arranged


def _pieces(places: Sequence[Place]) -> list[Piece]:
    runs = groupby(enumerate(places), key=lambda numbered: (numbered[1][0], numbered[1][1] - numbered[0]))
    several = [[place for _, place in run] for _, run in runs]
    return [Piece(*run[0], len(run)) for run in several]
