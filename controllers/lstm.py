"""The LSTM policy of ENAS (Pham et al. 2018, arXiv:1802.03268, §2.2–2.4; constants of the authors' code).

Decision by decision, one LSTM step each. What was chosen is fed into the next step: the embedding of an op, the hidden
state ("anchor") of the block that an input points at. Inputs are chosen by attention over the anchors. The state flows
on from one cell into the next, whose anchors start afresh.

The policy may also edit: then each step reads what one of the best known architectures answered, and that answer is
likelier by a constant, as the mutations of RENAS (Chen et al. 2019, arXiv:1808.00193) start from a known cell.
"""

import itertools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from controllers.policy import DecisionPolicy
from controllers.protocol import Samples, choose, decision_entropy
from search_spaces.genotype import Decision


class LSTMPolicy(DecisionPolicy):
    """A distribution over the answers to a list of decisions.

    Op logits are `tanh_constant / op_tanh_reduction * tanh(h W + b)`; input logits are
    `tanh_constant * tanh(vᵀ tanh(anchor W₁ + h W₂))`.

    Args:
        decisions: Of the search space, T of them, the steps of a group one after the other.
        hidden_size: Units of the LSTM (64 in ENAS's code, 100 in the papers).
        tanh_constant: Bound of the input logits; None leaves all logits unbounded.
        op_tanh_reduction: Divides the bound for every decision that is not an input.
        temperature: Divides the logits before the bound.
        init_range: Weights start uniform in ± this.
        positions: Whether each decision has an embedding of its own, which is added to what its step reads.
        keep: How far an edited architecture's own answers are raised, at least 0, as a logit; see `refer_to`.

    Raises:
        ValueError: If an argument is out of range, or decisions of one kind differ in their choices.
    """

    def __init__(
        self,
        decisions: Sequence[Decision],
        *,
        hidden_size: int = 64,
        tanh_constant: float | None = 1.10,
        op_tanh_reduction: float = 2.5,
        temperature: float = 1.0,
        init_range: float = 0.1,
        positions: bool = False,
        keep: float = 0.0,
    ) -> None:
        super().__init__(decisions)
        for name, value in (
            ("hidden_size", hidden_size),
            ("tanh_constant", 1 if tanh_constant is None else tanh_constant),
            ("op_tanh_reduction", op_tanh_reduction),
            ("temperature", temperature),
            ("init_range", init_range),
        ):
            if value <= 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        if keep < 0:
            raise ValueError(f"keep must be at least 0, got {keep}")
        self._groups = [_steps(group) for _, group in itertools.groupby(self.decisions, key=lambda d: d.group)]
        self._num_inputs = [_num_group_inputs(steps) for steps in self._groups]
        self.hidden_size = hidden_size
        self.tanh_constant = tanh_constant
        self.op_tanh_reduction = op_tanh_reduction
        self.temperature = temperature
        self.keep = keep
        self._references: tuple[Tensor, Tensor] | None = None

        self.lstm = nn.LSTMCell(hidden_size, hidden_size, bias=False)
        self.start = nn.Parameter(torch.empty(1, hidden_size))
        self.anchor_key = nn.Linear(hidden_size, hidden_size, bias=False)
        self.anchor_query = nn.Linear(hidden_size, hidden_size, bias=False)
        self.anchor_score = nn.Linear(hidden_size, 1, bias=False)
        vocabularies = _vocabularies(decisions)
        self.heads = nn.ModuleDict(
            {kind: nn.Linear(hidden_size, len(choices)) for kind, choices in vocabularies.items()}
        )
        self.embeddings = nn.ModuleDict(
            {kind: nn.Embedding(len(choices), hidden_size) for kind, choices in vocabularies.items()}
        )
        self.positions = nn.Parameter(torch.empty(len(self.decisions), hidden_size)) if positions else None
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -init_range, init_range)
        for head in self.heads.values():
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def refer_to(self, actions: Tensor, probabilities: Tensor) -> None:
        """Makes the policy edit one of K architectures from now on, a mixture of K distributions.

        Each sample is drawn from one of these: its log-probability and entropy are that one's. `evaluate` returns the
        mixture's log-probability and the mean entropy; greedy samples and `evaluate_decisions` read the first.

        Args:
            actions: (K, T), the architectures.
            probabilities: (K,), how often each is edited.
        """
        self._references = actions, probabilities

    def evaluate(self, actions: Tensor) -> Samples:
        """Returns log-probability and entropy of given actions (N, T), with gradients.

        Raises:
            ValueError: If `actions` is not of shape (N, T).
        """
        if self._references is None or actions.ndim != 2 or actions.shape[1] != len(self.decisions):
            return super().evaluate(actions)  # which refuses other shapes
        references, probabilities = self._references
        (num, known), weights = (len(actions), len(references)), probabilities.to(self.start)
        _, log_probs, entropies, _ = self._unroll(
            num * known,
            actions=actions.repeat_interleave(known, dim=0),
            greedy=False,
            references=references.repeat(num, 1),
        )
        joint = log_probs.sum(dim=1).view(num, known) + weights.log()
        return Samples(actions, joint.logsumexp(dim=1), entropies.sum(dim=1).view(num, known) @ weights)

    def _references_of(self, num_samples: int, *, drawn: bool) -> Tensor | None:
        """Returns what each sample edits, (N, T): drawn, or the first; None where nothing is edited."""
        if self._references is None:
            return None
        references, probabilities = self._references
        if not drawn:
            return references[:1].expand(num_samples, -1)
        return references[torch.multinomial(probabilities, num_samples, replacement=True)]

    def _unroll(
        self, num_samples: int, *, actions: Tensor | None, greedy: bool, references: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        if references is None:
            references = self._references_of(num_samples, drawn=actions is None and not greedy)
        start = self.start.expand(num_samples, -1)  # (N, H)
        state = (torch.zeros_like(start), torch.zeros_like(start))
        chosen: list[Tensor] = []
        log_probs: list[Tensor] = []
        entropies: list[Tensor] = []
        distributions: list[Tensor] = []
        for steps, num_inputs in zip(self._groups, self._num_inputs, strict=True):
            anchors: list[Tensor] = []
            keys: list[Tensor] = []
            for _ in range(num_inputs):
                state = self.lstm(start, state)
                anchors.append(torch.zeros_like(start))
                keys.append(self.anchor_key(state[0]))
            for step in steps:
                x = start
                for decision in step:
                    index = len(chosen)
                    if self.positions is not None:
                        x = x + self.positions[index]
                    if references is not None:
                        x = x + self._embed(decision, references[:, index], anchors)
                    state = self.lstm(x, state)
                    logits = self._logits(decision, state[0], keys)
                    if references is not None:
                        logits = logits + self.keep * F.one_hot(references[:, index], logits.shape[1])
                    step_log_probs = F.log_softmax(logits, dim=-1)  # (N, K)
                    choice = choose(step_log_probs, greedy=greedy) if actions is None else actions[:, index]  # (N,)
                    chosen.append(choice)
                    log_probs.append(step_log_probs.gather(1, choice[:, None]).squeeze(1))
                    entropies.append(decision_entropy(step_log_probs))
                    distributions.append(step_log_probs)
                    x = self._embed(decision, choice, anchors)
                state = self.lstm(x, state)
                anchors.append(state[0])
                keys.append(self.anchor_key(state[0]))
        return torch.stack(chosen, dim=1), torch.stack(log_probs, dim=1), torch.stack(entropies, dim=1), distributions

    def _logits(self, decision: Decision, hidden: Tensor, keys: list[Tensor]) -> Tensor:
        """Returns the logits (N, K) of a decision from the hidden state (N, H)."""
        if decision.kind == "input":
            query = torch.tanh(torch.stack(keys, dim=1) + self.anchor_query(hidden)[:, None])  # (N, K, H)
            logits: Tensor = self.anchor_score(query).squeeze(-1)
            bound = self.tanh_constant
        else:
            logits = self.heads[decision.kind](hidden)
            bound = None if self.tanh_constant is None else self.tanh_constant / self.op_tanh_reduction
        logits = logits / self.temperature
        return logits if bound is None else bound * torch.tanh(logits)

    def _embed(self, decision: Decision, choice: Tensor, anchors: list[Tensor]) -> Tensor:
        """Returns what the next step reads, (N, H): the anchor pointed at, or the embedding of the word chosen."""
        if decision.kind == "input":
            return torch.stack(anchors, dim=1)[torch.arange(len(choice)), choice]
        embedding: Tensor = self.embeddings[decision.kind](choice)
        return embedding


def _vocabularies(decisions: Sequence[Decision]) -> dict[str, tuple[str, ...]]:
    """Returns the choices of every kind but inputs; raises ValueError if two decisions of a kind differ."""
    vocabularies: dict[str, tuple[str, ...]] = {}
    for decision in decisions:
        if decision.kind == "input":
            continue
        if vocabularies.setdefault(decision.kind, decision.choices) != decision.choices:
            raise ValueError(f"{decision.name} has other choices than earlier decisions of its kind")
    return vocabularies


def _steps(group: Iterable[Decision]) -> list[list[Decision]]:
    """Returns the decisions of a group step by step."""
    return [list(step) for _, step in itertools.groupby(group, key=lambda decision: decision.step)]


def _num_group_inputs(steps: Sequence[Sequence[Decision]]) -> int:
    """Returns how many nodes of a group exist before its first step: the choices of its first input decision.

    Raises:
        ValueError: If an input decision does not offer exactly the nodes that exist at its step.
    """
    num_inputs = next((len(d.choices) - i for i, step in enumerate(steps) for d in step if d.kind == "input"), 0)
    for i, step in enumerate(steps):
        for decision in step:
            if decision.kind == "input" and len(decision.choices) != num_inputs + i:
                raise ValueError(f"{decision.name} must offer {num_inputs + i} nodes, got {len(decision.choices)}")
    return num_inputs
