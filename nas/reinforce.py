"""REINFORCE on a policy over architectures (Williams 1992; ENAS, arXiv:1802.03268, §2.2)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from controllers.protocol import Samples
from search_spaces.genotype import Decision

ENTROPY_BONUSES = ("reward", "loss")


class Policy(Protocol):
    """A differentiable distribution over architectures."""

    def sample(self, num_samples: int, *, greedy: bool = False) -> Samples:
        """Draws architectures, without a gradient."""

    def evaluate(self, actions: Tensor) -> Samples:
        """Returns log-probability and entropy of actions (N, T), with gradients."""

    def parameters(self) -> Any:
        """Returns the weights to learn."""

    def state_dict(self) -> Any:
        """Returns the weights."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Restores the weights."""


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


class Reinforce:
    """A controller that improves a policy by REINFORCE with a moving-average baseline and Adam.

    As in ENAS's code the baseline takes in a reward before the advantage is formed, and starts at zero.

    Args:
        decisions: Of the search space, T of them.
        policy: Makes the policy to improve from the decisions.
        learning_rate: Of Adam (ENAS: 0.0035).
        adam_betas: ENAS's β₁ is 0.
        adam_epsilon: ENAS: 1e-3.
        entropy_weight: Weight of the entropy bonus, ≥ 0 (ENAS: 1e-4).
        entropy_bonus: `reward` adds the weighted entropy of the sample to its reward, as ENAS's code does; `loss`
            subtracts it from the loss, so that its own gradient counts.
        baseline_decay: In [0, 1) (ENAS: 0.99).
        baseline_start: First baseline; None takes the mean of the first rewards.
        max_grad_norm: Clips the gradient's norm; None leaves it.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        decisions: Sequence[Decision],
        *,
        policy: Callable[[Sequence[Decision]], Policy],
        learning_rate: float = 0.0035,
        adam_betas: tuple[float, float] = (0.0, 0.999),
        adam_epsilon: float = 1e-3,
        entropy_weight: float = 1e-4,
        entropy_bonus: str = "reward",
        baseline_decay: float = 0.99,
        baseline_start: float | None = 0.0,
        max_grad_norm: float | None = None,
    ) -> None:
        if learning_rate <= 0:
            raise ValueError(f"learning_rate must be above 0, got {learning_rate}")
        if entropy_weight < 0:
            raise ValueError(f"entropy_weight must be at least 0, got {entropy_weight}")
        if entropy_bonus not in ENTROPY_BONUSES:
            raise ValueError(f"entropy_bonus must be one of {', '.join(ENTROPY_BONUSES)}, got {entropy_bonus!r}")
        if not 0 <= baseline_decay < 1:
            raise ValueError(f"baseline_decay must lie in [0, 1), got {baseline_decay}")
        if max_grad_norm is not None and max_grad_norm <= 0:
            raise ValueError(f"max_grad_norm must be above 0, got {max_grad_norm}")
        self.policy = policy(decisions)
        self.learning_rate = learning_rate
        self.entropy_weight = entropy_weight
        self.entropy_bonus = entropy_bonus
        self.baseline_decay = baseline_decay
        self.baseline = baseline_start
        self.max_grad_norm = max_grad_norm
        self.optimizer = torch.optim.Adam(
            self.policy.parameters(),
            lr=learning_rate,
            betas=(float(adam_betas[0]), float(adam_betas[1])),
            eps=adam_epsilon,
        )

    def sample(self, num_samples: int, *, greedy: bool = False) -> Samples:
        """Draws from the policy."""
        return self.policy.sample(num_samples, greedy=greedy)

    def observe(self, actions: Tensor, rewards: Tensor) -> Mapping[str, float]:
        """Takes one step of Adam on the loss averaged over N architectures.

        Args:
            actions: (N, T).
            rewards: (N,).

        Returns:
            `baseline`, `policy_loss`, and `entropy` in nats, a sample's mean.
        """
        samples = self.policy.evaluate(actions)
        entropy = samples.entropy.detach().double()
        values = rewards.detach().cpu().double()
        if self.entropy_bonus == "reward":
            values = values + self.entropy_weight * entropy
        if self.baseline is None:
            self.baseline = values.mean().item()
        baselines = moving_average(self.baseline, values, decay=self.baseline_decay)
        self.baseline = baselines[-1].item()
        loss = reinforce_loss(samples.log_prob, (values - baselines).to(samples.log_prob.dtype))
        if self.entropy_bonus == "loss":
            loss = loss - self.entropy_weight * samples.entropy.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.optimizer.step()
        return {"baseline": self.baseline, "policy_loss": loss.item(), "entropy": entropy.mean().item()}

    def set_learning_rate_scale(self, scale: float) -> None:
        """Sets Adam's learning rate to `scale` times the configured one."""
        for group in self.optimizer.param_groups:
            group["lr"] = scale * self.learning_rate

    def state_dict(self) -> Mapping[str, Any]:
        """Returns policy, optimizer and baseline."""
        return {
            "policy": self.policy.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "baseline": self.baseline,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.policy.load_state_dict(state_dict["policy"])
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.baseline = state_dict["baseline"]
