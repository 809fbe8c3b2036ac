import torch

from nas import __version__
from nas.compute.device import make_runtime
from nas.compute.environment import environment


def test_environment_names_what_is_needed_to_repeat_a_run():
    record = environment(make_runtime(device="cpu"), seed=5)
    assert record["seed"] == 5
    assert record["packages"]["torch"] == torch.__version__
    assert record["packages"]["shufflenas"] == __version__
    assert {"command", "device", "device_name", "threads", "git_commit", "python"} <= set(record)
