"""What commands and launchers import: loaded once by the server from which the commands of tests are forked."""

from importlib import import_module

from hydra.core.plugins import Plugins

COMMANDS = (
    "bench",
    "compare",
    "export",
    "latency",
    "permutations",
    "pipeline",
    "predictor",
    "rank",
    "replay",
    "report",
)
for name in (
    *("matplotlib.backends.backend_svg", "torch._dynamo", "torch._inductor.config", "tests.figures"),
    *(
        "scipy.stats",
        "torch.utils.flop_counter",
        "nas.distributed.failures",
        *(f"nas.jobs.{command}" for command in COMMANDS),
    ),
):
    import_module(name)
Plugins.instance()
