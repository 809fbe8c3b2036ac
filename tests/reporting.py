"""Run folders for the tests of reports: every file that a report reads, small, written without any search."""

import json
from pathlib import Path

import torch

from nas.runs.checkpoints import save_weights, write_csv, write_json
from search_spaces.genotype import Genotype

EVIL = "</script><script>alert(1)</script>"


def write_run(folder: Path, genotype: Genotype, *, shift: float = 0.0, blocks: int = 4) -> Path:
    """Writes the files of a pipeline run; `shift` moves its accuracies."""
    folder.mkdir(parents=True)
    config = f"""name: {json.dumps(folder.name)}
seed: 0
search_space: {{_target_: search_spaces.shufflenas.ShuffleNASSpace, blocks: {blocks}}}
controller: {{_target_: controllers.reinforce.Reinforce, policy: {{_target_: controllers.lstm.LSTMPolicy}}}}
network: {{merge: sum}}
"""
    (folder / "config.yaml").write_text(config)
    write_json(
        folder / "environment.json",
        {
            "command": ["nas pipeline", f"name={folder.name}", "data.root=my data"],
            "device_name": EVIL,
            "packages": {"shufflenas": "0.1.0"},
        },
    )
    rows = [
        {
            "epoch": epoch,
            "loss": 2.0 - 0.1 * epoch,
            "train_accuracy": 0.1 * epoch,
            "reward": 0.3 + 0.05 * epoch + shift,
            "best": 0.4 + 0.05 * epoch + shift,
            "entropy": 20.0 - epoch,
            "baseline": 0.3,
            "latency_ms": 3.0 + 0.1 * epoch,
            "op.identity": 0.25,
            "op.conv_1x1": 0.75,
            "seconds": 10.0,
        }
        for epoch in range(8)
    ]
    write_csv(folder / "search.csv", rows)
    diagnostics = [
        {
            "epoch": row["epoch"],
            "entropy_share": 1 - 0.1 * row["epoch"],
            "repeats": 0.1,
            "probability.op.identity": 0.2,
            "probability.op.conv_1x1": 0.8,
            "entropy_share.normal.0.op": 1.0,
            "entropy_share.normal.1.op": 0.5,
        }
        for row in rows
    ]
    write_csv(folder / "diagnostics.csv", diagnostics)
    finding = {"epoch": 3, "kind": "repeats", "message": f"samples repeat {EVIL}", "action": "warn"}
    write_json(folder / "warnings.json", {"settings": {}, "findings": [finding]})
    cells = [
        {
            "genotype": genotype.to_dict(),
            "shared_accuracy": 0.9 - 0.1 * i + shift,
            "parameters": 9000 - 2000 * i,
            "multiply_adds": 900000 - 1000 * i,
            "latency_ms": 4.0 - i,
        }
        for i in range(3)
    ]
    write_json(folder / "candidates.json", cells)
    write_json(folder / "pareto.json", cells[::-1])
    write_json(folder / "cost.json", {"cost": "latency_ms"})
    scored = [{"epoch": 0, "accuracy": 0.1 * i, "parameters": 5000, "latency_ms": 1.0 + i} for i in range(5)]
    write_csv(folder / "scored.csv", scored)
    (folder / "genotype.json").write_text(genotype.to_json())
    accuracies = [0.96 + shift, 0.98 + shift]
    write_json(
        folder / "metrics.json",
        {
            "found": {
                "test_accuracy": {"mean": 0.97 + shift, "std": 0.01414, "n": 2, "values": accuracies},
                "parameters": 9000,
                "multiply_adds": 900000,
            },
            "random": {"test_accuracy": {"mean": 0.95, "std": 0.02, "n": 3, "values": [0.93, 0.95, 0.97]}},
            "comparison": "no difference shown (95 % interval of the difference -1.0 … +2.0 points)",
        },
    )
    retraining = [
        {"label": label, "seed": seed, "epoch": epoch, "loss": 1.0 / (1 + epoch), "test_accuracy": 0.5 + 0.1 * epoch}
        | ({"mixer_distance": 0.5 - 0.1 * epoch} if label == "found" else {})
        for label, seed in (("found", 0), ("found", 1), ("random-0", 0))
        for epoch in range(4)
    ]
    write_csv(folder / "retrain.csv", retraining)
    measured = [
        {"batch_size": size, "median_ms": 2.0 * size, "p95_ms": 3.0 * size, "images_per_second": 500.0, "repeats": 10}
        for size in (1, 32)
    ]
    write_json(folder / "latency.json", {"latency": measured})
    weights = {"layers.0.mixers.auto_shuffle.index": torch.tensor([0, 2, 1, 3]), "classifier.weight": torch.ones(2, 2)}
    save_weights(folder / "weights.safetensors", weights, metadata={})
    ranked = [
        {
            "genotype": genotype.to_dict(),
            "stand_alone": [0.5 + 0.05 * i, 0.52 + 0.05 * i],
            "shared": {"a": {"recalibrate-4": 0.3 + 0.04 * i, "batch": 0.3}},
            "log_prob": {"a": -20.0 + i},
            "parameters": 1000 + i,
        }
        for i in range(6)
    ]
    tau = {"value": 1.0, "low": 0.8, "high": 1.0, "cells": 6}
    figures = {"runs": {"a": {"within": {"all": {"cells": 6, "tau": tau}}}}}
    said = ["a is better than the best of 5 random ones"]
    write_json(folder / "rank.json", {"cells": ranked, "figures": figures, "sentences": said, "settings": {}})
    controllers = [{"controller": "lstm", "seeds": 3, "mean_at_50": 93.0, "std_at_50": 0.2, "median_regret_at_50": 1.0}]
    write_json(folder / "compare.json", {"controllers": controllers, "optimum": 94.0})
    curves = [
        {"part": "accuracy", "controller": "lstm", "queries": i, "mean": 90 + i / 20, "low": 89, "high": 94, "seeds": 3}
        for i in range(1, 51)
    ]
    write_csv(folder / "curves.csv", curves)
    return folder
