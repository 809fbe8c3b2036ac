"""The network of ShuffleNASNet (arXiv:1812.02975, §III-B): one class for the supernet and for derived models.

Built with every candidate it is the supernet; built with one genotype's edges it is the derived model. Parameters have
the same names in both, so weights move between them by key and give bitwise equal outputs.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.cells import Cell, CellCandidates
from search_spaces.genotype import CellGenotype, Genotype
from search_spaces.ops import FactorizedReduction, SeparableConv, batch_norm, relu_conv_bn
from search_spaces.shuffles import build_mixer

CellBuilder = Callable[..., Cell]
"""Makes a cell from channels, candidates and `strided`."""

SHORTCUTS = ("factorized_reduction", "sep_conv", "reduction_cell")
STEMS = ("enas", "plain")


class NormalLayer(nn.Module):
    """Split in halves, cell on the first half, concatenate, mix (arXiv:1812.02975, Figure 3).

    Args:
        channels: C, even.
        candidates: Of the normal cell.
        build_cell: Makes the cell.
    """

    def __init__(self, channels: int, candidates: CellCandidates, *, build_cell: CellBuilder = Cell) -> None:
        super().__init__()
        self.cell = build_cell(channels // 2, candidates, strided=False)
        self.mixers = _build_mixers(candidates, channels)

    def forward(self, x: Tensor, genotype: Genotype, *, drop_prob: float | Tensor = 0.0) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        first, second = x.chunk(2, dim=1)
        first = self.cell([first], genotype.normal, drop_prob=drop_prob)
        out: Tensor = self.mixers[genotype.normal.mixer](torch.cat([first, second], dim=1))
        return out


class ReductionLayer(nn.Module):
    """All channels into the strided cell and into the shortcut, concatenate to 2C, mix (arXiv:1812.02975, §IV-E).

    The paper's "channels are shuffled after each layer" is read to include these; the mixer `identity` in the reduction
    cell switches that off.

    Args:
        channels: C of the input.
        candidates: Of the reduction cell.
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
        self.mixers = _build_mixers(candidates, 2 * channels)

    def forward(self, x: Tensor, genotype: Genotype, *, drop_prob: float | Tensor = 0.0) -> Tensor:
        """Maps (N, C, H, W) to (N, 2C, ⌈H / 2⌉, ⌈W / 2⌉)."""
        cell = _reduction_cell(genotype)
        main = self.cell([x], cell, drop_prob=drop_prob)
        bypass = self.shortcut([x], cell, drop_prob=drop_prob) if isinstance(self.shortcut, Cell) else self.shortcut(x)
        out: Tensor = self.mixers[cell.mixer](torch.cat([main, bypass], dim=1))
        return out


class ShuffleNASNet(nn.Module):
    """Stem, stages of normal layers with a reduction layer between two, head.

    The channels are F in the first stage and double with every reduction. With 3 stages, `cells_per_stage=4` is the
    paper's "12+2" and 5 its "15+2".

    Args:
        candidates: By cell name, what may be chosen: `space.candidates()` for the supernet,
            `genotype_candidates(genotype)` for the derived model.
        in_channels: Of the images.
        num_classes: Outputs of the head.
        filters: F, the channels of the first stage, even.
        cells_per_stage: Normal layers in a stage.
        stages: Resolutions.
        stem: `enas` (3x3 conv to 3F, BN, relu, 1x1 conv to F, BN) or `plain` (3x3 conv to F, BN).
        shortcut: Past the reduction cells: one of `SHORTCUTS` (§IV-E).
        merge: `sum` or `concat_conv1x1` (§IV-D).
        merge_batch_norm: Whether batch norm follows the sum (§IV-D).
        sharing: `op` or `edge`: what has shared weights of its own in the supernet, see `Cell`.
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
        cells_per_stage: int = 4,
        stages: int = 3,
        stem: str = "enas",
        shortcut: str = "factorized_reduction",
        merge: str = "sum",
        merge_batch_norm: bool = False,
        sharing: str = "op",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if set(candidates) != {"normal", "reduction"}:
            raise ValueError(f"ShuffleNASNet needs a normal and a reduction cell, got {', '.join(candidates)}")
        for name, cell in candidates.items():
            if cell.num_inputs != 1:
                raise ValueError(
                    f"cells of ShuffleNASNet read one layer, the {name} cell reads {cell.num_inputs}; "
                    "this genotype needs another network"
                )
        if filters < 4 or filters % 2:
            raise ValueError(f"filters must be even and at least 4 (half of them pass a cell), got {filters}")
        if not 1 <= cells_per_stage <= 100:
            raise ValueError(f"cells_per_stage must lie in 1 … 100, got {cells_per_stage}")
        if not 1 <= stages <= 8:
            raise ValueError(f"stages must lie in 1 … 8, got {stages}")
        if stem not in STEMS:
            raise ValueError(f"stem must be one of {', '.join(STEMS)}, got {stem!r}")
        if merge not in ("sum", "concat_conv1x1"):
            raise ValueError(f"merge must be sum or concat_conv1x1, got {merge!r}")
        if shortcut not in SHORTCUTS:
            raise ValueError(f"shortcut must be one of {', '.join(SHORTCUTS)}, got {shortcut!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        build_cell = partial(Cell, merge=merge, merge_batch_norm=merge_batch_norm, sharing=sharing)
        self.stem = _build_stem(stem, in_channels=in_channels, filters=filters)
        layers: list[nn.Module] = []
        for stage in range(stages):
            if stage > 0:
                layers.append(
                    ReductionLayer(
                        filters * 2 ** (stage - 1),
                        candidates["reduction"],
                        shortcut=shortcut,
                        build_cell=build_cell,
                    )
                )
            layers += [
                NormalLayer(filters * 2**stage, candidates["normal"], build_cell=build_cell)
                for _ in range(cells_per_stage)
            ]
        self.layers = nn.ModuleList(layers)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(filters * 2 ** (stages - 1), num_classes, bias=False)
        _initialise(self)

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


class DerivedModel(nn.Module):
    """A network bound to its genotype: maps images to logits, for everything that expects an ordinary module.

    Args:
        network: Holds the genotype's edges.
        genotype: The path to compute.
    """

    def __init__(self, network: nn.Module, genotype: Genotype) -> None:
        super().__init__()
        self.network = network
        self.genotype = genotype

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, C, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.network(images, self.genotype)
        return logits


def copy_shared_weights(target: nn.Module, source: Mapping[str, Tensor]) -> None:
    """Copies into `target` every parameter and buffer that `source`, a supernet's state dict, holds under its name.

    Raises:
        ValueError: If a name is missing or a shape differs: the two were built with different settings.
    """
    own = target.state_dict()
    for name, value in own.items():
        if name not in source:
            raise ValueError(f"the supernet's weights lack {name}: it was built with other settings")
        if source[name].shape != value.shape:
            raise ValueError(
                f"{name} has shape {tuple(source[name].shape)} in the supernet and {tuple(value.shape)} here: "
                "both need the same network settings"
            )
    target.load_state_dict({name: source[name] for name in own})


def count_parameters(network: nn.Module) -> int:
    """Returns the number of weights of a network; for a supernet, of all its candidates together."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(network: nn.Module, genotype: Genotype, *, image_shape: tuple[int, int, int]) -> int:
    """Returns the multiply-adds of the convolutions and matrix products for one image.

    Args:
        network: Any device, "meta" included.
        genotype: The path to count.
        image_shape: (C, H, W).
    """
    device = next(network.parameters()).device
    training = network.training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros((1, *image_shape), device=device), genotype)
    network.train(training)
    return int(counter.get_total_flops()) // 2


def _build_mixers(candidates: CellCandidates, channels: int) -> nn.ModuleDict:
    return nn.ModuleDict({name: build_mixer(name, channels) for name in sorted(candidates.mixers)})


def _build_stem(stem: str, *, in_channels: int, filters: int) -> nn.Sequential:
    width = 3 * filters if stem == "enas" else filters
    layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, padding=1, bias=False), batch_norm(width)]
    if stem == "enas":
        layers += relu_conv_bn(width, filters)
    return nn.Sequential(*layers)


def _reduction_cell(genotype: Genotype) -> CellGenotype:
    if genotype.reduction is None:
        raise ValueError("the genotype has no reduction cell")
    return genotype.reduction


def _initialise(network: nn.Module) -> None:
    """He-normal weights, as in ENAS's code."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
