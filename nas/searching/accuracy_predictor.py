"""A predictor of accuracy from a few trainings: which of the cells that are left look best after those trained so far.

Ridge regression on what a cell is made of (each op's count, its longest path, its loose ends) and on its shared score.
Its penalty is chosen by leave-one-out errors. A predictor between a proposal and a training is the core of NAS by
regression (White et al. 2021, arXiv:1910.11858; Wen et al. 2020, arXiv:1912.00848).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from search_spaces.genotype import IDENTITIES, NONE, CellGenotype, Genotype

SHARED_SCALE = 2.0
"""Standard deviations by which the shared score counts more than another feature: it is shrunk the less."""
PENALTIES = np.logspace(-1, 3, 15)
"""Of the ridge regression, among which leave-one-out errors choose."""


def cell_features(genotype: Genotype) -> dict[str, float]:
    """Returns, for each cell type, the count of each op, the ops on the longest path, and how many blocks end loose."""
    found: dict[str, float] = {}
    for name, cell in genotype.cells.items():
        for _, _, _, op in cell.edges:
            found[f"{name}.{op}"] = found.get(f"{name}.{op}", 0.0) + 1
        found |= {f"{name} longest": _longest(cell), f"{name} loose": float(len(cell.output_nodes))}
        found[f"{name} {cell.mixer}"] = 1.0
    return found


def _longest(cell: CellGenotype) -> float:
    """Returns the number of ops, identities left out, on the longest path through a cell."""
    lengths = [0.0] * cell.num_inputs
    for block in cell.blocks:
        ways = zip(block.inputs, block.ops, strict=True)
        lengths.append(max(lengths[source] + (op not in (*IDENTITIES, NONE)) for source, op in ways))
    return max(lengths)


def predicted_rewards(trained: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> list[float]:
    """Predicts the stand-alone rewards of cells that are not trained.

    Args:
        trained: At least 2 entries with `genotype`, `reward` (the shared score) and `stand_alone_reward`.
        others: Entries with `genotype` and `reward`.
    """
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import RidgeCV

    entries = [*trained, *others]
    features = DictVectorizer(sparse=False).fit_transform(
        [cell_features(Genotype.from_dict(entry["genotype"])) for entry in entries]
    )
    shared = np.array([[float(entry["reward"])] for entry in entries])
    columns = np.hstack([features, shared])
    columns = (columns - columns.mean(axis=0)) / np.maximum(columns.std(axis=0), 1e-12)
    columns[:, -1] *= SHARED_SCALE
    rewards = [float(entry["stand_alone_reward"]) for entry in trained]
    fitted = RidgeCV(alphas=PENALTIES).fit(columns[: len(trained)], rewards)
    predictions: list[float] = fitted.predict(columns[len(trained) :]).tolist()
    return predictions
