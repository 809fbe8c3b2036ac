"""The network of ShuffleNASNet (arXiv:1812.02975, §III-B): one class for the supernet and for derived models.

Built with every candidate it is the supernet; built with one genotype's edges it is the derived model. Parameters have
the same names in both, so weights move between them by key and give bitwise equal outputs.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.models.macro import (
    build_mixers,
    cells_of_stages,
    check_candidates,
    check_choices,
    conv_bn,
    initialise,
    make_dropout,
    reduction_cell,
)
from search_spaces.cells import Cell, CellCandidates, with_dense_gradient
from search_spaces.genotype import Genotype
from search_spaces.ops import FactorizedReduction, SeparableConv, relu_conv_bn

CellBuilder = Callable[..., Cell]
"""Makes a cell from channels, candidates and `strided`."""

SHORTCUTS = ("factorized_reduction", "sep_conv", "reduction_cell")
STEMS = ("enas", "plain", "imagenet")
MACROS = ("cifar", "imagenet")
MERGES = ("sum", "concat_conv1x1")


class NormalLayer(nn.Module):
    """Split in halves, cell on the first half, concatenate, mix (arXiv:1812.02975, Figure 3).

    Args:
        channels: C, even.
        candidates: Candidates of the normal cell.
        build_cell: Makes the cell.
    """

    def __init__(self, channels: int, candidates: CellCandidates, *, build_cell: CellBuilder = Cell) -> None:
        super().__init__()
        self.cell = build_cell(channels // 2, candidates, strided=False)
        self.mixers = build_mixers(candidates, channels)

    def forward(self, x: Tensor, genotype: Genotype, *, drop_prob: float | Tensor = 0.0) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        first, second = x.chunk(2, dim=1)
        first = with_dense_gradient(self.cell([first], genotype.normal, drop_prob=drop_prob))
        out: Tensor = self.mixers[genotype.normal.mixer](torch.cat([first, second], dim=1))
        return out

    def path_modules(self, genotype: Genotype) -> list[nn.Module]:
        """Returns the ops and the mixer that `forward` would compute."""
        return [*self.cell.path_ops(genotype.normal), self.mixers[genotype.normal.mixer]]


class ReductionLayer(nn.Module):
    """All channels into the strided cell and into the shortcut, concatenate to 2C, mix (arXiv:1812.02975, §IV-E).

    The paper's "channels are shuffled after each layer" is read to include these; the mixer `identity` in the reduction
    cell switches that off.

    Args:
        channels: C of the input.
        candidates: Candidates of the reduction cell.
        shortcut: One of `SHORTCUTS`.
        build_cell: Makes the cell.
    """

    def __init__(
        self, channels: int, candidates: CellCandidates, *, shortcut: str, build_cell: CellBuilder = Cell
    ) -> None:
        super().__init__()
        self.cell = build_cell(channels, candidates, strided=True)
        self.shortcut: nn.Module
        if shortcut == "reduction_cell":
            self.shortcut = build_cell(channels, candidates, strided=True)
        elif shortcut == "sep_conv":
            self.shortcut = SeparableConv(channels, stride=2, kernel_size=3)
        else:
            self.shortcut = FactorizedReduction(channels, channels)
        self.mixers = build_mixers(candidates, 2 * channels)

    def forward(self, x: Tensor, genotype: Genotype, *, drop_prob: float | Tensor = 0.0) -> Tensor:
        """Maps (N, C, H, W) to (N, 2C, ⌈H / 2⌉, ⌈W / 2⌉)."""
        cell = reduction_cell(genotype)
        main = self.cell([x], cell, drop_prob=drop_prob)
        bypass = self.shortcut([x], cell, drop_prob=drop_prob) if isinstance(self.shortcut, Cell) else self.shortcut(x)
        both = torch.cat([with_dense_gradient(main), with_dense_gradient(bypass)], dim=1)
        out: Tensor = self.mixers[cell.mixer](both)
        return out

    def path_modules(self, genotype: Genotype) -> list[nn.Module]:
        """Returns the ops and the mixer that `forward` would compute."""
        cell = reduction_cell(genotype)
        bypass = self.shortcut.path_ops(cell) if isinstance(self.shortcut, Cell) else [self.shortcut]
        return [*self.cell.path_ops(cell), *bypass, self.mixers[cell.mixer]]


class ShuffleNASNet(nn.Module):
    """Stem, stages of normal layers with a reduction layer between two, head.

    The channels are F in the first stage and double with every reduction. With 3 stages, `cells_per_stage=4` is the
    paper's "12+2" and 5 its "15+2". The ImageNet macro is ours, the paper having none: a stem of stride 4, its second
    half a max pooling as in ShuffleNet V2 (arXiv:1807.11164, Table 5), so that with 4 stages 224 pixels a side pass
    five resolutions, 112, 56, 28, 14 and 7. With `stem=imagenet` instead, that of NASNet's descendants, the first cells
    see 28 pixels already and 3 stages end at 7: no cell works at 56, where a normal cell costs four times as much.

    Args:
        candidates: By cell name, what may be chosen: `space.candidates()` for the supernet,
            `genotype_candidates(genotype)` for the derived model.
        in_channels: Channels of the images.
        num_classes: Outputs of the head.
        filters: F, the channels of the first stage, even.
        cells_per_stage: Normal layers in a stage (§III-B): one number for all stages, or one a stage.
        stages: Stages of normal layers, each at half the resolution of the one before.
        macro: `cifar` (a stem of stride 1) or `imagenet` (of stride 4).
        stem: `enas` (3x3 conv to 3F, BN, relu, 1x1 conv to F, BN), `plain` (3x3 conv to F, BN) or `imagenet` (3x3
            convs of stride 2 to F/2, F and F, each with BN, as in the code of DARTS; macro must be `cifar`).
        shortcut: Past the reduction cells: one of `SHORTCUTS` (§IV-E).
        merge: `sum` or `concat_conv1x1` (§IV-D).
        merge_batch_norm: Whether batch norm follows the sum (§IV-D).
        sharing: `op` or `edge`: what has shared weights of its own in the supernet, see `Cell`.
        affine: Whether batch norm within the cells' ops has a factor and a summand for each channel.
        dropout: Probability before the linear layer, in [0, 1).

    Raises:
        ValueError: If an argument is out of range or unknown.
    """

    def __init__(
        self,
        candidates: Mapping[str, CellCandidates],
        *,
        in_channels: int,
        num_classes: int,
        filters: int = 36,
        cells_per_stage: int | Sequence[int] = 4,
        stages: int = 3,
        macro: str = "cifar",
        stem: str = "enas",
        shortcut: str = "factorized_reduction",
        merge: str = "sum",
        merge_batch_norm: bool = False,
        sharing: str = "op",
        affine: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_candidates(candidates, network="ShuffleNASNet", num_inputs=1, spaces="shufflenas")
        if filters < 4 or filters % 2:
            raise ValueError(f"filters must be even and at least 4 (half of them pass a cell), got {filters}")
        check_choices(macro=(macro, MACROS), stem=(stem, STEMS), merge=(merge, MERGES), shortcut=(shortcut, SHORTCUTS))
        if stem == "imagenet" and macro == "imagenet":
            raise ValueError("stem=imagenet has stride 8 by itself and needs macro=cifar, got macro=imagenet")
        build_cell = partial(Cell, merge=merge, merge_batch_norm=merge_batch_norm, sharing=sharing, affine=affine)
        cells = cells_of_stages(cells_per_stage, stages)
        self.filters = filters
        stem_halvings = 3 if stem == "imagenet" else 2 if macro == "imagenet" else 0
        self.smallest_image = 2 ** (stages - 1 + stem_halvings)
        self.stem = _build_stem(stem, in_channels=in_channels, filters=filters, macro=macro)
        self.layers, channels = nn.ModuleList(), filters
        for stage, num_cells in enumerate(cells):
            if stage > 0:
                reduction = candidates["reduction"]
                self.layers.append(ReductionLayer(channels, reduction, shortcut=shortcut, build_cell=build_cell))
                channels *= 2
            for _ in range(num_cells):
                self.layers.append(NormalLayer(channels, candidates["normal"], build_cell=build_cell))
        self.dropout = make_dropout(dropout)
        self.classifier = nn.Linear(channels, num_classes, bias=False)
        initialise(self)

    def forward(self, images: Tensor, genotype: Genotype, *, drop_prob: float | Tensor = 0.0) -> Tensor:
        """Classifies images with the genotype's path.

        Args:
            images: (N, in_channels, H, W), normalised.
            genotype: Among the candidates.
            drop_prob: Drop-path probability at the depth of the head; layer i of L has (i + 1) / (L + 2) of it, as in
                ENAS's code. 0.0 switches drop-path off; a tensor of shape () is read on the device.

        Returns:
            Logits, (N, num_classes).
        """
        x = self.stem(images)
        depth = len(self.layers) + 2
        for i, layer in enumerate(self.layers):
            x = layer(x, genotype, drop_prob=drop_prob * ((i + 1) / depth))
        x = F.relu(x).mean(dim=(2, 3))  # (N, C)
        logits: Tensor = self.classifier(self.dropout(x))
        return logits


def _build_stem(stem: str, *, in_channels: int, filters: int, macro: str) -> nn.Sequential:
    """Returns the stem, of stride 4 in the ImageNet macro, and of 8 if it is ImageNet's itself."""
    if stem == "imagenet":
        half = filters // 2
        halving = [conv_bn(in_channels, half, stride=2), nn.ReLU(), conv_bn(half, filters, stride=2), nn.ReLU()]
        return nn.Sequential(*halving, conv_bn(filters, filters, stride=2))
    width = 3 * filters if stem == "enas" else filters
    first = conv_bn(in_channels, width, stride=2 if macro == "imagenet" else 1)
    second = relu_conv_bn(width, filters) if stem == "enas" else nn.Sequential()
    pool = [nn.MaxPool2d(3, 2, padding=1)] if macro == "imagenet" else []
    return nn.Sequential(*first, *second, *pool)
