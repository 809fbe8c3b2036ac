"""What every controller offers, and what it returns."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Samples(NamedTuple):
    """N sampled architectures of T decisions.

    Attributes:
        actions: (N, T) int64, the index of each decision's choice.
        log_prob: (N,), logarithm of the probability with which the controller draws them, ≤ 0.
        entropy: (N,), sum over the decisions of the entropy, in nats, of the distribution each was drawn from.
        probabilities: (N, T, K), those distributions, zero beyond the choices of a decision that has fewer than K; None
            where they are not asked for or there are none.
    """

    actions: Tensor
    log_prob: Tensor
    entropy: Tensor
    probabilities: Tensor | None = None


Repeats = Literal["at once", "with the next", "never"]
"""When a controller is told the reward of a proposal of its own that is known already, see `controllers.ask_tell`:
before it proposes more, together with the next rewards, or not at all."""


class Controller(Protocol):
    """A search strategy: proposes architectures and learns from their rewards.

    Attributes:
        repeats: When it is told known rewards of what it proposes again.
    """

    @property
    def repeats(self) -> Repeats:
        """When it is told known rewards of what it proposes again."""

    def sample(self, num_samples: int, *, greedy: bool = False) -> Samples:
        """Draws architectures, without a gradient; greedy takes the likeliest choice of every decision."""

    def observe(self, actions: Tensor, rewards: Tensor) -> Mapping[str, float]:
        """Learns from the rewards (N,) of actions (N, T); returns what is worth logging."""

    def set_learning_rate_scale(self, scale: float) -> None:
        """Multiplies the configured learning rate by `scale` from now on; nothing to do where there is none."""

    def state_dict(self) -> Mapping[str, Any]:
        """Returns everything that `load_state_dict` needs to go on exactly here."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Restores what `state_dict` returned."""


def check_num_samples(num_samples: int) -> None:
    """Raises ValueError unless at least one sample is asked for."""
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")


def check_repeats(value: str) -> None:
    """Raises ValueError unless a value is one of `Repeats`."""
    if value not in get_args(Repeats):
        raise ValueError(f"repeats must be one of {', '.join(get_args(Repeats))}, got {value!r}")


def decision_entropy(log_probs: Tensor) -> Tensor:
    """Returns the entropies in nats, (N,), of distributions given as log-probabilities (N, K)."""
    return -(log_probs.exp() * log_probs).sum(dim=-1)


def joined_probabilities(log_probs: Sequence[Tensor]) -> Tensor:
    """Returns probabilities, (N, T, K), of T decisions with log-probabilities of shapes (N, K_t), K the largest."""
    columns = [values.T for values in log_probs]  # (K_t, N)
    padded = pad_sequence(columns, batch_first=True, padding_value=-math.inf)  # (T, K, N)
    return padded.exp().permute(2, 0, 1)


def choose(log_probs: Tensor, *, greedy: bool) -> Tensor:
    """Draws one choice a row from log-probabilities (N, K), or takes the likeliest; returns (N,) int64."""
    if greedy:
        return log_probs.argmax(dim=-1)
    return torch.multinomial(log_probs.exp(), 1).squeeze(-1)
