"""Bayesian optimisation: a Gaussian process predicts rewards, what is expected to improve most on the best is proposed.

Expected improvement (Jones et al. 1998) on features that tell architectures apart: which choice each decision has, and
by which sequences of ops a cell's input reaches its blocks (the paths of White et al. 2021, BANANAS, arXiv:1910.11858).
A random forest on the same features found worse architectures (results/published/nasbench201.md).
"""

import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from controllers.local_search import neighbours
from controllers.protocol import Repeats, Samples, check_num_samples
from controllers.uniform import Uniform
from search_spaces.genotype import NONE, Decision

Row = tuple[int, ...]
GROWTH = 1.2
"""Of what is known, between two fits of the kernel's constants."""


class Bayesian:
    """A controller that proposes the most promising of many candidates: uniform draws and neighbours of the best.

    Args:
        decisions: Of the search space, T of them.
        initial: Uniformly drawn architectures before the first prediction, at least 2.
        candidates: Uniform draws among which it chooses, at least 1.
        parents: Architectures whose neighbours, one answer changed, are candidates too, at least 0.
        paths: Whether paths are features beside the choices.

    Raises:
        ValueError: If an argument is out of range.
    """

    repeats: ClassVar[Repeats] = "at once"

    def __init__(
        self,
        decisions: Sequence[Decision],
        *,
        initial: int = 10,
        candidates: int = 200,
        parents: int = 50,
        paths: bool = True,
    ) -> None:
        for name, value, least in (
            ("initial", initial, 2),
            ("candidates", candidates, 1),
            ("parents", parents, 0),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.decisions = tuple(decisions)
        self.initial, self.candidates, self.parents = initial, candidates, parents
        self.paths = paths
        self._uniform = Uniform(decisions)
        self.rewards: dict[Row, float] = {}  # in the order in which they came
        self.theta: list[float] | None = None  # logarithms of the kernel's constants
        self.fitted = 0  # rewards at the last fit
        self._known_features: dict[Row, dict[str, float]] = {}
        self._ranked: list[Row] = []  # candidates by expected improvement, until the next reward

    def sample(self, num_samples: int, *, greedy: bool = False) -> Samples:
        """Proposes the N candidates of the largest expected improvement, uniform draws as long as little is known.

        Args:
            num_samples: N, at least 1.
            greedy: Take the best so far, N times; before the first reward, the first choice of every decision.

        Raises:
            ValueError: If `num_samples` is below 1.
        """
        check_num_samples(num_samples)
        uniform = self._uniform.sample(num_samples)
        if greedy:
            best = max(self.rewards, key=lambda row: self.rewards[row], default=(0,) * len(self.decisions))
            return Samples(torch.tensor([best] * num_samples), torch.zeros(num_samples), torch.zeros(num_samples))
        if len(self.rewards) < self.initial:
            return uniform._replace(probabilities=None)
        if not self._ranked:
            self._ranked = self.ranked(self._pool())
        chosen, self._ranked = self._ranked[:num_samples], self._ranked[num_samples:]
        actions = torch.cat([torch.tensor(chosen, dtype=torch.int64).reshape(-1, len(self.decisions)), uniform.actions])
        return Samples(actions[:num_samples], torch.zeros(num_samples), torch.zeros(num_samples))

    def observe(self, actions: Tensor, rewards: Tensor) -> Mapping[str, float]:
        """Takes in rewards, (N,), of actions (N, T), sampled here or anywhere else.

        Returns:
            `observed`, the architectures whose reward it knows.

        Raises:
            ValueError: If a reward is not finite.
        """
        if not rewards.isfinite().all():
            raise ValueError(f"rewards must be finite, got {rewards.tolist()}")
        self.rewards |= zip(map(tuple, actions.tolist()), rewards.tolist(), strict=True)
        self._ranked = []
        return {"observed": float(len(self.rewards))}

    def _pool(self) -> list[Row]:
        """Returns uniform draws, and the neighbours of the best."""
        best = sorted(self.rewards, key=lambda row: -self.rewards[row])[: self.parents]
        drawn = [tuple(row) for row in self._uniform.sample(self.candidates).actions.tolist()]
        counts = [len(decision.choices) for decision in self.decisions]
        return [*(near for row in best for near in neighbours(row, counts)), *drawn]

    def ranked(self, rows: Sequence[Row]) -> list[Row]:
        """Returns those of some architectures whose reward is not known, the largest expected improvement first."""
        from scipy.stats import norm, rankdata
        from sklearn.feature_extraction import DictVectorizer

        pool = [row for row in dict.fromkeys(rows) if row not in self.rewards]
        if not pool:
            return []
        features = DictVectorizer(sparse=False).fit_transform([self._features(row) for row in [*self.rewards, *pool]])
        known, values = len(self.rewards), np.array(list(self.rewards.values()))
        ranks = norm.ppf((rankdata(values) - 0.5) / known)  # normal scores: rewards are skew
        process = self._fit(features[:known], ranks)
        mean, std = process.predict(features[known:], return_std=True)
        above = (mean - ranks.max()) / np.maximum(std, 1e-9)
        gain = std * (above * norm.cdf(above) + norm.pdf(above))
        return [pool[number] for number in np.argsort(-gain, kind="stable")]

    def _fit(self, features: Any, values: Any) -> Any:
        """Returns scikit-learn's Gaussian process of what is known, its constants fitted anew from time to time."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        kernel = ConstantKernel(1.0, (0.05, 20)) * Matern(3.0, (0.3, 30), nu=2.5) + WhiteKernel(0.1, (1e-3, 1.0))
        if self.theta is not None:
            kernel = kernel.clone_with_theta(np.array(self.theta))
        fresh = self.theta is None or len(values) >= GROWTH * self.fitted
        process = GaussianProcessRegressor(kernel, optimizer="fmin_l_bfgs_b" if fresh else None, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a constant at its bound is no fault
            process.fit(features, values)
        if fresh:
            self.theta, self.fitted = process.kernel_.theta.tolist(), len(values)
        return process

    def _features(self, row: Row) -> dict[str, float]:
        if row not in self._known_features:
            found = {f"{decision.name}={choice}": 1.0 for decision, choice in zip(self.decisions, row, strict=True)}
            self._known_features[row] = found | path_features(self.decisions, row) if self.paths else found
        return self._known_features[row]

    def set_learning_rate_scale(self, scale: float) -> None:
        """Has no learning rate."""

    def state_dict(self) -> Mapping[str, Any]:
        """Returns what is known, and the kernel's constants."""
        return {
            "rewards": dict(self.rewards),
            "theta": self.theta,
            "fitted": self.fitted,
            "ranked": list(self._ranked),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.rewards, self.theta = dict(state_dict["rewards"]), state_dict["theta"]
        self.fitted, self._ranked = state_dict["fitted"], list(state_dict["ranked"])


def path_features(decisions: Sequence[Decision], row: Sequence[int]) -> dict[str, float]:
    """Returns, by sequence of ops, on how many ways a cell's inputs reach its last block through these ops.

    An edge's source is what its block's input decision answers, or node `slot` where there is none. Of long cells, only
    the last eight ops of a path count.
    """
    found: dict[str, float] = {}
    for group in dict.fromkeys(decision.group for decision in decisions):
        answers = {
            (decision.step, decision.slot, decision.kind): (decision, choice)
            for decision, choice in zip(decisions, row, strict=True)
            if decision.group == group
        }
        steps = 1 + max(step for step, _, _ in answers)
        inputs = next((len(one.choices) for (step, _, kind), (one, _) in answers.items() if kind == "input"), 1)
        nodes: list[Counter[tuple[str, ...]]] = [Counter({(): 1}) for _ in range(inputs)]  # of each node, its paths
        for step in range(steps):
            paths: Counter[tuple[str, ...]] = Counter()
            for (at, slot, kind), (decision, choice) in answers.items():
                if at != step or kind != "op" or decision.choices[choice] == NONE:
                    continue
                source = answers[step, slot, "input"][1] if (step, slot, "input") in answers else slot
                for path, ways in nodes[source].items():
                    paths[(*path, decision.choices[choice])[-8:]] += ways
            nodes.append(paths)
        found |= {f"{group}: {' '.join(path)}": math.log1p(ways) for path, ways in nodes[-1].items()}
    return found
