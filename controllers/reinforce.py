"""Policy gradients on a policy over architectures.

REINFORCE (Williams 1992; ENAS, arXiv:1802.03268, §2.2), and the clipped objective of PPO (Schulman et al. 2017,
arXiv:1707.06347) for taking several steps on the same rewards. Either may be joined by priority queue training
(Abolafia et al. 2018, arXiv:1801.03526), which keeps raising the likelihood of the best architectures met.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from controllers.best_architectures import Elites, References
from controllers.policy_gradients import (
    ClippedObjective,
    EntropyBonus,
    MovingAverageBaseline,
    RankBaseline,
    ReinforceObjective,
)
from controllers.protocol import Repeats, Samples, check_repeats
from search_spaces.genotype import Decision


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


@runtime_checkable
class EditingPolicy(Protocol):
    """A policy that can write an architecture while it reads one that is known."""

    def refer_to(self, actions: Tensor, probabilities: Tensor) -> None:
        """Takes the architectures (K, T) that are read from now on, and how often each is, (K,)."""


class Reinforce:
    """A controller that improves a policy by policy gradients.

    With the clipped objective, the architectures observed must have been sampled since the last update: their
    probabilities under the policy as it stands when they are observed are taken for those they were sampled with.

    Args:
        decisions: Of the search space, T of them.
        policy: Makes the policy to improve from the decisions.
        optimizer: Makes the optimizer from the policy's parameters.
        baseline: What advantages are measured from.
        entropy: The entropy bonus.
        objective: What is maximised, in how many steps on the same rewards.
        elites: The best architectures met lately, whose mean log-likelihood joins what is maximised; None is without.
        references: The best architectures known, which the policy edits; None is without.
        max_grad_norm: Clips the norm of all gradients together, above 0; None leaves it.
        repeats: When it is told known rewards of what it proposes again, see `controllers.protocol.Repeats`.

    Raises:
        ValueError: If `max_grad_norm` is out of range, or there are references and the policy does not edit.
    """

    def __init__(
        self,
        decisions: Sequence[Decision],
        *,
        policy: Callable[[Sequence[Decision]], Policy],
        optimizer: Callable[[Any], torch.optim.Optimizer],
        baseline: MovingAverageBaseline | RankBaseline,
        entropy: EntropyBonus,
        objective: ReinforceObjective | ClippedObjective,
        elites: Elites | None = None,
        references: References | None = None,
        max_grad_norm: float | None = None,
        repeats: Repeats = "with the next",
    ) -> None:
        check_repeats(repeats)
        if max_grad_norm is not None and max_grad_norm <= 0:
            raise ValueError(f"max_grad_norm must be above 0, got {max_grad_norm}")
        self.policy = policy(decisions)
        self.optimizer = optimizer(self.policy.parameters())
        self.baseline = baseline
        self.entropy = entropy
        self.objective = objective
        self.elites = elites
        self.references = references
        if references is not None and not isinstance(self.policy, EditingPolicy):
            raise ValueError(f"references need a policy with a method refer_to, got {type(self.policy).__name__}")
        self.max_grad_norm = max_grad_norm
        self.repeats = repeats
        self.updates = 0
        self._uniform_entropy = sum(math.log(len(decision.choices)) for decision in decisions)

    def sample(self, num_samples: int, *, greedy: bool = False) -> Samples:
        """Draws from the policy."""
        return self.policy.sample(num_samples, greedy=greedy)

    def observe(self, actions: Tensor, rewards: Tensor) -> Mapping[str, float]:
        """Takes the objective's steps on the loss averaged over N architectures.

        Args:
            actions: (N, T).
            rewards: (N,).

        Returns:
            `baseline`; `policy_loss`, before the last step; `entropy` in nats, a sample's mean before the first. With
            the clipped objective also `clipped`, the share of architectures without a gradient in the last step;
            `entropy_weight` if it changes.
        """
        count, joined, weights = len(actions), actions, None
        if self.elites is not None:
            self.elites.observe(actions, rewards)
            replayed, weights = self.elites.replay()
            joined = torch.cat([actions, replayed.to(actions.device)])  # (N + M, T), in one pass
        samples = self.policy.evaluate(joined)
        entropy = samples.entropy[:count].detach().double()
        values = self.entropy.rewards(rewards.detach().cpu().double(), entropy, update=self.updates)
        advantage = self.baseline.advantage(values).to(samples.log_prob.dtype)
        sampled_log_prob = samples.log_prob[:count].detach()
        loss = self._step(samples, sampled_log_prob, advantage, weights)
        for _ in range(self.objective.epochs - 1):
            samples = self.policy.evaluate(joined)
            loss = self._step(samples, sampled_log_prob, advantage, weights)
        logged = {
            "baseline": self.baseline.level,
            "policy_loss": loss,
            "entropy": entropy.mean().item(),
            **self.objective.figures(samples.log_prob[:count], sampled_log_prob, advantage),
            **self.entropy.figures(update=self.updates),
        }
        self.updates += 1
        if self.references is not None:
            self.references.observe(actions, rewards)
            self._refer()
        return logged

    def _refer(self) -> None:
        """Gives the policy what it edits, if enough is known."""
        if self.references is not None and (drawn_from := self.references.drawn_from()) is not None:
            assert isinstance(self.policy, EditingPolicy)
            self.policy.refer_to(*drawn_from)

    def _step(self, samples: Samples, sampled_log_prob: Tensor, advantage: Tensor, weights: Tensor | None) -> float:
        """Takes a step on N + M samples, the last M of them replayed with weights (M,); returns the loss before it."""
        count = len(advantage)
        loss = self.objective.loss(samples.log_prob[:count], sampled_log_prob, advantage)
        loss = self.entropy.loss(loss, samples.entropy[:count], update=self.updates, uniform=self._uniform_entropy)
        if weights is not None:
            loss = loss - samples.log_prob[count:] @ weights.to(samples.log_prob)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.optimizer.step()
        return loss.item()

    def set_learning_rate_scale(self, scale: float) -> None:
        """Sets the optimizer's learning rate to `scale` times the configured one."""
        for group in self.optimizer.param_groups:
            group["lr"] = scale * self.optimizer.defaults["lr"]

    def state_dict(self) -> Mapping[str, Any]:
        """Returns policy, optimizer, baseline, the entropy's weight, the number of updates, elites and references."""
        state: dict[str, Any] = {
            "policy": self.policy.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "baseline": self.baseline.value,
            "updates": self.updates,
        }
        if self.entropy.target is not None:
            state["entropy_weight"] = self.entropy.value
        for name in ("elites", "references"):
            if (part := getattr(self, name)) is not None:
                state[name] = part.state_dict()
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.policy.load_state_dict(state_dict["policy"])
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.baseline.value = state_dict["baseline"]
        self.updates = state_dict.get("updates", 0)  # older runs did not count them
        if self.entropy.target is not None:
            self.entropy.value = state_dict["entropy_weight"]
        if self.elites is not None:
            self.elites.load_state_dict(state_dict["elites"])
        if self.references is not None:
            self.references.load_state_dict(state_dict["references"])
            self._refer()
