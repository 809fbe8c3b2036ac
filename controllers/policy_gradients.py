"""The objectives of policy gradients, as losses: functions of log-probabilities and advantages."""

import math

import torch
from torch import Tensor

ANNEALINGS = ("linear", "cosine")


def reinforce_loss(log_prob: Tensor, advantage: Tensor) -> Tensor:
    """Returns the mean of −log π · A, whose gradient is the policy gradient with the sign of a loss.

    Args:
        log_prob: (N,), with gradients.
        advantage: (N,), reward minus baseline; no gradient flows into it.

    Raises:
        ValueError: If the shapes differ or are not (N,).
    """
    if log_prob.ndim != 1 or log_prob.shape != advantage.shape:
        raise ValueError(
            "log_prob and advantage must be of one shape (N,), "
            f"got {tuple(log_prob.shape)} and {tuple(advantage.shape)}"
        )
    return -(log_prob * advantage.detach()).mean()


def ppo_loss(log_prob: Tensor, sampled_log_prob: Tensor, advantage: Tensor, *, clip: float) -> Tensor:
    """Returns the mean of −min(r A, clip(r, 1 − ε, 1 + ε) A) with r = π / π_sampled (arXiv:1707.06347, eq. 7).

    An action is a whole architecture, so that the ratio is of joint probabilities and not one a decision. Where r has
    gone beyond the bound that A pushes it to, the gradient is zero; the way back is open.

    Args:
        log_prob: (N,), under the policy that learns, with gradients.
        sampled_log_prob: (N,), under the policy that sampled; no gradient flows into it.
        advantage: (N,), reward minus baseline; no gradient flows into it.
        clip: ε, above 0.

    Raises:
        ValueError: If the shapes differ or are not (N,).
    """
    if log_prob.ndim != 1 or not log_prob.shape == sampled_log_prob.shape == advantage.shape:
        raise ValueError(
            "log_prob, sampled_log_prob and advantage must be of one shape (N,), "
            f"got {tuple(log_prob.shape)}, {tuple(sampled_log_prob.shape)} and {tuple(advantage.shape)}"
        )
    ratio = (log_prob - sampled_log_prob.detach()).exp()
    advantage = advantage.detach()
    return -torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage).mean()


def clipped_share(log_prob: Tensor, sampled_log_prob: Tensor, advantage: Tensor, *, clip: float) -> float:
    """Returns the share of architectures whose gradient `ppo_loss` clips to zero; arguments as there."""
    ratio = (log_prob - sampled_log_prob).detach().exp()
    clipped = torch.where(advantage > 0, ratio > 1.0 + clip, ratio < 1.0 - clip) & (advantage != 0)
    return clipped.double().mean().item()


def moving_average(baseline: float, rewards: Tensor, *, decay: float) -> Tensor:
    """Follows b ← decay · b + (1 − decay) · R through rewards (N,), one after the other.

    Returns:
        (N,) float64, the baseline after each reward; the last is the one to keep.
    """
    baselines = []
    for reward in rewards.tolist():
        baseline = decay * baseline + (1.0 - decay) * reward
        baselines.append(baseline)
    return torch.tensor(baselines, dtype=torch.float64)


def annealed(start: float, end: float, *, progress: float, schedule: str) -> float:
    """Returns a weight on its way from `start` to `end`.

    Args:
        start: At progress 0.
        end: From progress 1 on.
        progress: At least 0.
        schedule: `linear`, or `cosine`: half a wave, slow at both ends.
    """
    if progress >= 1.0:
        return end
    share = progress if schedule == "linear" else 0.5 * (1.0 - math.cos(math.pi * progress))
    return start + share * (end - start)  # exactly `start` where the two are equal
