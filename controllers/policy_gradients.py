"""The parts of a policy gradient: objective, baseline, entropy bonus and optimizer, each with its own constants."""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class ReinforceObjective:
    """The objective of REINFORCE (Williams 1992), log π · A, for one step on the rewards."""

    epochs: ClassVar[int] = 1

    def loss(self, log_prob: Tensor, sampled_log_prob: Tensor, advantage: Tensor) -> Tensor:
        """Returns the mean of −log π · A, whose gradient is the policy gradient with the sign of a loss.

        Args:
            log_prob: (N,), under the policy that learns, with gradients.
            sampled_log_prob: (N,), under the policy that sampled; not used.
            advantage: (N,), reward minus baseline; no gradient flows into it.

        Raises:
            ValueError: If the shapes differ or are not (N,).
        """
        _check_shapes(log_prob, sampled_log_prob, advantage)
        return -(log_prob * advantage.detach()).mean()

    def figures(self, *_: Tensor) -> Mapping[str, float]:
        """Returns what is worth logging: nothing."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClippedObjective:
    """The clipped objective of PPO (Schulman et al. 2017, arXiv:1707.06347, eq. 7), for steps on the same rewards.

    An action is a whole architecture, so that the ratio r = π / π_sampled is of joint probabilities and not one a
    decision. Where r has gone beyond the bound that A pushes it to, the gradient is zero; the way back is open.

    Attributes:
        clip: ε, above 0 (Schulman et al.: 0.2).
        epochs: Steps on the same rewards, at least 1.

    Raises:
        ValueError: If one is out of range.
    """

    clip: float
    epochs: int

    def __post_init__(self) -> None:
        if self.clip <= 0:
            raise ValueError(f"clip must be above 0, got {self.clip}")
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {self.epochs}")

    def loss(self, log_prob: Tensor, sampled_log_prob: Tensor, advantage: Tensor) -> Tensor:
        """Returns the mean of −min(r A, clip(r, 1 − ε, 1 + ε) A); arguments and errors as of `ReinforceObjective`."""
        _check_shapes(log_prob, sampled_log_prob, advantage)
        ratio = (log_prob - sampled_log_prob.detach()).exp()
        advantage = advantage.detach()
        return -torch.minimum(ratio * advantage, ratio.clamp(1.0 - self.clip, 1.0 + self.clip) * advantage).mean()

    def figures(self, log_prob: Tensor, sampled_log_prob: Tensor, advantage: Tensor) -> Mapping[str, float]:
        """Returns `clipped`, the share of architectures whose gradient is clipped to zero; arguments as of `loss`."""
        ratio = (log_prob - sampled_log_prob).detach().exp()
        clipped = torch.where(advantage > 0, ratio > 1.0 + self.clip, ratio < 1.0 - self.clip) & (advantage != 0)
        return {"clipped": clipped.double().mean().item()}


def _check_shapes(*tensors: Tensor) -> None:
    shapes = [tuple(one.shape) for one in tensors]
    if len(shapes[0]) != 1 or len(set(shapes)) != 1:
        named = ", ".join(map(str, shapes))
        raise ValueError(f"log_prob, sampled_log_prob and advantage must be of one shape (N,), got {named}")


@dataclass(kw_only=True)
class MovingAverageBaseline:
    """A moving average of rewards, b ← decay · b + (1 − decay) · R, that advantages are measured from.

    Attributes:
        decay: In [0, 1) (ENAS: 0.99).
        start: First average (ENAS: 0); None takes the mean of the first rewards.
        value: The average now.

    Raises:
        ValueError: If the decay is out of range.
    """

    decay: float
    start: float | None
    value: float | None = field(init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {self.decay}")
        self.value = self.start

    @property
    def level(self) -> float:
        """The average now; NaN before the first reward."""
        return math.nan if self.value is None else self.value

    def advantage(self, rewards: Tensor) -> Tensor:
        """Takes in rewards (N,) float64 one after the other; returns each one's excess over the average then, (N,).

        As in ENAS's code the average takes in a reward before the advantage is formed.
        """
        value = rewards.mean().item() if self.value is None else self.value
        averages = []
        for reward in rewards.tolist():
            value = self.decay * value + (1.0 - self.decay) * reward
            averages.append(value)
        self.value = value
        return rewards - torch.tensor(averages, dtype=torch.float64)


@dataclass(kw_only=True)
class RankBaseline:
    """Advantages from ranks: how many of the last rewards an architecture beats, wherever rewards lie and are dense.

    The share of the last W rewards, the new ones among them, that a reward beats (equals count half), minus a half,
    times `scale`. Small differences among good architectures count as much as large ones among poor ones.

    Attributes:
        window: W, at least 2.
        scale: Difference of the advantages of best and worst, above 0.
        value: The last W rewards.

    Raises:
        ValueError: If one is out of range.
    """

    window: int
    scale: float
    value: list[float] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.window < 2:
            raise ValueError(f"window must be at least 2, got {self.window}")
        if self.scale <= 0:
            raise ValueError(f"scale must be above 0, got {self.scale}")

    @property
    def level(self) -> float:
        """The median of the last rewards."""
        return statistics.median(self.value)

    def advantage(self, rewards: Tensor) -> Tensor:
        """Takes in rewards (N,) float64; returns their advantages, (N,)."""
        self.value = [*self.value, *rewards.tolist()][-self.window :]
        known = torch.tensor(self.value, dtype=torch.float64)
        below = (known[None] < rewards[:, None]).double().mean(dim=1)
        equal = (known[None] == rewards[:, None]).double().mean(dim=1)
        return self.scale * (below + 0.5 * equal - 0.5)


@dataclass(slots=True, kw_only=True)
class EntropyBonus:
    """A bonus for the policy's entropy, which keeps it from settling early; its weight may change over the updates.

    With a target the weight grows while the entropy is below it and shrinks while it is above (Haarnoja et al. 2018,
    arXiv:1812.05905, §5; there the weight's logarithm moves), so that the policy neither settles nor stays uniform.

    Attributes:
        weight: Weight at the first update, ≥ 0 (ENAS: 1e-4).
        part_of: `reward` adds the weighted entropy of a sample to its reward, as ENAS's code does; `loss` subtracts it
            from the loss, so that its own gradient counts.
        weight_end: What the weight becomes, ≥ 0; None leaves it as it is.
        schedule: How it gets there, `linear`, or `cosine`: half a wave, slow at both ends.
        updates: Updates that this takes, at least 1.
        target: Entropy to keep, as a share of the uniform distribution's, in (0, 1); needs `part_of` loss and no
            `weight_end`. None: the weight does not depend on the entropy.
        rate: How far the weight moves in an update, for each nat between the entropy and its target, above 0.
        value: The weight that the target has led to.

    Raises:
        ValueError: If one is out of range.
    """

    weight: float
    part_of: str
    weight_end: float | None
    schedule: str
    updates: int
    target: float | None = None
    rate: float = 0.02
    value: float = field(init=False)

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight must be at least 0, got {self.weight}")
        if self.part_of not in ("reward", "loss"):
            raise ValueError(f"part_of must be one of reward, loss, got {self.part_of!r}")
        if self.weight_end is not None and self.weight_end < 0:
            raise ValueError(f"weight_end must be at least 0, got {self.weight_end}")
        if self.schedule not in ("linear", "cosine"):
            raise ValueError(f"schedule must be one of linear, cosine, got {self.schedule!r}")
        if self.updates < 1:
            raise ValueError(f"updates must be at least 1, got {self.updates}")
        if self.target is not None and not 0 < self.target < 1:
            raise ValueError(f"target must lie in (0, 1), got {self.target}")
        if self.target is not None and (self.part_of != "loss" or self.weight_end is not None):
            raise ValueError("a target needs part_of=loss and weight_end=null")
        if self.rate <= 0:
            raise ValueError(f"rate must be above 0, got {self.rate}")
        self.value = self.weight

    def weight_at(self, update: int) -> float:
        """Returns the weight in an update, counted from 0."""
        if self.target is not None:
            return self.value
        end = self.weight if self.weight_end is None else self.weight_end
        if update >= self.updates:
            return end
        progress = update / self.updates
        share = progress if self.schedule == "linear" else 0.5 * (1.0 - math.cos(math.pi * progress))
        return self.weight + share * (end - self.weight)  # exactly `weight` where the two are equal

    def rewards(self, rewards: Tensor, entropy: Tensor, *, update: int) -> Tensor:
        """Returns rewards (N,), with the bonus for the entropy (N,) of their samples if it is part of them."""
        return rewards + self.weight_at(update) * entropy if self.part_of == "reward" else rewards

    def loss(self, loss: Tensor, entropy: Tensor, *, update: int, uniform: float) -> Tensor:
        """Returns a loss, less the bonus for the mean of the entropy (N,) if it is part of it.

        Args:
            loss: A scalar.
            entropy: (N,), of the samples, with gradients.
            update: Number of the update, from 0.
            uniform: Entropy of the uniform distribution, in nats, which the target is a share of.
        """
        if self.target is not None:
            self.value = max(0.0, self.value + self.rate * (self.target * uniform - entropy.mean().item()))
        return loss - self.weight_at(update) * entropy.mean() if self.part_of == "loss" else loss

    def figures(self, *, update: int) -> Mapping[str, float]:
        """Returns what is worth logging: `entropy_weight`, if it changes."""
        changes = self.target is not None or self.weight_end not in (None, self.weight)
        return {"entropy_weight": self.weight_at(update)} if changes else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980) with its constants; called with parameters, it makes the optimizer.

    Attributes:
        lr: Learning rate, above 0 (ENAS: 0.0035).
        betas: Decay of the means of gradients and of their squares, in [0, 1) (ENAS: 0 and 0.999).
        eps: Added to the divisor, above 0 (ENAS: 1e-3).

    Raises:
        ValueError: If one is out of range.
    """

    lr: float
    betas: tuple[float, float]
    eps: float

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"lr must be above 0, got {self.lr}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), got {self.betas}")
        if self.eps <= 0:
            raise ValueError(f"eps must be above 0, got {self.eps}")

    def __call__(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Adam:
        """Returns the optimizer of parameters."""
        first, second = self.betas
        return torch.optim.Adam(parameters, lr=self.lr, betas=(float(first), float(second)), eps=self.eps)
