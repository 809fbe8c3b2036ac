"""Finals: the best candidates of a search trained stand-alone before one of them is called found.

Shared weights tell good cells from poor ones, but hardly good ones from each other. So each of the best is trained from
scratch for a short time, all from the same seed, on the images that trained the shared weights, and the accuracy on the
reward images decides. Test images have no part in it. DARTS chooses among the cells of four searches in this way
(arXiv:1806.09055, architecture evaluation).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from nas.compute.device import Runtime
from nas.data.named import ImageData
from nas.runs.seeds import derive_seed
from nas.searching.evaluators import RewardFunction
from nas.searching.settings import SearchSettings
from nas.training.epoch_totals import DivergedError
from nas.training.evaluation import Score
from nas.training.member import Member
from nas.training.retraining import final_accuracy, train_member
from nas.training.settings import RetrainSettings, TrainingSettings
from search_spaces.genotype import Genotype

Row = dict[str, Any]
"""What is logged of an epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finals:
    """What the trainings of all finalists have in common.

    Attributes:
        settings: Of a training.
        data: What is trained on is its `full`, what decides its `test`.
        runtime: Device, number format and ranks, which train a finalist together.
        make_network: Makes a member's model with its initial weights.
        reward: What of the accuracy counts.
        seed: Of every finalist's weights and images.
        folder: Of their checkpoints.
    """

    settings: RetrainSettings
    data: ImageData
    runtime: Runtime
    make_network: Callable[[Member], nn.Module]
    reward: RewardFunction
    seed: int
    folder: Path

    def train(
        self, number: int, genotype: Genotype, *, on_epoch: Callable[[Row], None]
    ) -> tuple[dict[str, Any], list[Row]]:
        """Trains a finalist, or goes on where its checkpoint stands.

        Args:
            number: Of the candidate in the order of the shared weights, from 0.
            genotype: Its cell.
            on_epoch: Called with each epoch's row.

        Returns:
            `label`, as in the rows; `stand_alone_accuracy` on the reward images, in [0, 1], and `stand_alone_reward`,
            or for a training that diverged `diverged`, why. And a row an epoch, none if it diverged.

        Raises:
            ValueError: If the reward function returns a number that is not finite.
            Stopped: If the process was asked to stop; the state is saved.
        """
        member = Member(label=f"candidate-{number}", seed=self.seed, genotype=genotype)
        try:
            rows = train_member(
                member,
                self.runtime.place(self.make_network(member)),
                data=self.data,
                settings=self.settings,
                runtime=self.runtime,
                checkpoint=self.folder / f"{member.label}.pt",
                on_epoch=lambda row: on_epoch(_of_reward_images(row)),
            )
        except DivergedError as error:
            return {"label": member.label, "diverged": str(error)}, []
        accuracy = final_accuracy(rows, last_epochs=self.settings.last_epochs)
        reward = stand_alone_reward(self.reward, accuracy, genotype)
        result = {"label": member.label, "stand_alone_accuracy": accuracy, "stand_alone_reward": reward}
        return result, [_of_reward_images(row) for row in rows]


def _of_reward_images(row: Mapping[str, Any]) -> Row:
    """Returns a training's row with accuracies named after the images that were looked at."""
    return {key.replace("test_accuracy", "reward_accuracy"): value for key, value in row.items()}


def stand_alone_reward(reward: RewardFunction, accuracy: float, genotype: Genotype) -> float:
    """Returns what a reward function makes of an accuracy alone.

    Raises:
        ValueError: If that is not finite: it asks for the loss, which is not measured.
    """
    value = reward(Score(loss=math.nan, accuracy=accuracy), genotype)
    if not math.isfinite(value):
        raise ValueError(
            f"the reward function made {value} of a stand-alone accuracy of {accuracy}; of such trainings it must be "
            "finite and may not ask for the loss, which is not measured"
        )
    return value


def check_accuracy_reward(reward: RewardFunction, genotype: Genotype) -> None:
    """Checks before any work that a reward gets along with the accuracy alone; raises ValueError if it does not."""
    stand_alone_reward(reward, 0.5, genotype)


def finals_settings(settings: SearchSettings) -> RetrainSettings:
    """Returns how finalists are trained: as the shared weights, but for one cosine over their own number of epochs."""
    shared = {field.name: getattr(settings, field.name) for field in fields(TrainingSettings)}
    epochs = settings.finalist_epochs
    return RetrainSettings(**{**shared, "epochs": epochs, "first_cycle": epochs}, last_epochs=1, evaluate_every=0)


def finals_data(data: ImageData) -> ImageData:
    """Returns the search's images in the places where a training looks for them: test images cannot be reached."""
    return replace(data, full=data.train, test=data.reward)


def finals_seed(seed: int) -> int:
    """Returns a seed apart from those of retrainings, to whose luck the choice is not to be fitted."""
    return derive_seed(seed, "finals")


def by_stand_alone_reward(candidates: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the trained finalists, highest stand-alone reward first, the others as they stand, what diverged last."""
    trained = [dict(entry) for entry in candidates if "stand_alone_reward" in entry]
    diverged = [dict(entry) for entry in candidates if "diverged" in entry]
    others = [dict(entry) for entry in candidates if not {"stand_alone_reward", "diverged"} & set(entry)]
    return sorted(trained, key=lambda entry: -float(entry["stand_alone_reward"])) + others + diverged
