import platform
import subprocess
import sys

import pytest

from nas.compute.device import keep_freed_memory

STEPS = """
import resource, torch
from nas.compute.device import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
def faults():
    for _ in range(3):
        blocks = [torch.ones(12_000_000) for _ in range(4)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
faults()
before = faults()
print(faults() - before)
"""


def page_faults(*, keep: bool) -> int:
    command = [sys.executable, "-c", STEPS.format(keep=keep)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told so")
def test_freed_memory_is_used_again_without_asking_the_system():
    assert page_faults(keep=True) < page_faults(keep=False) / 10


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert keep_freed_memory() is False
