"""Several ranks in forked processes, which a test can ask for what they found; no imports, no torchrun."""

import os
import pickle
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from nas.compute.distributed.ranks import Ranks
from nas.compute.distributed.settings import DistributedSettings


def together(work: Callable[[Ranks], Any], *, size: int = 2, timeout: float = 60, **settings: str) -> list[Any]:
    """Calls `work` on so many ranks at once; returns what it returned on each.

    Raises:
        RuntimeError: If it raised anything on any of them; the message has the tracebacks.
    """
    with tempfile.TemporaryDirectory() as folder:
        children = [
            _forked(lambda rank=rank: _joined(work, folder, rank, size, timeout, settings), Path(folder, f"{rank}"))
            for rank in range(size)
        ]
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        results = [pickle.loads(path.read_bytes()) for path in (Path(folder, f"{rank}") for rank in range(size))]
    if any(statuses):
        raise RuntimeError("\n".join(result for result, status in zip(results, statuses, strict=True) if status))
    return results


def _joined(work, folder, rank, size, timeout, settings) -> Any:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=timeout))
    result = work(Ranks(rank=rank, size=size, settings=DistributedSettings(**settings)))
    dist.barrier()
    dist.destroy_process_group()
    return result


def _forked(work: Callable[[], Any], answer: Path) -> int:
    """Starts a process that leaves what `work` returns, or a traceback, in a file; returns its number."""
    if (child := os.fork()) != 0:
        return child
    status, result = 1, None
    try:
        status, result = 0, work()
    except BaseException:
        status, result = 1, traceback.format_exc()
    finally:
        answer.write_bytes(pickle.dumps(result))
        os._exit(status)
