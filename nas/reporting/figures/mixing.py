"""The learned permutations of a trained model, drawn as matrices."""

from collections.abc import Sequence

import numpy as np

from nas.reporting.figures.figures import Axis, Chart, Images
from nas.reporting.figures.series import curve, grouped
from nas.reporting.page.records import RunRecord
from nas.runs.checkpoints import load_weights

WEIGHTS = "weights.safetensors"
LEARNED = ("auto_shuffle", "kaleidoscope", "mixer")  # in names of layers whose permutation was learned
MAX_MATRICES, IN_A_ROW = 16, 4
CAPTION = (
    "The permutations that training arrived at, after hardening: a square in row i and column j means that output "
    "channel i is input channel j. The identity is the diagonal from the upper left; ShuffleNet's fixed shuffle of two "
    "groups is two steep diagonals next to each other. Above each matrix stand the channels C and how many of them "
    "come from elsewhere than in the fixed shuffle.{rest}"
)


def distance_charts(run: RunRecord) -> list[Chart]:
    """Draws how far the mixers of a run were from permutations, a line for each training of the found cell."""
    seeds = grouped([row for row in run.rows("retrain.csv") if row.get("label") == "found"], "seed")
    series = [
        curve(rows, "mixer_distance", along="epoch", name=f"seed {rows[0]['seed']:.0f}", colour=colour)
        for colour, rows in enumerate(seeds.values())
        if any(row.get("mixer_distance") is not None for row in rows)
    ]
    title, x = "Distance of the mixers from permutations", Axis("epoch of the retraining", whole=True)
    caption = (
        "The largest difference of an entry of a mixer's matrix from that of the nearest permutation. At 0 nothing is "
        "lost by hardening; the line ends where the mixers were hardened."
    )
    return [Chart(f"{run.key}--mixer-distance", title, caption, x, Axis("largest difference of an entry"), series)]


def permutation_images(run: RunRecord) -> list[Images]:
    """Draws the permutations among the weights of a run; nothing if it has none."""
    file = run.folder / WEIGHTS
    weights = load_weights(file) if file.is_file() else {}
    found = {
        name.removesuffix(".index"): value.tolist()
        for name, value in weights.items()
        if name.endswith(".index") and value.ndim == 1 and not value.is_floating_point()
        if any(kind in name for kind in LEARNED)
    }
    if odd := [name for name, index in found.items() if sorted(index) != list(range(len(index)))]:
        raise ValueError(f"{odd[0]} is not a permutation")
    shown = list(found.items())[:MAX_MATRICES]
    rest = f" The first {len(shown)} of {len(found)} are drawn." if len(shown) < len(found) else ""
    images = [(f"{_layer_name(name)}, C = {len(i)}, {off_shuffle(i)} off", np.eye(len(i))[i]) for name, i in shown]
    rows = {" " * start: images[start : start + IN_A_ROW] for start in range(0, len(images), IN_A_ROW)}
    figure = Images(f"{run.key}--permutations", "Learned permutations", CAPTION.format(rest=rest), rows)
    return [figure] if found else []


def off_shuffle(index: Sequence[int]) -> int:
    """Returns how many output channels do not come from where the fixed shuffle of two groups takes them from."""
    half = (len(index) + 1) // 2
    return sum(source != output // 2 + half * (output % 2) for output, source in enumerate(index))


def _layer_name(name: str) -> str:
    """Returns `3, mixer` for `layers.3.mixers.kaleidoscope`, and `3, op 1` for an op of its cell."""
    parts = name.split(".")
    if parts[:1] == ["layers"] and len(parts) > 2:
        part = "mixer" if "mixers" in parts else f"op {parts[-1 if not parts[-1].isdigit() else -2].split('_')[0]}"
        return f"{parts[1]}, {part}"
    return name
