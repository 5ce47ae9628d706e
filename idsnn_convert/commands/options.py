"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from idsnn_convert.cli import printable
from idsnn_convert.process import unswept

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)

arch = click.option("--arch", metavar="NAME", help="What the teacher is; a file that holds another network is refused.")
input_size = click.option(
    "--input-size",
    type=click.IntRange(1),
    metavar="PIXELS",
    help="Height and width of its images, where its file cannot tell.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout instead of text.")
reports = click.option(
    "--report",
    "reports",
    metavar="FILE",
    type=PATH,
    multiple=True,
    help="Write the mapping to FILE too: a page (.html), Markdown (.md) or the whole record (.json). May be repeated.",
)
DATA_HELP = (
    "cifar10:DIR, cifar100:DIR, fashion-mnist:DIR or tiny-imagenet:DIR with the published files; folder:DIR with "
    "train/CLASS/*.jpg and val/CLASS/*.jpg; parquet:DIR as on the Hugging Face Hub."
)
_READING = (
    click.option("--download", is_flag=True, help="Fetch the set from its publisher into DIR if it is not there."),
    click.option("--image-size", type=click.IntRange(1), metavar="PIXELS", help="Resize image files to this height and width."),
    click.option(
        "--channels", type=click.Choice(["1", "3"]), help="Make image files gray or coloured.  [default: as they are]"
    ),
    click.option(
        "--memory",
        type=click.FloatRange(0),
        default=4.0,
        show_default=True,
        metavar="GIB",
        help="Keep decoded image files in memory if all fit into this; else they are decoded again and again.",
    ),
    click.option("--workers", type=click.IntRange(1), metavar="N", help="Threads that decode.  [default: one a core]"),
)
DATA = ("data", "download", "image_size", "channels", "memory", "workers")
"""The options that :func:`data` adds."""


def data(command: Decorated) -> Decorated:
    """``--data`` and how it is read; the command is given the data set as ``data``, found but not read yet."""
    return _reading(command, click.option("--data", metavar="SET:DIR", required=True, help=DATA_HELP))


def data_if_named(purpose: str) -> Callable[[Decorated], Decorated]:
    """The same where it may be left out; ``data`` is None then. ``purpose``: what it is good for."""
    option = click.option("--data", metavar="SET:DIR", help=f"{purpose} {DATA_HELP}")
    return lambda command: _reading(command, option)


def _reading(command: Decorated, named: Callable[[Any], Any]) -> Decorated:
    @wraps(command)
    def with_data(
        *arguments: Any,
        data: str | None,
        download: bool,
        image_size: int | None,
        channels: str | None,
        memory: float,
        workers: int | None,
        **choices: Any,
    ) -> Any:
        if data is None:
            return command(*arguments, data=None, **choices)
        with unswept():
            from idsnn_convert.report.progress import counting, tell
            from idsnn_convert.runtime.data import Reading, open_dataset

        how = (image_size, int(channels) if channels else None, int(memory * 2**30), workers or 0, download)
        if not download:
            return command(*arguments, data=open_dataset(data, Reading(*how)), **choices)
        with counting("fetching", images=0) as watch:
            dataset = open_dataset(data, Reading(*how, watch, tell))
        return command(*arguments, data=dataset, **choices)

    for option in reversed((named, *_READING)):
        with_data = option(with_data)
    return cast(Decorated, with_data)


normalisation = click.option(
    "--normalisation",
    metavar="NAME|M/S",
    help="A known one (imagenet, cifar10, ...); measured, on the training images; or means/deviations for pixels from 0 to 1: "
    "0.5,0.5,0.5/0.2,0.2,0.2.",
)
limit_train = click.option(
    "--limit-train", type=click.IntRange(1), metavar="N", help="Only N training images, drawn by the seed."
)
limit_test = click.option(
    "--limit-test", type=click.IntRange(1), metavar="N", help="Only the first N test images after an epoch."
)
out = click.option("--out", type=PATH, required=True, metavar="RUN", help="The folder of the run.")
resume = click.option("--resume", is_flag=True, help="Go on where the run in RUN stopped, however it stopped.")
epochs = click.option("--epochs", type=click.IntRange(1), metavar="N", help="Instead of the recipe's number of epochs.")
seed = click.option("--seed", type=click.IntRange(0), metavar="N", help="Instead of the recipe's seed.")
overrides = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe: optimizer.lr=0.1.")
device = click.option(
    "--device", metavar="NAME", default="auto", show_default=True, help="cpu, cuda, cuda:1; auto takes a GPU if there is one."
)
compiled = click.option(
    "--compile/--no-compile", "compiled", default=None, help="Fused, compiled kernels.  [default: where they pay]"
)
tensorboard = click.option(
    "--tensorboard", is_flag=True, help="Also write curves for TensorBoard, into RUN/tensorboard; needs extra 'track'."
)

_CACHE = (
    click.option(
        "--teacher-cache",
        type=PATH,
        metavar="DIR",
        help="Keep the teacher's logits in DIR, and take those of batches that it answered before from there: with the same "
        "seed, batch size and augmentation all of them, whatever else differs. The result is the same.",
    ),
    click.option(
        "--teacher-cache-gib",
        type=click.FloatRange(0),
        default=4.0,
        show_default=True,
        metavar="GIB",
        help="How large it may grow; 0 for no cache. An epoch of 50,000 images of 100 classes takes 20 MB.",
    ),
)
CACHE = ("teacher_cache", "teacher_cache_gib")
"""The options that :func:`teacher_cache` adds."""


def teacher_cache(command: Decorated) -> Decorated:
    """``--teacher-cache`` and ``--teacher-cache-gib``."""
    for option in reversed(_CACHE):
        command = option(command)
    return command


TEACHER = ("arch", "input_size")
"""The options that say what a teacher is."""

_TRUST = (
    click.option(
        "--allow-global",
        metavar="NAME",
        multiple=True,
        help="DANGER: import NAME (package.Class) and let a torch.save file call it. May be repeated.",
    ),
    click.option(
        "--unsafe-pickle", is_flag=True, help="DANGER: run whatever code a torch.save file holds. Only for your own files."
    ),
)
TRUST = ("allow_global", "unsafe_pickle")
"""The options that :func:`trust` adds."""


def trust(command: Decorated) -> Decorated:
    """``--allow-global`` and ``--unsafe-pickle``, with a warning on stderr where one is given."""

    @wraps(command)
    def with_trust(*arguments: Any, allow_global: tuple[str, ...], unsafe_pickle: bool, **choices: Any) -> Any:
        for name in allow_global:
            click.echo(printable(f"WARNING: --allow-global: the file may call {name}, with your rights."), err=True)
        if unsafe_pickle:
            click.echo("WARNING: --unsafe-pickle: code in the file runs now, with your rights.", err=True)
        return command(*arguments, allow_global=allow_global, unsafe_pickle=unsafe_pickle, **choices)

    for option in reversed(_TRUST):
        with_trust = option(with_trust)
    return cast(Decorated, with_trust)


def recipe(default: str, known: str) -> Callable[[Decorated], Decorated]:
    """``--recipe``; ``known`` tells which there are."""
    return click.option("--recipe", default=default, show_default=True, metavar="NAME|FILE", help=known)


def changed(epochs: int | None, seed: int | None) -> list[str]:
    """``--epochs`` and ``--seed`` as changes of the recipe."""
    numbers = {"run.epochs": epochs, "run.seed": seed}
    return [f"{key}={value}" for key, value in numbers.items() if value is not None]
