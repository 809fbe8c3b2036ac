"""How often a controller chose what, and how likely its policy makes it, so that one sees where a policy goes."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from search_spaces.genotype import Decision


def choice_shares(decisions: Sequence[Decision], actions: Tensor) -> dict[str, float]:
    """Returns how often each word of a vocabulary was chosen, as a share of the decisions of its kind.

    Args:
        decisions: T of them.
        actions: (N, T).

    Returns:
        Shares by `kind.choice`, such as `op.conv_1x1`, of every kind but inputs; those of a kind sum to 1.
    """
    shares: dict[str, float] = {}
    for kind, columns, choices in vocabularies(decisions):
        counts = torch.bincount(actions[:, columns].flatten(), minlength=len(choices))
        shares |= _by_choice(kind, choices, counts / counts.sum())
    return shares


def choice_probabilities(decisions: Sequence[Decision], probabilities: Tensor) -> dict[str, float]:
    """Returns how likely each word of a vocabulary is, averaged over the decisions of its kind.

    Args:
        decisions: T of them.
        probabilities: (T, K), of the choices of each decision.

    Returns:
        Probabilities by `kind.choice`, as `choice_shares` has them.
    """
    means: dict[str, float] = {}
    for kind, columns, choices in vocabularies(decisions):
        means |= _by_choice(kind, choices, probabilities[columns, : len(choices)].mean(dim=0))
    return means


def vocabularies(decisions: Sequence[Decision]) -> Iterator[tuple[str, list[int], tuple[str, ...]]]:
    """Gives every kind of decision but inputs, the numbers of its decisions, and the choices that they share."""
    for kind in dict.fromkeys(decision.kind for decision in decisions if decision.kind != "input"):
        columns = [number for number, decision in enumerate(decisions) if decision.kind == kind]
        yield kind, columns, decisions[columns[0]].choices


def _by_choice(kind: str, choices: Sequence[str], values: Tensor) -> dict[str, float]:
    return {f"{kind}.{choice}": value for choice, value in zip(choices, values.tolist(), strict=True)}
