"""Table I of the ShuffleNASNet paper (arXiv:1812.02975): what is published, and of which cells this code has models."""

from dataclasses import dataclass

from search_spaces.published import PUBLISHED, PublishedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table; errors are test errors on CIFAR-10 in percent.

    Attributes:
        method: As the paper calls it.
        cells: Cells or layers, as the paper writes them.
        filters: As published.
        published_parameters: As published.
        error: Error with the usual augmentation.
        cutout_error: Error with Cutout.
        name: Name of the published cell; None where there is only literature.
        model: Its network, with the count it must have.
    """

    method: str
    cells: str = ""
    filters: int | None = None
    published_parameters: str = ""
    error: float | None = None
    cutout_error: float | None = None
    name: str | None = None
    model: PublishedModel | None = None


def _literature(
    method: str, cells: str, parameters: str, error: float | None, cutout_error: float | None = None
) -> Row:
    return Row(method=method, cells=cells, published_parameters=parameters, error=error, cutout_error=cutout_error)


def _published(name: str, *, cells: str = "", filters: int | None = None) -> list[Row]:
    cell = PUBLISHED[name]
    return [
        Row(
            method=cell.title,
            cells=cells or model.cells,
            filters=filters or model.settings["filters"],
            published_parameters=model.published_parameters,
            error=model.error,
            cutout_error=model.cutout_error,
            name=name,
            model=model,
        )
        for model in cell.models
    ]


TABLE_I: tuple[Row, ...] = (
    _literature("FractalNet", "20", "38.6M", 4.60),
    _literature("PreAct ResNet", "164", "1.7M", 5.46),
    _literature("DenseNet-BC (k=12)", "100", "0.8M", 4.51),
    _literature("DenseNet-BC (k=40)", "190", "25.6M", 3.46),
    _literature("WRN-40-4", "40", "8.9M", 4.53),
    _literature("WRN-27-10", "28", "36.5M", 3.89),
    _literature("PyramidNet (α=48)", "", "1.7M", 4.58),
    _literature("PyramidNet (α=84)", "", "3.8M", 4.26),
    _literature("SMASHv1", "", "4.6M", 5.53),
    *_published("darts_v1"),
    *_published("darts_v2"),
    _literature("DPP-Net-WS", "", "1.0M", 4.78),
    _literature("DPP-Net-M", "", "0.45M", 5.84),
    _literature("DPP-Net-Panacea", "", "0.52M", 4.62),
    *_published("nasnet_a", filters=32),
    *_published("pnas_5", cells="9+2", filters=36),
    _literature("AmoebaNet-B", "18+2", "2.8M", 3.37, 2.55),
    *_published("amoebanet_a"),
    *_published("enas"),
    *_published("shufflenasnet_a"),
    *_published("shufflenasnet_b"),
)
"""AmoebaNet-A is not in the paper's table: its cell is known in DARTS's macro-architecture, AmoebaNet-B's is not."""
