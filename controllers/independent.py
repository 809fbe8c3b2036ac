"""One softmax a decision, each independent of the others: the policy of NAS-Bench-201's REINFORCE baseline.

Source: Dong and Yang 2020, arXiv:2001.00326, and the authors' code. It cannot tell that an answer is good only beside
another one, which is what the LSTM is for; it is the plainest policy that learns, and by far the cheapest.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from controllers.policy import DecisionPolicy
from controllers.protocol import choose, decision_entropy
from search_spaces.genotype import Decision


class IndependentPolicy(DecisionPolicy):
    """A product of distributions, one over the choices of each decision.

    Unlike the authors', it takes decisions that differ in their choices, inputs among them.

    Args:
        decisions: Of the search space, T of them.
        temperature: Divides the logits.
        init_std: Logits start normal with this standard deviation; 0 starts exactly uniform.

    Raises:
        ValueError: If an argument is out of range, or there are no decisions.
    """

    def __init__(self, decisions: Sequence[Decision], *, temperature: float = 1.0, init_std: float = 1e-3) -> None:
        super().__init__(decisions)
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        if init_std < 0:
            raise ValueError(f"init_std must be at least 0, got {init_std}")
        self.temperature = temperature
        self.logits = nn.ParameterList(
            [nn.Parameter(init_std * torch.randn(len(decision.choices))) for decision in decisions]
        )

    def _unroll(
        self, num_samples: int, *, actions: Tensor | None, greedy: bool
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        all_log_probs = self._log_probs()
        distributions = [log_probs.expand(num_samples, -1) for log_probs in all_log_probs]
        if actions is None:
            actions = torch.stack([choose(log_probs, greedy=greedy) for log_probs in distributions], dim=1)
        chosen = [log_probs.gather(0, column) for log_probs, column in zip(all_log_probs, actions.T, strict=True)]
        entropies = torch.cat([decision_entropy(log_probs[None]) for log_probs in all_log_probs])  # (T,)
        return actions, torch.stack(chosen, dim=1), entropies.expand(num_samples, -1), distributions

    def _log_probs(self) -> list[Tensor]:
        """Returns the log-probabilities (K,) of the choices of every decision."""
        return [F.log_softmax(logits / self.temperature, dim=0) for logits in self.logits]
