"""The default controller learns: on NAS-Bench-201 it beats random search under the same budget."""

import statistics
from pathlib import Path

from hydra import compose, initialize_config_module

from nas.jobs import compare

TABLE = Path(__file__).parents[1] / "data" / "nasbench201_cifar10.csv.gz"
BUDGET = 200
FLOOR = 94.10  # %, of the mean over seeds; random search has 93.93
LAST_FLOOR = 90.0  # %, of every seed's last 50 samples; those of random search have 87


def test_the_default_controller_beats_random_search(tmp_path):
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose(
            "compare",
            overrides=[
                f"table.path={TABLE}",
                "compare.controllers=[lstm,uniform]",
                "compare.seeds=10",
                f"compare.budget={BUDGET}",
                "compare.workers=1",
                "front.seeds=0",
            ],
        )
    report = compare.run(cfg, tmp_path)
    lstm, uniform = report["controllers"]
    assert lstm[f"mean_at_{BUDGET}"] > uniform[f"mean_at_{BUDGET}"]
    assert lstm[f"p_at_{BUDGET}"] < 0.05
    assert lstm[f"mean_at_{BUDGET}"] > FLOOR
    assert lstm["last_worst"] > LAST_FLOOR
    assert statistics.fmean([row["last_mean"] for row in (uniform,)]) < LAST_FLOOR  # so that the floor means something
