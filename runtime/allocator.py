"""glibc's allocator, told to keep what it once got.

By default it takes every tensor of some size from the kernel and gives it back at once, so that each training step
pays for the same pages anew: zeroed, mapped, and faulted in one by one.
"""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 1 << 30
"""Allocations up to 1 GiB are kept for reuse; no free memory at the top of the heap is given back below 2 GiB."""

_kept = False


def keep_memory() -> bool:
    """From now on this process reuses memory it freed instead of giving it back; for a process that trains or evaluates
    and then ends. Whether it could be set: elsewhere than under glibc nothing is done.

    Whoever set glibc's own variables (``MALLOC_MMAP_THRESHOLD_`` and the like) or preloads another allocator has chosen.
    """
    global _kept
    if not _kept and can_keep_memory():
        libc = ctypes.CDLL(None)
        _kept = bool(libc.mallopt(M_MMAP_THRESHOLD, KEPT) and libc.mallopt(M_TRIM_THRESHOLD, 2 * KEPT - 1))
    return _kept


def can_keep_memory() -> bool:
    """Whether glibc allocates here, by its own choices."""
    chosen = any(name.startswith("MALLOC_") for name in os.environ) or "LD_PRELOAD" in os.environ
    try:
        glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, OSError, ValueError):  # another system, another C library
        glibc = False
    return glibc and not chosen
