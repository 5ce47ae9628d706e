"""Writing the folder that :func:`idsnn_convert.runtime.pretrained.from_pretrained` reads, as on the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from idsnn_convert import runtime
from idsnn_convert.measure import Energy
from idsnn_convert.report.build import recorded
from idsnn_convert.report.card import card
from idsnn_convert.report.write import as_json
from idsnn_convert.runtime.checkpoint import Checkpoint, read, save
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.types import Stage
from idsnn_convert.runtime.files import replacing_folder
from idsnn_convert.runtime.pretrained import WEIGHTS, from_pretrained, write_pretrained
from idsnn_convert.runtime.synops import count


def save_pretrained(
    student: str | Path | Checkpoint,
    folder: str | Path,
    *,
    licence: str | None = None,
    measured: Energy | None = None,
    data: str | None = None,
) -> Path:
    """Writes a student as a folder: ``config.json``, ``model.safetensors``, ``mapping.json`` and a model card.

    Args:
        student: a checkpoint, or the file of one.
        folder: must not be there yet.
        licence: of the weights, as the Hub names licences; the card says so if it is not stated.
        measured: what :func:`idsnn_convert.energy` found on the test images of ``data``, for the card.

    Raises:
        UserError: if the student cannot be read or the folder not be written.
    """
    place = Path(folder)
    checkpoint = student if isinstance(student, Checkpoint) else read(Path(student))
    if place.exists():
        raise UserError(f"{place} exists", hint="Name another folder, or remove it.")
    with replacing_folder(place) as part:
        write_folder(part, checkpoint, licence=licence, measured=measured, data=data)
    return place


def write_folder(
    folder: Path,
    checkpoint: Checkpoint,
    *,
    licence: str | None = None,
    measured: Energy | None = None,
    data: str | None = None,
) -> None:
    """The same into a folder that is there."""
    save(folder / WEIGHTS, checkpoint)  # the record tells its hash
    record = recorded(checkpoint, folder / WEIGHTS)
    write_pretrained(folder, checkpoint, as_json(record), card(record, licence, measured, data))


def measured(checkpoint: Checkpoint, batches: Sequence[tuple[Tensor, Tensor]], normalisation: str) -> Energy:
    """Accuracy and synaptic operations on normalised images (B, C, H, W) with labels (B,)."""
    return Energy(count(runtime.network(checkpoint), batches), normalisation)


def stages(checkpoint: Checkpoint, write: Callable[[Path], None], found: Energy | None) -> Iterator[Stage]:
    """That the folder reads back as the same network, to the bit; and what was measured for its card."""
    with tempfile.TemporaryDirectory() as name:
        write(Path(name))
        size = sum(path.stat().st_size for path in Path(name).iterdir())
        back = from_pretrained(name)
    same = back.graph == checkpoint.graph and all(
        torch.equal(tensor, checkpoint.tensors[name]) for name, tensor in back.tensors.items()
    )
    yield Stage(
        "Read back", f"{len(back.tensors)} tensors, {'equal' if same else 'not equal'} to the bit; {size:,} bytes", same
    )
    if found is not None:
        work = found.work
        text = f"top-1 {work.top1_per_step[-1]:.2f} % of {work.images:,} images after {work.time_steps} steps"
        yield Stage("Measured for its card", text, True, {"top1_percent_per_step": list(work.top1_per_step)})
