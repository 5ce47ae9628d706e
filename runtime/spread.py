"""Pieces of work side by side, each on one thread.

PyTorch divides an operator among threads and waits for all of them before the next. Where operators are short, waiting costs
more than dividing wins: of two threads the second may make things slower. So whole pieces are divided instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import TypeVar

import torch

MOST_THREADS = 8
"""Python starts one operator at a time, so more would wait for each other."""

Piece = TypeVar("Piece")


def spread(work: Callable[[Sequence[Piece]], None], pieces: Sequence[Piece]) -> None:
    """Calls ``work`` with a share of ``pieces`` on as many threads as PyTorch uses, and waits for all; without gradients.

    The shares must not write to the same places. What ``work`` raises is raised here.
    """
    threads = min(torch.get_num_threads(), MOST_THREADS, len(pieces))
    if threads < 2:
        work(pieces)
        return
    mode = torch.is_inference_mode_enabled()  # a thread has its own

    def share(first: int) -> None:
        with torch.inference_mode(mode), torch.no_grad():
            work(pieces[first::threads])

    for done in [_pool(threads).submit(share, first) for first in range(threads)]:
        done.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads on which PyTorch divides nothing."""
    ours, ready = torch.get_num_threads(), Barrier(threads)

    def begin() -> None:
        torch.get_num_threads()  # a thread's first look would undo what is set before it
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="idsnn")
    for started in [pool.submit(begin) for _ in range(threads)]:
        started.result()
    torch.set_num_threads(ours)  # threads to come take the number that was set last
    return pool
