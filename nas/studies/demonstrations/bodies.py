"""ShuffleNet v1, v2 and ShuffleNASNet with each mixer in the place of their shuffle, trained alike on real images.

The bodies in which AutoShuffleNet (arXiv:1901.08624), Dynamic Shuffle (arXiv:2310.02776) and kaleidoscope matrices
(arXiv:2012.14966) were measured. A learned permutation costs at inference what the fixed shuffle does; the columns of
parameters and multiply-adds say what the others add.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from nas.compute.device import Runtime
from nas.data.named import ImageData
from nas.models.derived import model_size
from nas.models.hardening import harden_mixers
from nas.models.shufflenasnet import ShuffleNASNet
from nas.models.shufflenets import ShuffleNetV1, ShuffleNetV2
from nas.runs.intervals import mean_interval, spread
from nas.runs.seeds import derive_seed, seed_everything
from nas.studies.demonstrations.rows import Row, Rows, demonstration
from nas.studies.demonstrations.settings import BodiesSettings
from nas.training.member import Member, final_accuracy, train_member
from nas.training.settings import RetrainSettings
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.published import PUBLISHED

FIXED = "channel_shuffle"
TRAINING = ("epochs", "batch_size", "lr_max", "weight_decay", "mixer_penalty", "harden_epoch")
"""The settings that are those of every training."""


@demonstration()
def bodies(settings: BodiesSettings, *, seed: int, data: ImageData, runtime: Runtime, folder: Path) -> Rows:
    """ShuffleNet v1, v2 and ShuffleNASNet with each mixer in the place of their shuffle, trained alike on real images.

    A run that was stopped resumes. Trial t trains with `seed` + t. A row is of a body and a mixer: test accuracy in
    [0, 1] as mean and standard deviation over the trials, the mean difference to the fixed shuffle with its 95 %
    interval (trial by trial), the gap of hardening, and parameters and multiply-adds at inference.

    Args:
        settings: What is compared.
        seed: Seed of the first trial.
        data: Trained on `full`, tested on `test`.
        runtime: Where it is trained.
        folder: Folder of the trainings' checkpoints.

    Returns:
        `accuracies`, every trial's; and what they were measured on.
    """
    reached: dict[str, dict[str, tuple[float, ...]]] = {body: {} for body in settings.bodies}
    for body in settings.bodies:
        for mixer in sorted(settings.mixers, key=lambda name: name != FIXED):
            seeds = range(seed, seed + settings.trials)
            trials = [_train(body, mixer, settings, seed=s, data=data, runtime=runtime, folder=folder) for s in seeds]
            accuracies = spread([final_accuracy(trial, last_epochs=1) for trial in trials])
            reached[body][mixer] = accuracies.values
            gaps = [row for trial in trials for row in trial if "hard_test_accuracy" in row]
            network, genotype = build_body(body, mixer, settings, data=data)
            harden_mixers(network, linear_maps=True)
            yield {
                **{"body": body, "mixer": mixer, "test_accuracy": accuracies.mean, "std": accuracies.std},
                "trials": settings.trials,
                **_compared(reached[body], mixer),
                "soft": _mean([gap["soft_test_accuracy"] for gap in gaps]),
                "hard": _mean([gap["hard_test_accuracy"] for gap in gaps]),
                "distance": max((gap["hardening_distance"] for gap in gaps), default=None),
                **model_size(network, genotype, image_shape=data.image_shape),
                "train_seconds": sum(row["seconds"] for trial in trials for row in trial),
            }
    return {
        "accuracies": reached,
        "data": data.name,
        "train_images": len(data.full),
        "test_images": len(data.test),
    }


def build_body(
    body: str, mixer: str, settings: BodiesSettings, *, data: ImageData
) -> tuple[nn.Module, Genotype | None]:
    """Makes a body with a mixer for a data set; returns it and, if it is made of cells, these."""
    shape: dict[str, Any] = {"num_classes": data.num_classes, "in_channels": data.image_shape[0]}
    if body == "shufflenet_v2":
        return ShuffleNetV2(mixer=mixer, width=settings.v2_width, macro="cifar", **shape), None
    if body.startswith("shufflenet_v1"):
        groups = int(body.rpartition("g")[2])
        return ShuffleNetV1(groups=groups, mixer=mixer, width=settings.v1_width, macro="cifar", **shape), None
    published = PUBLISHED["shufflenasnet_a"].genotype
    cells = {name: replace(cell, mixer=mixer) for name, cell in published.cells.items()}
    genotype = Genotype(space=published.space, **cells)
    kind: dict[str, Any] = {"filters": settings.filters, "macro": settings.nasnet_macro, **shape}
    return ShuffleNASNet(genotype_candidates(genotype), cells_per_stage=1, merge_batch_norm=True, **kind), genotype


def _compared(reached: dict[str, tuple[float, ...]], mixer: str) -> dict[str, float | None]:
    """Returns how much better than the fixed shuffle a mixer is, and the interval's ends, as far as there are any."""
    if mixer == FIXED or FIXED not in reached:
        return {"difference": None, "low": None, "high": None}
    gains = [one - fixed for one, fixed in zip(reached[mixer], reached[FIXED], strict=True)]
    low, high = mean_interval(gains, bounds=(-1.0, 1.0)) or (None, None)
    return {"difference": _mean(gains), "low": low, "high": high}


def _train(
    body: str, mixer: str, settings: BodiesSettings, *, seed: int, data: ImageData, runtime: Runtime, folder: Path
) -> list[Row]:
    seed_everything(derive_seed(seed, "bodies", body))
    network, genotype = build_body(body, mixer, settings, data=data)
    member = Member(label=f"{body}-{mixer}", seed=seed, genotype=genotype)
    chosen: dict[str, Any] = {name: getattr(settings, name) for name in TRAINING}
    return train_member(
        member,
        runtime.place(network),
        data=data,
        settings=RetrainSettings(**chosen, first_cycle=settings.epochs, last_epochs=1, evaluate_every=0),
        runtime=runtime,
        checkpoint=folder / f"{member.name}.pt",
        on_epoch=lambda row: None,  # noqa: ARG005
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
