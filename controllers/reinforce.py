"""Policy gradients on a policy over architectures.

REINFORCE (Williams 1992; ENAS, arXiv:1802.03268, §2.2), and the clipped objective of PPO (Schulman et al. 2017,
arXiv:1707.06347) for taking several steps on the same rewards. Either may be joined by priority queue training
(Abolafia et al. 2018, arXiv:1801.03526), which keeps raising the likelihood of the best architectures met.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from controllers.best_architectures import Elites
from controllers.policy_gradients import ANNEALINGS, annealed, clipped_share, moving_average, ppo_loss, reinforce_loss
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


class Reinforce:
    """A controller that improves a policy by REINFORCE, or PPO, with a moving-average baseline and Adam.

    As in ENAS's code the baseline takes in a reward before the advantage is formed, and starts at zero.
    With PPO, the architectures observed must have been sampled since the last update: their probabilities under the
    policy as it stands when they are observed are taken for those they were sampled with.

    Args:
        decisions: Of the search space, T of them.
        policy: Makes the policy to improve from the decisions.
        learning_rate: Of Adam (ENAS: 0.0035).
        adam_betas: ENAS's β₁ is 0.
        adam_epsilon: ENAS: 1e-3.
        entropy_weight: Weight of the entropy bonus, ≥ 0 (ENAS: 1e-4).
        entropy_bonus: `reward` adds the weighted entropy of the sample to its reward, as ENAS's code does; `loss`
            subtracts it from the loss, so that its own gradient counts.
        entropy_weight_end: What the weight becomes; None leaves it as it is.
        entropy_schedule: How it gets there, `linear` or `cosine`.
        entropy_updates: Updates that this takes, at least 1.
        baseline_decay: In [0, 1) (ENAS: 0.99).
        baseline_start: First baseline; None takes the mean of the first rewards.
        max_grad_norm: Clips the gradient's norm; None leaves it.
        ppo_clip: ε of PPO's clipped objective, above 0 (Schulman et al.: 0.2); None is REINFORCE.
        ppo_epochs: Steps of Adam on the same rewards; above 1 only with `ppo_clip`.
        elite_size: K, the best architectures whose mean log-likelihood joins what is maximised; 0 is none.
        elite_weight: Weight of that mean, above 0; on the scale of advantages.
        elite_window: Rewards after which an architecture is no longer remembered, at least K.

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
        entropy_weight_end: float | None = None,
        entropy_schedule: str = "linear",
        entropy_updates: int = 100,
        baseline_decay: float = 0.99,
        baseline_start: float | None = 0.0,
        max_grad_norm: float | None = None,
        ppo_clip: float | None = None,
        ppo_epochs: int = 1,
        elite_size: int = 0,
        elite_weight: float = 0.02,
        elite_window: int = 100,
    ) -> None:
        if learning_rate <= 0:
            raise ValueError(f"learning_rate must be above 0, got {learning_rate}")
        if adam_epsilon <= 0:
            raise ValueError(f"adam_epsilon must be above 0, got {adam_epsilon}")
        if entropy_weight < 0:
            raise ValueError(f"entropy_weight must be at least 0, got {entropy_weight}")
        if entropy_bonus not in ENTROPY_BONUSES:
            raise ValueError(f"entropy_bonus must be one of {', '.join(ENTROPY_BONUSES)}, got {entropy_bonus!r}")
        if entropy_weight_end is not None and entropy_weight_end < 0:
            raise ValueError(f"entropy_weight_end must be at least 0, got {entropy_weight_end}")
        if entropy_schedule not in ANNEALINGS:
            raise ValueError(f"entropy_schedule must be one of {', '.join(ANNEALINGS)}, got {entropy_schedule!r}")
        if entropy_updates < 1:
            raise ValueError(f"entropy_updates must be at least 1, got {entropy_updates}")
        if not 0 <= baseline_decay < 1:
            raise ValueError(f"baseline_decay must lie in [0, 1), got {baseline_decay}")
        if max_grad_norm is not None and max_grad_norm <= 0:
            raise ValueError(f"max_grad_norm must be above 0, got {max_grad_norm}")
        if ppo_clip is not None and ppo_clip <= 0:
            raise ValueError(f"ppo_clip must be above 0, got {ppo_clip}")
        if ppo_epochs < 1:
            raise ValueError(f"ppo_epochs must be at least 1, got {ppo_epochs}")
        if ppo_clip is None and ppo_epochs > 1:
            raise ValueError(f"ppo_epochs above 1 needs ppo_clip, got {ppo_epochs} without it")
        if elite_size < 0:
            raise ValueError(f"elite_size must be at least 0, got {elite_size}")
        if elite_weight <= 0:
            raise ValueError(f"elite_weight must be above 0, got {elite_weight}")
        if elite_window < elite_size:
            raise ValueError(f"elite_window must be at least elite_size {elite_size}, got {elite_window}")
        self.policy = policy(decisions)
        self.learning_rate = learning_rate
        self.entropy_start = entropy_weight
        self.entropy_end = entropy_weight if entropy_weight_end is None else entropy_weight_end
        self.entropy_schedule = entropy_schedule
        self.entropy_updates = entropy_updates
        self.entropy_bonus = entropy_bonus
        self.updates = 0
        self.baseline_decay = baseline_decay
        self.baseline = baseline_start
        self.max_grad_norm = max_grad_norm
        self.ppo_clip = ppo_clip
        self.ppo_epochs = ppo_epochs
        self.elite_weight = elite_weight
        self.elites = Elites(size=elite_size, window=elite_window) if elite_size else None
        self.optimizer = torch.optim.Adam(
            self.policy.parameters(),
            lr=learning_rate,
            betas=(float(adam_betas[0]), float(adam_betas[1])),
            eps=adam_epsilon,
        )

    @property
    def entropy_weight(self) -> float:
        """Weight of the entropy bonus in the next update."""
        progress = self.updates / self.entropy_updates
        return annealed(self.entropy_start, self.entropy_end, progress=progress, schedule=self.entropy_schedule)

    def sample(self, num_samples: int, *, greedy: bool = False) -> Samples:
        """Draws from the policy."""
        return self.policy.sample(num_samples, greedy=greedy)

    def observe(self, actions: Tensor, rewards: Tensor) -> Mapping[str, float]:
        """Takes one step of Adam, with PPO `ppo_epochs` steps, on the loss averaged over N architectures.

        Args:
            actions: (N, T).
            rewards: (N,).

        Returns:
            `baseline`; `policy_loss`, before the last step; `entropy` in nats, a sample's mean before the first. With
            PPO also `clipped`, the share of architectures without a gradient in the last step; `entropy_weight` if it
            changes.
        """
        elites = None
        if self.elites is not None:
            self.elites.observe(actions, rewards)
            elites = self.elites.best().to(actions.device)
        samples, elite_log_prob = self._evaluate(actions, elites)
        entropy = samples.entropy.detach().double()
        advantage = self._advantage(rewards, entropy).to(samples.log_prob.dtype)
        sampled_log_prob = samples.log_prob.detach()
        loss = self._step(samples, sampled_log_prob, advantage, elite_log_prob)
        for _ in range(self.ppo_epochs - 1):
            samples, elite_log_prob = self._evaluate(actions, elites)
            loss = self._step(samples, sampled_log_prob, advantage, elite_log_prob)
        assert self.baseline is not None
        logged = {"baseline": self.baseline, "policy_loss": loss, "entropy": entropy.mean().item()}
        if self.ppo_clip is not None:
            logged["clipped"] = clipped_share(samples.log_prob, sampled_log_prob, advantage, clip=self.ppo_clip)
        if self.entropy_end != self.entropy_start:
            logged["entropy_weight"] = self.entropy_weight
        self.updates += 1
        return logged

    def _evaluate(self, actions: Tensor, elites: Tensor | None) -> tuple[Samples, Tensor | None]:
        """Evaluates actions (N, T) and, in the same pass, elites (K, T); returns the latter's log π, (K,)."""
        if elites is None:
            return self.policy.evaluate(actions), None
        joined = self.policy.evaluate(torch.cat([actions, elites]))
        count = len(actions)
        return Samples(joined.actions[:count], joined.log_prob[:count], joined.entropy[:count]), joined.log_prob[count:]

    def _advantage(self, rewards: Tensor, entropy: Tensor) -> Tensor:
        """Moves the baseline through the rewards (N,), and returns the rewards' excess over it, (N,) float64."""
        values = rewards.detach().cpu().double()
        if self.entropy_bonus == "reward":
            values = values + self.entropy_weight * entropy
        if self.baseline is None:
            self.baseline = values.mean().item()
        baselines = moving_average(self.baseline, values, decay=self.baseline_decay)
        self.baseline = baselines[-1].item()
        return values - baselines

    def _step(
        self, samples: Samples, sampled_log_prob: Tensor, advantage: Tensor, elite_log_prob: Tensor | None
    ) -> float:
        """Takes a step of Adam; returns the loss before it."""
        if self.ppo_clip is None:
            loss = reinforce_loss(samples.log_prob, advantage)
        else:
            loss = ppo_loss(samples.log_prob, sampled_log_prob, advantage, clip=self.ppo_clip)
        if self.entropy_bonus == "loss":
            loss = loss - self.entropy_weight * samples.entropy.mean()
        if elite_log_prob is not None:
            loss = loss - self.elite_weight * elite_log_prob.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.optimizer.step()
        return loss.item()

    def set_learning_rate_scale(self, scale: float) -> None:
        """Sets Adam's learning rate to `scale` times the configured one."""
        for group in self.optimizer.param_groups:
            group["lr"] = scale * self.learning_rate

    def state_dict(self) -> Mapping[str, Any]:
        """Returns policy, optimizer, baseline and number of updates, and what elites are drawn from, if any."""
        state = {
            "policy": self.policy.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "baseline": self.baseline,
            "updates": self.updates,
        }
        return state if self.elites is None else {**state, "elites": self.elites.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.policy.load_state_dict(state_dict["policy"])
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.baseline = state_dict["baseline"]
        self.updates = state_dict.get("updates", 0)  # older runs did not count them
        if self.elites is not None:
            self.elites.load_state_dict(state_dict["elites"])
