"""Finals: the best candidates of a search trained stand-alone before one of them is called found.

Shared weights tell good cells from poor ones, but hardly good ones from each other. So each of the best is trained from
scratch for a short time, all from the same seed, on the images that trained the shared weights, and the accuracy on the
reward images decides. Test images have no part in it. DARTS chooses among the cells of four searches in this way
(arXiv:1806.09055, architecture evaluation).
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from nas.data.named import ImageData
from nas.runs.seeds import derive_seed
from nas.searching.evaluators import RewardFunction
from nas.searching.settings import SearchSettings
from nas.searching.stand_alone import stand_alone_reward
from nas.training.settings import RetrainSettings, TrainingSettings
from search_spaces.genotype import Genotype


def outcome(result: Mapping[str, Any], reward: RewardFunction) -> dict[str, Any]:
    """Returns what the entry of a candidate says of its training.

    Args:
        result: Of `nas.searching.stand_alone.CellTrainer`.
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
