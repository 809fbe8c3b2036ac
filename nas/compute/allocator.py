"""Keeping the memory that a training step frees for the next one."""

import ctypes
import platform

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # parameters of mallopt in <malloc.h>


def keep_freed_memory() -> bool:
    """Tells the C library not to give freed memory back to the system.

    By default glibc maps every tensor above 32 MB anew, and shrinks its heap whenever enough of it is free. A training
    step frees all its activations at its end, so the next one would wait for the system to clear the same pages again:
    a tenth to a third of a step on the CPU. What the process once needed it keeps until it ends.

    Returns:
        Whether the C library is one that can be told so.
    """
    if platform.system() != "Linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # a C library other than glibc
        return False
    return bool(mallopt(TRIM_THRESHOLD, -1)) and bool(mallopt(MMAP_MAX, 0))
