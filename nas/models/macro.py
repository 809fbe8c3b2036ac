"""Parts that the macro-architectures share: numbers of cells, stems, mixers, initial weights."""

from collections.abc import Collection, Mapping, Sequence

from torch import nn

from search_spaces.cells import CellCandidates
from search_spaces.genotype import CellGenotype, Genotype
from search_spaces.mixers import Mixer
from search_spaces.ops import batch_norm
from search_spaces.shuffles import build_mixer
from search_spaces.space import CELLS

MAX_CELLS = 100  # in a stage


def cells_of_stages(cells_per_stage: int | Sequence[int], stages: int) -> list[int]:
    """Returns the number of normal cells of each stage; one number stands for all stages.

    Raises:
        ValueError: If a number is out of range or there are not as many as stages.
    """
    if not 1 <= stages <= 8:
        raise ValueError(f"stages must lie in 1 … 8, got {stages}")
    cells = [cells_per_stage] * stages if isinstance(cells_per_stage, int) else list(cells_per_stage)
    if len(cells) != stages:
        raise ValueError(f"cells_per_stage must be one number or {stages}, one a stage, got {cells}")
    if any(not 1 <= number <= MAX_CELLS for number in cells):
        raise ValueError(f"cells_per_stage must lie in 1 … {MAX_CELLS}, got {cells_per_stage}")
    return cells


def check_candidates(
    candidates: Mapping[str, CellCandidates],
    *,
    network: str,
    num_inputs: int,
    spaces: str,
    cells: Sequence[str] = CELLS,
) -> None:
    """Checks that a network can be built of some cells.

    Args:
        candidates: By cell name.
        network: Name of the network, for the message.
        num_inputs: How many layers its cells read.
        spaces: Config groups of the spaces that it is for, for the message.
        cells: Names of its cells.

    Raises:
        ValueError: If there are other cells, or one reads another number of layers; the message names the network that
            is made of such cells.
    """
    for name, cell in candidates.items():
        if set(candidates) != set(cells) or cell.num_inputs != num_inputs:
            pairs = "network=enas or network=darts" if cell.num_inputs > 1 else "network=shufflenasnet"
            raise ValueError(
                f"{network} needs {' and '.join(f'a {one} cell' for one in cells)} with inputs: {num_inputs}; got "
                f"{' and '.join(candidates)}, the {name} cell with inputs: {cell.num_inputs}; such cells need "
                f"{pairs if 'reduction' in candidates else 'network=nasbench201'}, and this network "
                f"search_space={spaces}"
            )


def check_choices(**given: tuple[object, Collection[object]]) -> None:
    """Raises ValueError unless each setting, given with its choices, is one of them."""
    for name, (value, choices) in given.items():
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")


def make_dropout(probability: float) -> nn.Dropout:
    """Returns the dropout before the linear layer; raises ValueError unless the probability lies in [0, 1)."""
    if not 0 <= probability < 1:
        raise ValueError(f"dropout must lie in [0, 1), got {probability}")
    return nn.Dropout(probability)


def build_mixers(candidates: CellCandidates, channels: int) -> nn.ModuleDict:
    """Makes every mixer that may follow a layer of C = `channels`."""
    return nn.ModuleDict({name: build_mixer(name, channels) for name in sorted(candidates.mixers)})


def reduction_cell(genotype: Genotype) -> CellGenotype:
    """Returns the genotype's reduction cell.

    Raises:
        ValueError: If it has none.
    """
    if genotype.reduction is None:
        raise ValueError("the genotype has no reduction cell")
    return genotype.reduction


def conv_bn(in_channels: int, out_channels: int, *, stride: int) -> nn.Sequential:
    """Returns a 3x3 convolution and batch norm, of which stems are made."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False), batch_norm(out_channels)
    )


def initialise(module: nn.Module) -> None:
    """Gives convolutions and linear layers He-normal weights, as in ENAS's code; mixers keep their own start."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for child in module.children():
        if not isinstance(child, Mixer):
            initialise(child)
