"""How a failure of one of several processes ends them all, and is told once.

A process that fails ends; the others notice that it does not answer, or are ended by torchrun. What each of them has
to say would bury the cause: a mistake that all notice is told by the first, and those who are left behind say one line.
"""

import contextlib
import sys
import traceback
from collections.abc import Iterator
from datetime import timedelta

from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from nas.compute.distributed.joining import joined, leave
from nas.compute.distributed.launch import PATIENCE, Launch, let_first_speak
from nas.compute.distributed.ranks import LostRankError

WORD = "mistake of the first rank"


@contextlib.contextmanager
def told_once(launch: Launch, *, mistakes: type[Exception]) -> Iterator[None]:
    """Within the context, an error ends the process after it has been told; without one, the others are parted from.

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
