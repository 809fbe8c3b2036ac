"""The truth that a prediction is held against: cells trained stand-alone for a short budget.

A training is that of `nas retrain` with the same settings and seed: all training images, from scratch, the accuracy on
the test images the mean over the last epochs. Test images have no part in a search, so that the truth shares no image
with the prediction. A finished training is a file, named after all that decides its result; so any ranking that needs
the same training can take it over.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from nas.compute.device import Runtime
from nas.data.named import ImageData
from nas.runs.checkpoints import previous_checkpoint, write_json
from nas.training.epoch_totals import DivergedError
from nas.training.member import Member
from nas.training.retrain_settings import RetrainSettings
from nas.training.retraining import final_accuracy, train_member
from search_spaces.genotype import Genotype

OF_OTHER_JOBS = ("seeds", "random_seeds", "random_turns", "warm_start", "checkpoint_seconds", "evaluate_every")
"""Settings of `nas retrain` that do not change what a training of a given seed comes to."""


@dataclass(frozen=True, slots=True)
class Training:
    """One stand-alone training.

    Attributes:
        genotype: The cell.
        seed: Of the weights and of the order and augmentation of the images.
        file: Where its result is kept.
    """

    genotype: Genotype
    seed: int
    file: Path


@dataclass(frozen=True, kw_only=True)
class CellTrainer:
    """All that a process needs to train cells; it can be pickled, and loads the data on first use.

    Attributes:
        settings: The protocol of a training.
        make_runtime: Chooses device and number format, and imports what a process must know beside.
        load_data: Loads the data set onto the device.
        make_network: Makes a member's model with its initial weights, for `data=` a data set.
    """

    settings: RetrainSettings
    make_runtime: Callable[[], Runtime]
    load_data: Callable[[Runtime], ImageData]
    make_network: Callable[..., nn.Module]

    @cached_property
    def runtime(self) -> Runtime:
        """Of this process."""
        return self.make_runtime()

    @cached_property
    def data(self) -> ImageData:
        """Of this process."""
        return self.load_data(self.runtime)

    def run(self, training: Training) -> dict[str, Any]:
        """Trains a cell, or goes on where its checkpoint stands, and writes its result.

        Returns:
            The result: `genotype`, `seed`, `test_accuracy` in [0, 1], `seconds` of training. A training that diverges
            has accuracy 0 and says so in `diverged`: one bad cell does not keep all others from being ranked.
        """
        member = Member(label="stand-alone", seed=training.seed, genotype=training.genotype)
        checkpoint = training.file.with_suffix(".pt")
        rows: list[dict[str, Any]] = []
        outcome: dict[str, Any]
        try:
            rows = train_member(
                member,
                self.runtime.place(self.make_network(member, data=self.data)),
                data=self.data,
                settings=self.settings,
                runtime=self.runtime,
                checkpoint=checkpoint,
                on_epoch=_say_nothing,
            )
            outcome = {"test_accuracy": final_accuracy(rows, last_epochs=self.settings.last_epochs)}
        except DivergedError as error:
            outcome = {"test_accuracy": 0.0, "diverged": str(error)}
        result = {
            "genotype": training.genotype.to_dict(),
            "seed": training.seed,
            **outcome,
            "seconds": sum(row["seconds"] for row in rows),
        }
        write_json(training.file, result)
        for file in (checkpoint, previous_checkpoint(checkpoint)):
            file.unlink(missing_ok=True)
        return result


def _say_nothing(row: Mapping[str, Any]) -> None:
    """Many cells train side by side, and each is one step of the progress bar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """All that decides the result of a training beside the cell and the seed.

    Attributes:
        network: Config of the network.
        data: The data set's record.
        settings: Of the training.
    """

    network: Mapping[str, Any]
    data: Mapping[str, Any]
    settings: RetrainSettings

    def file_name(self, genotype: Genotype, *, seed: int) -> str:
        """Returns the name of a result's file: a digest of protocol and cell, and the seed."""
        settings = {key: value for key, value in asdict(self.settings).items() if key not in OF_OTHER_JOBS}
        text = json.dumps([genotype.to_dict(), self.network, self.data, settings], sort_keys=True, default=list)
        return f"{hashlib.sha256(text.encode()).hexdigest()[:20]}-seed{seed}.json"


def read_results(trainings: Iterable[Training]) -> dict[Training, dict[str, Any]]:
    """Reads the results that are there.

    Raises:
        ValueError: If a file is damaged.
    """
    results = {}
    for training in trainings:
        if not training.file.exists():
            continue
        try:
            result = json.loads(training.file.read_text(encoding="utf-8"))
            results[training] = {**result, "test_accuracy": float(result["test_accuracy"])}
        except (ValueError, LookupError, TypeError) as error:
            raise ValueError(f"{training.file} is damaged, remove it to train the cell anew: {error}") from error
    return results


def take_over(folder: Path, trainings: Iterable[Training]) -> None:
    """Copies results of the same trainings from the folder of an earlier ranking.

    Raises:
        ValueError: If a file there is damaged.
    """
    targets = {replace(one, file=folder / one.file.name): one.file for one in trainings if not one.file.exists()}
    for source, result in read_results(targets).items():
        write_json(targets[source], result)
