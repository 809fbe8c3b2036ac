"""The network of NASNet's descendants: cells stacked one on the other, each reading the two layers before it.

Its two macro-architectures are those in which the published pair-block cells were counted and trained: `enas` (Pham et
al. 2018, arXiv:1802.03268, §2.4 and the released code's micro network) and `darts` (Liu et al. 2018, arXiv:1806.09055,
§3.1 and the released code's CIFAR and ImageNet networks). As with ShuffleNASNet, one class is supernet and derived
model.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

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
from search_spaces.cells import Cell, CellCandidates
from search_spaces.genotype import Genotype
from search_spaces.ops import FactorizedReduction, batch_norm, relu_conv_bn

STAGES = 3
STEM_WIDTH = 3  # channels of the CIFAR stem, in filters
MACROS = ("enas", "darts")
STEMS = ("cifar", "imagenet")
AUXILIARY_CHANNELS = (128, 768)


class AuxiliaryHead(nn.Module):
    """A second classifier on an inner layer, for training only (the code of ENAS and DARTS; Szegedy et al. 2015).

    relu, 5x5 average pooling of stride 3, 1x1 conv to 128, BN, relu, 2x2 conv to 768, BN, relu, mean, linear. The
    published ones are made for layers of 8x8; smaller layers are pooled to 2x2.

    Args:
        channels: C of the layer.
        num_classes: Outputs.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        first, second = AUXILIARY_CHANNELS
        self.features = nn.Sequential(
            nn.Conv2d(channels, first, 1, bias=False),
            batch_norm(first),
            nn.ReLU(),
            nn.Conv2d(first, second, 2, bias=False),
            batch_norm(second),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(second, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to logits (N, num_classes)."""
        x = F.relu(x)
        x = F.avg_pool2d(x, 5, 3) if min(x.shape[2:]) >= 8 else F.adaptive_avg_pool2d(x, 2)
        logits: Tensor = self.classifier(self.features(x).mean(dim=(2, 3)))
        return logits


class StackedLayer(nn.Module):
    """Brings the two layers read to C channels and one resolution, computes the cell, mixes.

    `enas`: the older layer passes a factorized reduction if it has twice the resolution and a 1x1 convolution if it
    has other channels, the newer a 1x1 convolution if it has other channels and then always another. `darts`: each
    passes one of the two always.

    Args:
        in_channels: Channels of the layer before the last, and of the last.
        channels: C of the cell.
        candidates: Candidates of the cell.
        reducing: Whether this is a reduction layer.
        older_is_larger: Whether the layer before the last has twice the resolution of the last.
        macro: One of `MACROS`.
        build_cell: Makes the cell.
    """

    def __init__(
        self,
        in_channels: tuple[int, int],
        channels: int,
        candidates: CellCandidates,
        *,
        reducing: bool,
        older_is_larger: bool,
        macro: str,
        build_cell: Callable[..., Cell],
    ) -> None:
        super().__init__()
        self.reducing = reducing
        older, newer = in_channels
        always = macro == "darts"
        self.calibrate_older: nn.Module
        if older_is_larger:
            self.calibrate_older = FactorizedReduction(older, channels)
        else:
            self.calibrate_older = relu_conv_bn(older, channels) if always or older != channels else nn.Identity()
        self.calibrate_newer = relu_conv_bn(newer, channels) if always or newer != channels else nn.Identity()
        self.base = nn.Identity() if macro == "darts" else relu_conv_bn(channels, channels)
        self.cell = build_cell(channels, candidates, strided=reducing)
        self.out_channels = self.cell.out_channels
        self.mixers = build_mixers(candidates, self.out_channels)

    def forward(self, older: Tensor, newer: Tensor, genotype: Genotype, *, drop_prob: float | Tensor = 0.0) -> Tensor:
        """Maps two layers (N, C₀, H₀, W₀) and (N, C₁, H, W) to (N, C', H, W), or half of H and W if reducing."""
        cell = reduction_cell(genotype) if self.reducing else genotype.normal
        inputs = [self.calibrate_older(older), self.base(self.calibrate_newer(newer))]
        out: Tensor = self.mixers[cell.mixer](self.cell(inputs, cell, drop_prob=drop_prob))
        return out

    def path_modules(self, genotype: Genotype) -> list[nn.Module]:
        """Returns the ops and the mixer that `forward` would compute."""
        cell = reduction_cell(genotype) if self.reducing else genotype.normal
        return [*self.cell.path_ops(cell), self.mixers[cell.mixer]]


class StackedCells(nn.Module):
    """Stem, three stages of normal layers with a reduction layer between two, head.

    The cells of the first stage have F channels, twice as many after every reduction; with merge `concat` a layer has k
    times those of its cell. ENAS's "15+2" is `cells_per_stage=5`, a DARTS network of 20 cells `cells_per_stage=6`.

    | | `enas` | `darts` |
    |---|---|---|
    | drop-path | grows with depth, layer i of L has (i + 1) / (L + 2) of it | the same in all layers |
    | head | relu, mean, linear without bias | mean, linear with bias |

    and see `StackedLayer` for how inputs are calibrated. Deviations from the released codes, none of which changes a
    count: strided identities and calibrations of ENAS begin with relu as they do in DARTS; ENAS's search network halves
    the resolution before the reduction cell, this one within it, as both codes do for the final network; strided ops
    pad both sides alike, where TensorFlow's ENAS pads the far side; drop-path spares every identity, where DARTS drops
    the strided ones; initial weights are ENAS's, where DARTS has torch's default; and the auxiliary head is that of the
    CIFAR networks with either stem.

    Args:
        candidates: By cell name, what may be chosen; cells of two inputs.
        in_channels: Channels of the images.
        num_classes: Outputs of the head.
        filters: F, at least 2.
        cells_per_stage: Normal layers in a stage: one number, or three.
        macro: `enas` or `darts`.
        stem: `cifar` (3x3 conv to 3F, BN) or `imagenet` (three strided 3x3 convs; the first layer reads the output of
            the second and of the third, as in the code of DARTS).
        merge: `concat`, as published; `concat_conv1x1`, as in ENAS's search; or `sum`.
        merge_batch_norm: Whether batch norm follows the merge.
        sharing: `op` or `edge`: what has shared weights of its own in the supernet, see `Cell`.
        affine: Whether batch norm within the cells' ops has a factor and a summand for each channel.
        dropout: Probability before the linear layer, in [0, 1).
        auxiliary: Whether there is an auxiliary head, after the first layer of the last stage (`enas`) or the second
            reduction layer (`darts`).

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
        cells_per_stage: int | Sequence[int] = 6,
        macro: str = "darts",
        stem: str = "cifar",
        merge: str = "concat",
        merge_batch_norm: bool = False,
        sharing: str = "op",
        affine: bool = True,
        dropout: float = 0.0,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        check_candidates(candidates, network="StackedCells", num_inputs=2, spaces="nasnet or darts")
        if filters < 2:
            raise ValueError(f"filters must be at least 2, got {filters}")
        check_choices(macro=(macro, MACROS), stem=(stem, STEMS))
        cells = cells_of_stages(cells_per_stage, STAGES)
        build_cell = partial(Cell, merge=merge, merge_batch_norm=merge_batch_norm, sharing=sharing, affine=affine)
        self.macro = macro
        self.smallest_image = 2 ** (STAGES - 1 + (3 if stem == "imagenet" else 0))
        self.stem, self.second_stem, width = _build_stem(stem, in_channels=in_channels, filters=filters)

        reductions = (cells[0], cells[0] + cells[1] + 1)
        channels, widths, older_is_larger = filters, (width, width), stem == "imagenet"
        self.layers = nn.ModuleList()
        for number in range(sum(cells) + len(reductions)):
            reducing = number in reductions
            channels *= 2 if reducing else 1
            layer = StackedLayer(
                widths,
                channels,
                candidates["reduction" if reducing else "normal"],
                reducing=reducing,
                older_is_larger=older_is_larger,
                macro=macro,
                build_cell=build_cell,
            )
            self.layers.append(layer)
            widths, older_is_larger = (widths[1], layer.out_channels), reducing
        self.auxiliary_layer = reductions[1] + (1 if macro == "enas" else 0)
        self.auxiliary = (
            AuxiliaryHead(self.layers[self.auxiliary_layer].out_channels, num_classes)  # type: ignore[arg-type]
            if auxiliary
            else None
        )
        self.dropout = make_dropout(dropout)
        self.classifier = nn.Linear(widths[1], num_classes, bias=macro == "darts")
        initialise(self)

    def forward(
        self, images: Tensor, genotype: Genotype, *, drop_prob: float | Tensor = 0.0, auxiliary: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Classifies images with the genotype's path.

        Args:
            images: (N, in_channels, H, W), normalised.
            genotype: Among the candidates.
            drop_prob: Drop-path probability; 0.0 switches it off, a tensor of shape () is read on the device.
            auxiliary: Whether the auxiliary head classifies them too.

        Returns:
            Logits, (N, num_classes); with `auxiliary` also those of the auxiliary head.

        Raises:
            ValueError: If `auxiliary` and the network has no auxiliary head.
        """
        if auxiliary and self.auxiliary is None:
            raise ValueError("the network has no auxiliary head; add network.auxiliary=true")
        older = self.stem(images)
        newer = self.second_stem(older)
        auxiliary_logits: Tensor | None = None
        depth = len(self.layers) + 2
        for i, layer in enumerate(self.layers):
            layer_drop_prob = drop_prob * ((i + 1) / depth) if self.macro == "enas" else drop_prob
            older, newer = newer, layer(older, newer, genotype, drop_prob=layer_drop_prob)
            if auxiliary and self.auxiliary is not None and i == self.auxiliary_layer:
                auxiliary_logits = self.auxiliary(newer)
        x = F.relu(newer) if self.macro == "enas" else newer
        logits: Tensor = self.classifier(self.dropout(x.mean(dim=(2, 3))))
        return logits if auxiliary_logits is None else (logits, auxiliary_logits)


def _build_stem(stem: str, *, in_channels: int, filters: int) -> tuple[nn.Module, nn.Module, int]:
    """Returns what makes the first two layers out of the images, and their channels."""
    if stem == "cifar":
        width = STEM_WIDTH * filters
        return nn.Sequential(conv_bn(in_channels, width, stride=1)), nn.Identity(), width
    half = filters // 2
    first = nn.Sequential(conv_bn(in_channels, half, stride=2), nn.ReLU(), conv_bn(half, filters, stride=2))
    return first, nn.Sequential(nn.ReLU(), conv_bn(filters, filters, stride=2)), filters
