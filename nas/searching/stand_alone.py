"""Cells trained from scratch for a short budget: the truth of a ranking, rewards of a search, and its finals.

Shared weights tell good cells from poor ones, but hardly good ones from each other. So in the finals each of the best
candidates is trained for a short time, all from the same seed, on the images that trained the shared weights, and the
accuracy on the reward images decides. Test images have no part in it. DARTS chooses among the cells of four searches in
this way (arXiv:1806.09055, architecture evaluation).

A training is that of `nas retrain` with the same settings and seed: from scratch, on `data.full`, its accuracy the mean
over the last epochs on `data.test`. For a ranking these are all training images and the test images; for a search,
which must not look at test images, its train and reward images. A finished training is a file, named after all that
decides its result; so whoever needs the same training can take it over.
"""

import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from nas.compute.device import Runtime
from nas.compute.worker_pool import WorkerPool
from nas.costs.counting import Cost, cost_fields
from nas.data.named import ImageData
from nas.runs.checkpoints import previous_checkpoint, write_json
from nas.runs.console import note
from nas.runs.seeds import derive_seed, seed_cpu
from nas.searching.evaluators import Evaluation, RewardFunction, WithoutWeights, finite_reward
from nas.searching.settings import SearchSettings
from nas.training.evaluation import DivergedError, Score
from nas.training.member import Member, final_accuracy, train_member
from nas.training.settings import RetrainSettings, TrainingSettings
from search_spaces.genotype import Genotype
from search_spaces.space import SearchSpace

OF_OTHER_JOBS = ("seeds", "random_seeds", "random_turns", "warm_start", "checkpoint_seconds", "evaluate_every")
"""Settings of `nas retrain` that do not change what a training of a given seed comes to."""


@dataclass(frozen=True, slots=True)
class Training:
    """One stand-alone training.

    Attributes:
        genotype: The cell.
        seed: The seed of the weights and of the order and augmentation of the images.
        file: Where its result is kept.
        epochs: Those of one cosine, if not the trainer's own.
    """

    genotype: Genotype
    seed: int
    file: Path
    epochs: int | None = None


@dataclass(frozen=True, kw_only=True)
class CellTrainer:
    """All that a process needs to train cells; it can be pickled, and loads the data on first use.

    Attributes:
        settings: The protocol of a training.
        make_runtime: Chooses device and number format, and imports what else a process must know.
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
        """Trains a cell, or resumes from its checkpoint, and writes its result.

        Returns:
            The result: `genotype`, `seed`, `accuracy` in [0, 1], `seconds` of training, and `rows`, one an epoch, as of
            `nas retrain`, but with `accuracy` for `test_accuracy`. A training that diverges has accuracy 0 and says so
            in `diverged`: one bad cell does not keep all others from being ranked.

        Raises:
            Stopped: If the process was asked to stop; the state is saved.
        """
        member = Member(label="stand-alone", seed=training.seed, genotype=training.genotype)
        settings = of_length(self.settings, training.epochs) if training.epochs else self.settings
        checkpoint = training.file.with_suffix(".pt")
        rows: list[dict[str, Any]] = []
        outcome: dict[str, Any]
        started = time.perf_counter()
        try:
            rows = train_member(
                member,
                self.runtime.place(self.make_network(member, data=self.data)),
                data=self.data,
                settings=settings,
                runtime=self.runtime,
                checkpoint=checkpoint,
                on_epoch=rows.append,
            )
            seconds = sum(row["seconds"] for row in rows)
            outcome = {"accuracy": final_accuracy(rows, last_epochs=settings.last_epochs), "seconds": seconds}
        except DivergedError as error:
            outcome = {"accuracy": 0.0, "diverged": str(error), "seconds": time.perf_counter() - started}
        result = {
            "genotype": training.genotype.to_dict(),
            "seed": training.seed,
            **outcome,
            "rows": [{key.replace("test_accuracy", "accuracy"): row[key] for key in row} for row in rows],
        }
        if self.runtime.ranks.first:
            write_json(training.file, result)
            for file in (checkpoint, previous_checkpoint(checkpoint)):
                file.unlink(missing_ok=True)
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """All that decides the result of a training next to the cell and the seed.

    Attributes:
        network: Config of the network.
        data: The data set's record.
        settings: Settings of the training.
    """

    network: Mapping[str, Any]
    data: Mapping[str, Any]
    settings: RetrainSettings

    def file_name(self, cell: object, *, seed: int) -> str:
        """Returns the name of a result's file: a digest of protocol and cell, and the seed.

        Args:
            cell: The cell, of types that JSON has.
            seed: The seed of the training.
        """
        settings = {key: value for key, value in asdict(self.settings).items() if key not in OF_OTHER_JOBS}
        text = json.dumps([cell, self.network, self.data, settings], sort_keys=True, default=list)
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
            result.setdefault("accuracy", result.pop("test_accuracy", None))  # its name in files of earlier versions
            results[training] = {**result, "accuracy": float(result["accuracy"])}
        except (ValueError, AttributeError, TypeError) as error:
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


def stand_alone_reward(reward: RewardFunction, accuracy: float, genotype: Genotype) -> float:
    """Returns what a reward function makes of an accuracy alone; see `finite_reward`."""
    return finite_reward(reward, Score(loss=math.nan, accuracy=accuracy), genotype)


def check_accuracy_reward(reward: RewardFunction, space: SearchSpace) -> None:
    """Checks before any work that a reward gets along with the accuracy alone; raises ValueError if it does not."""
    stand_alone_reward(reward, 0.5, space.decode([0] * len(space.decisions)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StandAlone(WithoutWeights):
    """An evaluator that trains every cell from scratch for a few epochs; the same function is never trained twice.

    Attributes:
        pool: Trains cells, several side by side.
        protocol: Names the files of results.
        folder: Holds them. A search that is resumed takes them from there.
        space: Tells which cells compute the same function.
        seed: The seed of all trainings.
        reward: Makes a reward of an accuracy.
        costs: Recorded of every cell, by name.
    """

    pool: WorkerPool[Training]
    protocol: Protocol
    folder: Path
    space: SearchSpace
    seed: int
    reward: RewardFunction
    costs: Mapping[str, Cost]
    _first: dict[Hashable, Genotype] = field(default_factory=dict, init=False)  # of the cells that compute the same

    @property
    def record(self) -> Mapping[str, Any]:
        """What is known of the images."""
        return self.protocol.data

    def evaluate(self, genotypes: Sequence[Genotype], *, seed: int) -> list[Evaluation]:
        """Trains what has not been trained yet, and rewards every cell by its accuracy.

        A training that diverged has accuracy 0.

        Raises:
            ValueError: If a reward is not finite, or the file of a result is damaged.
            OSError: If a worker process was killed.
        """
        trainings = [self._training(genotype) for genotype in genotypes]
        first: dict[Path, Training] = {}
        for training in trainings:
            first.setdefault(training.file, training)
        missing = [training for training in first.values() if not training.file.exists()]
        for _ in self.pool.run(missing):
            pass
        seed_cpu(seed)  # the controller's random stream must not depend on which process trained
        results = {training.file: result for training, result in read_results(first.values()).items()}
        for training in missing:
            if why := results[training.file].get("diverged"):
                note(f"warning: the training of a cell diverged, and its accuracy counts as 0: {why}")
        return [self._evaluation(training.genotype, results[training.file]) for training in trainings]

    def _training(self, genotype: Genotype) -> Training:
        cell = self._first.setdefault(self.space.canonical(genotype), genotype)
        return Training(genotype, self.seed, self.folder / self.protocol.file_name(cell.to_dict(), seed=self.seed))

    def _evaluation(self, genotype: Genotype, result: Mapping[str, Any]) -> Evaluation:
        accuracy = result["accuracy"]
        figures = {"accuracy": accuracy, **cost_fields(self.costs, genotype), "train_seconds": result["seconds"]}
        return Evaluation(stand_alone_reward(self.reward, accuracy, genotype), figures)

    def score(self, genotypes: Sequence[Genotype]) -> list[dict[str, Any]]:
        """Returns what the trainings of genotypes came to."""
        return [
            {
                "genotype": genotype.to_dict(),
                "stand_alone_accuracy": found.figures["accuracy"],
                "reward": found.reward,
                **{name: figure for name, figure in found.figures.items() if name != "accuracy"},
            }
            for genotype, found in zip(genotypes, self.evaluate(genotypes, seed=0), strict=True)
        ]

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Learns from what was rewarded before which of the cells that compute the same was trained."""
        for entry in state["scored"]:
            genotype = self.space.decode([int(action) for action in entry["actions"].split()])
            self._first.setdefault(self.space.canonical(genotype), genotype)


def outcome(result: Mapping[str, Any], reward: RewardFunction) -> dict[str, Any]:
    """Returns what the entry of a candidate says of its training.

    Args:
        result: The result of a training, from `CellTrainer`.
        reward: What of the accuracy counts.

    Returns:
        `stand_alone_accuracy` on the reward images, in [0, 1], and `stand_alone_reward`; of a training that diverged
        `diverged`, why.

    Raises:
        ValueError: If the reward function returns a number that is not finite.
    """
    if "diverged" in result:
        return {"diverged": result["diverged"]}
    accuracy = result["accuracy"]
    value = stand_alone_reward(reward, accuracy, Genotype.from_dict(result["genotype"]))
    return {"stand_alone_accuracy": accuracy, "stand_alone_reward": value}


def epochs_of(result: Mapping[str, Any], *, label: str) -> list[dict[str, Any]]:
    """Returns a training's rows with the candidate's label, and accuracies named after the images looked at."""
    return [
        {
            re.sub("(?<!train_)accuracy", "reward_accuracy", key): math.nan if value is None else value
            for key, value in {**row, "label": label}.items()
        }
        for row in result["rows"]
    ]


def of_length(settings: RetrainSettings, epochs: int) -> RetrainSettings:
    """Returns the settings of a training of other epochs, in one cosine."""
    return replace(settings, epochs=epochs, first_cycle=epochs)


def finals_settings(settings: SearchSettings, *, run: Path | None = None) -> RetrainSettings:
    """Returns how finalists are trained in the first rung: as the shared weights, but for a cosine of their own.

    Args:
        settings: Of the search.
        run: The folder of the search, from whose shared weights they start; None: from scratch.
    """
    shared = {field.name: getattr(settings, field.name) for field in fields(TrainingSettings)}
    start = None if run is None else str(run)
    made = RetrainSettings(**shared, last_epochs=1, evaluate_every=0, warm_start=start)
    return of_length(made, settings.rungs[0])


def finals_data(data: ImageData) -> ImageData:
    """Returns the search's images in the places where a training looks for them: test images cannot be reached."""
    return replace(data, full=data.train, test=data.reward)


def finals_seed(seed: int, rung: int = 0) -> int:
    """Returns a rung's seed, apart from those of retrainings, to whose luck the choice is not to be fitted."""
    return derive_seed(seed, "finals", *([rung] if rung else []))
