"""What commands and launchers import: loaded once by the server from which the commands of tests are forked."""

import gc
from importlib import import_module
from importlib.util import find_spec

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
LIBRARIES = ("jinja2", "vl_convert", "scipy.stats", "torch._dynamo", "torch._inductor.config")
OPTIONAL = ("onnx", "onnxscript", "onnxruntime")

for name in (*LIBRARIES, "torch.utils.flop_counter", *filter(find_spec, OPTIONAL)):
    import_module(name)
for name in ("tests.figures", "nas.compute.distributed.joining", *(f"nas.jobs.{command}" for command in COMMANDS)):
    import_module(name)
Plugins.instance()
gc.freeze()
