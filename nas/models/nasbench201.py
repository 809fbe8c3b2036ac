"""The network of NAS-Bench-201 (Dong & Yang 2020, arXiv:2001.00326, §2.1): one class for supernet and derived model."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from nas.models.macro import build_mixers, cells_of_stages, check_candidates, conv_bn
from search_spaces.cells import Cell, CellCandidates
from search_spaces.genotype import Genotype
from search_spaces.ops import batch_norm

STAGES = 3


class CellLayer(nn.Module):
    """A cell, and the mixer after it, which in this search space is the identity.

    Args:
        channels: C, in and out.
        candidates: Candidates of the cell.
        affine: As in `Cell`.
    """

    def __init__(self, channels: int, candidates: CellCandidates, *, affine: bool) -> None:
        super().__init__()
        self.cell = Cell(channels, candidates, strided=False, affine=affine)
        self.mixers = build_mixers(candidates, channels)

    def forward(self, x: Tensor, genotype: Genotype, *, drop_prob: float | Tensor = 0.0) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        out: Tensor = self.mixers[genotype.normal.mixer](self.cell([x], genotype.normal, drop_prob=drop_prob))
        return out

    def path_modules(self, genotype: Genotype) -> list[nn.Module]:
        """Returns the ops and the mixer that `forward` would compute."""
        return [*self.cell.path_ops(genotype.normal), self.mixers[genotype.normal.mixer]]


class ResidualReduction(nn.Module):
    """The residual block between two stages: twice the channels at half the resolution, the same in every model.

    Two times relu–3x3 convolution–BN, the first of stride 2, plus a 1x1 convolution of the 2x2 average.

    Args:
        channels: C of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = 2 * channels
        self.main = nn.Sequential(
            nn.ReLU(), conv_bn(channels, width, stride=2), nn.ReLU(), conv_bn(width, width, stride=1)
        )
        pool = nn.AvgPool2d(2, ceil_mode=True)  # the last row of an odd number is averaged by itself
        self.shortcut = nn.Sequential(pool, nn.Conv2d(channels, width, 1, bias=False))

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Maps (N, C, H, W) to (N, 2C, ⌈H / 2⌉, ⌈W / 2⌉)."""
        out: Tensor = self.main(x) + self.shortcut(x)
        return out

    def path_modules(self, genotype: Genotype) -> list[nn.Module]:  # noqa: ARG002
        """Returns the parts, which every path takes."""
        return [self.main, self.shortcut]


class NASBench201Network(nn.Module):
    """Stem, three stages of cells with a residual block between two, head.

    The cells have C channels in the first stage and twice as many in each further one. In the paper C is 16 and a stage
    has 5 cells; the parameters then equal those of the benchmark's table, to which every op of the cell counts.
    Weights start as torch's layers do.

    A deviation: an edge that no path from the cell's input to its output takes is not computed. The authors compute
    it, so that there a convolution of zeros adds what its batch norm shifts by.

    Args:
        candidates: By cell name, what may be chosen: `space.candidates()` for the supernet,
            `genotype_candidates(genotype)` for the derived model.
        in_channels: Channels of the images.
        num_classes: Outputs of the head.
        filters: C, at least 1.
        cells_per_stage: Cells in a stage: one number, or three.
        affine: Whether batch norm within the cells' ops has a factor and a summand for each channel: the paper's
            derived models have it, the supernets of the authors' code do not.

    Raises:
        ValueError: If an argument is out of range, or the cells are of another form.
    """

    def __init__(
        self,
        candidates: Mapping[str, CellCandidates],
        *,
        in_channels: int,
        num_classes: int,
        filters: int = 16,
        cells_per_stage: int | Sequence[int] = 5,
        affine: bool = True,
    ) -> None:
        super().__init__()
        check_candidates(
            candidates, network="NASBench201Network", num_inputs=1, spaces="nasbench201", cells=("normal",)
        )
        if filters < 1:
            raise ValueError(f"filters must be at least 1, got {filters}")
        self.smallest_image = 2 ** (STAGES - 1)
        self.stem = conv_bn(in_channels, filters, stride=1)
        self.layers = nn.ModuleList()
        channels = filters
        for stage, num_cells in enumerate(cells_of_stages(cells_per_stage, STAGES)):
            if stage > 0:
                self.layers.append(ResidualReduction(channels))
                channels *= 2
            for _ in range(num_cells):
                self.layers.append(CellLayer(channels, candidates["normal"], affine=affine))
        self.norm = batch_norm(channels)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor, genotype: Genotype, *, drop_prob: float | Tensor = 0.0) -> Tensor:
        """Classifies images with the genotype's path.

        Args:
            images: (N, in_channels, H, W), normalised.
            genotype: Among the candidates.
            drop_prob: Drop-path probability at the depth of the head; layer i of L has (i + 1) / (L + 2) of it. The
                paper has none. 0.0 switches it off; a tensor of shape () is read on the device.

        Returns:
            Logits, (N, num_classes).
        """
        x = self.stem(images)
        depth = len(self.layers) + 2
        for i, layer in enumerate(self.layers):
            x = layer(x, genotype, drop_prob=drop_prob * ((i + 1) / depth))
        logits: Tensor = self.classifier(F.relu(self.norm(x)).mean(dim=(2, 3)))
        return logits
