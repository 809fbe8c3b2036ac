"""The learned permutations of a trained model, drawn as matrices."""

from nas.reporting.figures.figures import Axis, Block, Chart, Permutations
from nas.reporting.figures.series import curve
from nas.reporting.page.records import RunRecord, number
from nas.runs.checkpoints import load_weights

WEIGHTS = "weights.safetensors"
LEARNED = ("auto_shuffle", "kaleidoscope", "mixer")  # in names of layers whose permutation was learned
MAX_MATRICES = 16
CAPTION = (
    "The permutations that training arrived at, after hardening: a square in row i and column j means that output "
    "channel i is input channel j. The identity is the diagonal from the upper left; ShuffleNet's fixed shuffle of two "
    "groups is two steep diagonals beside each other. Below each matrix stand the channels C and how many of them come "
    "from elsewhere than in the fixed shuffle.{rest}"
)


def permutation_figures(run: RunRecord) -> list[Block]:
    """Draws the permutations among the weights of a run, and how far its mixers were from permutations."""
    blocks: list[Block] = []
    with run.reading("retrain.csv"):
        rows = [row for row in run.rows("retrain.csv") if row.get("label") == "found"]
        seeds = list(dict.fromkeys(row.get("seed") for row in rows))
        series = [
            curve(
                [row for row in rows if row.get("seed") == seed],
                "mixer_distance",
                along="epoch",
                name=f"seed {number(seed):.0f}",
                colour=i,
            )
            for i, seed in enumerate(seeds)
        ]
        chart = Chart(
            key=f"{run.key}--mixer-distance",
            title="Distance of the mixers from permutations",
            caption="The largest difference of an entry of a mixer's matrix from that of the nearest permutation. At 0 "
            "nothing is lost by hardening; the line ends where the mixers were hardened.",
            x=Axis(title="epoch of the retraining", whole=True),
            y=Axis(title="largest difference of an entry"),
            series=tuple(one for one in series if one.x),
        )
        blocks += [] if chart.empty else [chart]
    with run.reading(WEIGHTS):
        blocks += _matrices(run)
    return blocks


def _matrices(run: RunRecord) -> list[Permutations]:
    if not (run.folder / WEIGHTS).is_file():
        return []
    found = {
        name.removesuffix(".index"): value.tolist()
        for name, value in load_weights(run.folder / WEIGHTS).items()
        if name.endswith(".index") and value.ndim == 1 and not value.is_floating_point()
        if any(kind in name for kind in LEARNED)
    }
    for name, index in found.items():
        if sorted(index) != list(range(len(index))):
            raise ValueError(f"{name} is not a permutation")
    if not found:
        return []
    shown = dict(list(found.items())[:MAX_MATRICES])
    rest = f" The first {len(shown)} of {len(found)} are drawn." if len(shown) < len(found) else ""
    return [
        Permutations(
            key=f"{run.key}--permutations",
            title="Learned permutations",
            caption=CAPTION.format(rest=rest),
            names=[_layer_name(name) for name in shown],
            indices=list(shown.values()),
        )
    ]


def _layer_name(name: str) -> str:
    """Returns `layer 3, mixer` for `layers.3.mixers.kaleidoscope`, and `layer 3, op 1` for an op of its cell."""
    parts = name.split(".")
    if parts[:1] == ["layers"] and len(parts) > 2:
        part = "mixer" if "mixers" in parts else f"op {parts[-1 if not parts[-1].isdigit() else -2].split('_')[0]}"
        return f"layer {parts[1]}, {part}"
    return name
