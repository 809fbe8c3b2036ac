"""The cell: one module for every cell-based space, for supernet and derived model alike.

A cell is a small graph. Each block sums its ops' outputs, each op reading an earlier node; the cell merges its output
nodes. What a genotype needs and what a supernet offers are both `CellCandidates`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.batch_norm import remove_scale_and_shift
from search_spaces.genotype import IDENTITIES, NONE, CellGenotype, Edge, Genotype
from search_spaces.ops import FactorizedReduction, batch_norm, find_op


class _DenseGradient(torch.autograd.Function):
    """The identity, whose gradient is copied where it does not lie densely."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.channels_last = x.is_contiguous(memory_format=torch.channels_last)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad,) = grads
        return grad.contiguous(memory_format=torch.channels_last if ctx.channels_last else torch.contiguous_format)


def with_dense_gradient(x: Tensor) -> Tensor:
    """Returns `x` (N, C, H, W), a part of a concatenation to come, and sees to it that its gradient lies as it does.

    The gradient of a part is a slice of the whole one, whose pixels lie apart in channels-last format. Several ops may
    have summed to `x`, and the batch norm of each would read that slice at a fraction of the speed.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        out: Tensor = _DenseGradient.apply(x)
        return out
    return x


MERGES = ("sum", "concat", "concat_conv1x1")

SHARING = ("op", "edge")


@dataclass(frozen=True, slots=True)
class CellCandidates:
    """What a cell module must hold.

    Attributes:
        edges: The edges that may be chosen.
        outputs: The nodes that may be merged into the output.
        mixers: The mixers that may be chosen.
        num_inputs: How many earlier layers the cell reads.
        fixed_outputs: Whether every genotype merges all of `outputs`.
    """

    edges: frozenset[Edge]
    outputs: frozenset[int]
    mixers: frozenset[str]
    num_inputs: int = 1
    fixed_outputs: bool = True


def genotype_candidates(genotype: Genotype) -> dict[str, CellCandidates]:
    """Returns what a derived model holds: the genotype's own edges and mixers, by cell name.

    Raises:
        ValueError: If an op is unknown.
    """
    candidates = {}
    for name, cell in genotype.cells.items():
        edges = frozenset(edge for edge in cell.edges if edge[3] != NONE)
        for _, _, _, op in edges:
            find_op(op)
        outputs, mixers = frozenset(cell.output_nodes), frozenset((cell.mixer,))
        candidates[name] = CellCandidates(edges, outputs, mixers, num_inputs=cell.num_inputs)
    return candidates


def resolve_identities(cell: CellGenotype, *, strided: bool) -> list[int]:
    """Returns for every node the first node with the same value, following blocks that are one identity of stride 1."""
    resolved = list(range(cell.num_inputs))
    for node, block in enumerate(cell.blocks, start=cell.num_inputs):
        source = resolved[block.inputs[0]]
        plain = len(block.ops) == 1 and block.ops[0] in IDENTITIES and not (strided and source < cell.num_inputs)
        resolved.append(source if plain else node)
    return resolved


def drop_path(x: Tensor, drop_prob: float | Tensor) -> Tensor:
    """Zeroes whole samples of x (N, C, H, W) with a probability in [0, 1) and scales the others up (FractalNet)."""
    keep_prob = 1.0 - drop_prob
    kept = torch.rand((x.shape[0], 1, 1, 1), device=x.device, dtype=x.dtype) < keep_prob
    return x * (kept / keep_prob).to(x.dtype)


class Cell(nn.Module):
    """A cell of the network: holds the ops of its candidates, computes the genotype it is given.

    The module has the same parameter names whether built with every candidate (a layer of the supernet) or with one
    genotype's (a layer of the derived model).

    Args:
        channels: C, in and out.
        candidates: What may be chosen.
        strided: Whether this is a reduction cell: ops that read a cell's input have stride 2.
        merge: `sum`; `concat`, which multiplies the channels by the number of outputs and needs the same number of
            every genotype; or `concat_conv1x1`, relu–1x1 convolution of the concatenated outputs–BN
            (arXiv:1812.02975, §IV-D; the search network of ENAS).
        merge_batch_norm: Whether batch norm follows the sum (§IV-D).
        sharing: `op` reuses an op's weights whatever input its block reads, as long as the stride is the same; `edge`
            holds weights of their own for every input, as ENAS's code does. A derived model has the same number
            either way.
        affine: Whether batch norm within the ops has a factor and a summand for each channel.

    Only edges on a path from an input to an output are computed; an output that none reaches is zero. A cell input that
    is merged into the output of a strided cell passes a factorized reduction, as in ENAS's code.

    Raises:
        ValueError: If `merge` or `sharing` is unknown, or `concat` meets a varying number of outputs.
    """

    def __init__(
        self,
        channels: int,
        candidates: CellCandidates,
        *,
        strided: bool,
        merge: str = "sum",
        merge_batch_norm: bool = False,
        sharing: str = "op",
        affine: bool = True,
    ) -> None:
        super().__init__()
        if sharing not in SHARING:
            raise ValueError(f"sharing must be one of {', '.join(SHARING)}, got {sharing!r}")
        if merge not in MERGES:
            raise ValueError(f"merge must be one of {', '.join(MERGES)}, got {merge!r}")
        if merge == "concat" and not candidates.fixed_outputs:
            raise ValueError(
                "merge=concat needs genotypes of one number of outputs: take output=all in the search space, "
                "or merge=concat_conv1x1"
            )
        self.strided = strided
        self.merge = merge
        self.sharing = sharing
        self.num_inputs = candidates.num_inputs
        self.ops = nn.ModuleDict()
        for edge in sorted(candidates.edges):
            if self._key(edge) not in self.ops:
                self.ops[self._key(edge)] = find_op(edge[3]).build(channels, 2 if self._reduces(edge) else 1)
        if not affine:
            remove_scale_and_shift(self.ops)
        self.merge_weights: nn.ParameterDict | None = None
        if merge == "concat_conv1x1":
            self.merge_weights = nn.ParameterDict(
                {str(node): nn.Parameter(torch.empty(channels, channels, 1, 1)) for node in sorted(candidates.outputs)}
            )
            for weight in self.merge_weights.values():
                nn.init.kaiming_normal_(weight, nonlinearity="relu")
        self.passed_inputs = nn.ModuleDict(
            {
                str(node): FactorizedReduction(channels, channels)
                for node in sorted(candidates.outputs)
                if strided and node < candidates.num_inputs
            }  # of a strided cell, the inputs that it merges
        )
        self.out_channels = channels * (len(candidates.outputs) if merge == "concat" else 1)
        needs_batch_norm = merge_batch_norm or merge == "concat_conv1x1"
        self.merge_bn = batch_norm(self.out_channels) if needs_batch_norm else None

    def forward(self, inputs: Sequence[Tensor], cell: CellGenotype, *, drop_prob: float | Tensor = 0.0) -> Tensor:
        """Computes `cell` on its inputs.

        Args:
            inputs: As many as the cell reads, each (N, C, H, W).
            cell: The genotype of this cell, among the candidates.
            drop_prob: Drop-path probability of every op but identities; 0.0 switches it off.

        Returns:
            (N, C, H, W), or half the resolution for a strided cell; with `concat`, kC channels for k outputs.
        """
        nodes = dict(enumerate(inputs))
        resolved = resolve_identities(cell, strided=self.strided)
        for edge in cell.live_edges:
            node = self.num_inputs + edge[0]
            value = self._op_output(edge, nodes[edge[2]], drop_prob=drop_prob)
            nodes[node] = nodes[node] + value if node in nodes else value
        stride = 2 if self.strided else 1
        # Ordered by the node whose value it is, so that a cell padded with identities adds in the same order.
        outputs = sorted(cell.output_nodes, key=lambda node: (resolved[node], node))
        values = []
        for node in outputs:
            value = nodes[node] if node in nodes else torch.zeros_like(inputs[0][:, :, ::stride, ::stride])
            values.append(self.passed_inputs[str(node)](value) if str(node) in self.passed_inputs else value)
        return self._merge(values, outputs)

    def path_ops(self, cell: CellGenotype) -> list[nn.Module]:
        """Returns the ops that `forward` would compute."""
        return [self.ops[self._key(edge)] for edge in cell.live_edges]

    def _reduces(self, edge: Edge) -> bool:
        """Whether an edge's op has stride 2."""
        return self.strided and edge[2] < self.num_inputs

    def _key(self, edge: Edge) -> str:
        """Returns the name under which an edge's op is held."""
        block, slot, source, op = edge
        if self.sharing == "edge":
            return f"{block}_{slot}_{source}_{op}"
        return f"{block}_{slot}_{'reducing' if self._reduces(edge) else 'keeping'}_{op}"

    def _op_output(self, edge: Edge, x: Tensor, *, drop_prob: float | Tensor) -> Tensor:
        op = edge[3]
        if op in IDENTITIES and not self._reduces(edge):
            return x
        out: Tensor = self.ops[self._key(edge)](x)
        dropped = op not in IDENTITIES and not (isinstance(drop_prob, float) and drop_prob == 0)
        return drop_path(out, drop_prob) if dropped else out

    def _merge(self, values: list[Tensor], outputs: Sequence[int]) -> Tensor:
        if self.merge_weights is not None:
            weight = torch.cat([self.merge_weights[str(node)] for node in outputs], dim=1)  # (C, kC, 1, 1)
            merged = F.conv2d(F.relu(torch.cat(values, dim=1)), weight)
        elif self.merge == "concat":
            merged = torch.cat([with_dense_gradient(value) for value in values], dim=1)
        else:
            merged = values[0]
            for value in values[1:]:
                merged = merged + value
        out: Tensor = merged if self.merge_bn is None else self.merge_bn(merged)
        return out
