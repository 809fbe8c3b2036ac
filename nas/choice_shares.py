"""How often a controller chose what, so that one sees where a policy goes."""

from collections.abc import Sequence

import torch

from search_spaces.genotype import Decision


def choice_shares(decisions: Sequence[Decision], actions: torch.Tensor) -> dict[str, float]:
    """Returns how often each word of a vocabulary was chosen, as a share of the decisions of its kind.

    Args:
        decisions: T of them.
        actions: (N, T).

    Returns:
        Shares by `kind.choice`, such as `op.conv_1x1`, of every kind but inputs; those of a kind sum to 1.
    """
    shares: dict[str, float] = {}
    for kind in dict.fromkeys(decision.kind for decision in decisions if decision.kind != "input"):
        columns = [i for i, decision in enumerate(decisions) if decision.kind == kind]
        choices = decisions[columns[0]].choices
        counts = torch.bincount(actions[:, columns].flatten(), minlength=len(choices))
        shares |= {
            f"{kind}.{choice}": share for choice, share in zip(choices, (counts / counts.sum()).tolist(), strict=True)
        }
    return shares
