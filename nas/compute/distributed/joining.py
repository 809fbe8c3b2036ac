"""Joining the other processes that torchrun started, leaving them, and failing with them.

A process that fails ends; the others notice that it does not answer, or are ended by torchrun. What each of them has
to say would bury the cause: a mistake that all notice is reported by the first, and those who are left behind say one
line.
"""

import contextlib
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.elastic.multiprocessing.errors import get_error_handler
from torch.distributed.rendezvous import rendezvous

from nas.compute.distributed.launch import PATIENCE, Launch, let_first_speak, read_launch
from nas.compute.distributed.ranks import ALONE, LostRankError, Ranks, heard
from nas.compute.distributed.settings import DistributedSettings


@dataclass(slots=True)
class Joined:
    """What this process is part of.

    Attributes:
        ranks: None before it has joined.
        store: Where the ranks leave word for one another; None before.
    """

    ranks: Ranks | None = None
    store: PrefixStore | None = None


joined = Joined()
"""Of this process: a process group is made once, and is the process's own."""


def own_device(device: str, launch: Launch | None) -> str:
    """Returns the device of this process.

    Args:
        device: As the user names it.
        launch: What torchrun said, if anything.

    Raises:
        ValueError: If the processes of this machine cannot have a GPU each.
    """
    if launch is None or device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return device
    if device not in ("auto", "cuda"):
        raise ValueError(f"torchrun gives every process a GPU of its own: take device=cuda or cpu, got {device}")
    num_gpus = torch.cuda.device_count()
    if launch.local_size > num_gpus:
        raise ValueError(
            f"torchrun started {launch.local_size} processes on a machine with {num_gpus} GPUs; take "
            + (f"--nproc-per-node={num_gpus} or device=cpu" if num_gpus else "device=cpu")
        )
    return f"cuda:{launch.local_rank}"


def join(settings: DistributedSettings, *, device: str) -> Ranks:
    """Makes the process group, or returns the one that was made before.

    Tensors on GPUs go by NCCL; what lies in the host's memory goes by gloo.

    Args:
        settings: How the ranks share the work.
        device: The device of this process, from `own_device`.

    Raises:
        LostRankError: If the others do not come.
    """
    if joined.ranks is not None:
        return joined.ranks
    launch = read_launch()
    if launch is None or launch.size == 1:
        return ALONE
    timeout = timedelta(seconds=settings.timeout)
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(device)
    with heard():
        store, rank, size = next(iter(rendezvous("env://", timeout=timeout)))
        store = PrefixStore(f"start {launch.restarts}", store)  # torchrun may keep what an earlier start left there
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            store=PrefixStore("group", store),
            rank=rank,
            world_size=size,
            timeout=timeout,
        )
    joined.ranks, joined.store = Ranks(rank=rank, size=size, settings=settings), PrefixStore("nas", store)
    return joined.ranks


def leave() -> None:
    """Parts from the others, called by all ranks once nothing is to be done together; each continues alone."""
    if joined.ranks is not None and not joined.ranks.alone:
        dist.destroy_process_group()
        joined.ranks = ALONE


WORD = "mistake of the first rank"


@contextlib.contextmanager
def told_once(launch: Launch, *, mistakes: type[Exception]) -> Iterator[None]:
    """Within the context, an error ends the process after it is reported; without one, the others are parted from.

    Args:
        launch: Which process this is.
        mistakes: Errors of the user's, a line each. On the first rank they are raised, for the caller to tell.

    Raises:
        SystemExit: For any other error.
    """
    try:
        yield
    except mistakes as error:
        if launch.rank == 0:
            _told_by_first(str(error), launch)
            raise
        with contextlib.suppress(KeyboardInterrupt):  # so torchrun ends those that wait, and there is nothing to save
            if _told_by_first(str(error), launch):
                let_first_speak()
            else:
                _tell(launch, str(error))
    except LostRankError as error:
        _tell(launch, f"error: {error}")
    except Exception as error:
        _tell(launch, traceback.format_exc().rstrip())
        get_error_handler().record_exception(error)  # for torchrun's own report
    else:
        leave()
        return
    sys.exit(1)


def _tell(launch: Launch, message: str) -> None:
    """Prints to the terminal, even where the streams of a process that is not the first lead nowhere."""
    stream = sys.__stderr__ or sys.stderr
    stream.write(f"rank {launch.rank}: {message}\n")
    stream.flush()


def _told_by_first(message: str, launch: Launch) -> bool:
    """Whether the first rank makes the same mistake; it leaves word of its own here."""
    store = joined.store
    if store is None:  # before they have met: all of a machine make the same one
        return launch.local_rank > 0
    try:
        if launch.rank == 0:
            store.set(WORD, message)
            return False
        store.wait([WORD], timedelta(seconds=PATIENCE))
        return bool(store.get(WORD).decode() == message)
    except RuntimeError:
        return False
