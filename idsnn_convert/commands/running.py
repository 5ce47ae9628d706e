"""A training run as a command: its progress, what Ctrl-C does, and what is printed at the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import click

from idsnn_convert.learn import Training
from idsnn_convert.report.data import described_training
from idsnn_convert.report.progress import TrainingBar, tell
from idsnn_convert.report.tensorboard import Board
from idsnn_convert.report.terminal import print_training
from idsnn_convert.report.text import print_json
from idsnn_convert.runtime.allocator import keep_memory
from idsnn_convert.runtime.distributed import leads
from idsnn_convert.runtime.stop import Interrupted
from idsnn_convert.runtime.trainer import Watcher


def run(
    train: Callable[[Watcher, Callable[[str], None]], Training], as_json: bool, board: Path | None = None, batch_size: int = 0
) -> None:
    """Calls ``train`` with a watcher and with what receives lines for the person who waits.

    ``board``: the folder for TensorBoard's files, if they are wanted. ``batch_size``: the recipe's, to tell images a second.

    Of several processes that train together, one speaks.
    """
    keep_memory()
    told = tell if leads() else lambda line: None
    try:
        with TrainingBar(batch_size) as bar, nullcontext(bar) if board is None else Board(board, bar) as watcher:
            training = train(watcher, told)
    except Interrupted as stop:
        told(f"{stop}; the same command with --resume goes on from here")
        raise click.exceptions.Exit(stop.exit_code) from stop
    if leads():
        print_json(described_training(training)) if as_json else print_training(training.result)
