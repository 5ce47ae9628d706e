"""``RUN/probe.json``: what was measured of a run's best network, so that its page is drawn without data.

Accuracies are in percent, energies in joules an image, potentials without unit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.files import write_text

NAME = "probe.json"
LARGEST = 16 << 20
"""Most bytes of such a file that are read."""

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
Positive = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Teacher(_Part):
    """The network the run learnt from, measured on the run's test images."""

    file: str
    sha256: str
    top1_percent: Percent
    images: Count


class Firing(_Part):
    """A neuron layer over all images measured; shares as in :class:`idsnn_convert.runtime.firing.LayerFiring`."""

    name: str
    shape: list[Count]
    rate: Share
    silent: Share
    constant: Share


class Layer(_Part):
    """What a convolution or linear layer costs an image, over all steps."""

    name: str
    spiking: bool
    """Its inputs are spikes: its operations are accumulations."""
    density: Share
    operations: Positive


class Point(_Part):
    """Accuracy and cost of an image if the network stops after ``time_steps``."""

    time_steps: Count
    top1_percent: Percent
    effective_macs: Positive
    effective_acs: Positive
    joules: dict[str, Positive | None]


class Energy(_Part):
    """Operations and energy, see :mod:`idsnn_convert.runtime.energy`."""

    images: Count
    layers: list[Layer]
    points: list[Point]
    dense_macs: Count
    """Of the same network without spikes."""
    dense_joules: dict[str, Positive | None]


class Trace(_Part):
    """Neurons of one layer and the image at hand, see :class:`idsnn_convert.runtime.probe.LayerProbe`."""

    name: str
    shape: list[Count]
    v_threshold: float
    rate: Share
    neurons: list[Count]
    potentials: list[list[float]]
    spikes: list[list[bool]]


class Answer(_Part):
    """A class, and how probable it was after 1, 2, ... T steps."""

    label: Count
    name: str
    per_step: list[Share]


class Image(_Part):
    """One test image and what the network made of it."""

    index: Count
    label: Count
    png: Annotated[str, Field(pattern="^[A-Za-z0-9+/]+={0,2}$", max_length=200_000)]
    """The image as stored, base64."""
    answers: list[Answer]
    """The most probable ones after all steps, most probable first; the label among them."""
    layers: list[Trace]


class Probed(_Part):
    """All of it. ``energy`` and ``image`` are null for a network without neurons."""

    kind: Literal["probe"] = "probe"
    format_version: Literal[1] = 1
    checkpoint: str
    sha256: str
    """Of the checkpoint's file."""
    epoch: Count
    data: str
    images: Count
    normalisation: str
    seed: Count
    time_steps: Count
    top1_percent: Percent
    loss: float
    class_names: list[str]
    confusion: list[list[Count]]
    """Images by label, then answer."""
    firing: list[Firing]
    energy: Energy | None
    image: Image | None
    teacher: Teacher | None
    versions: dict[str, str]

    def class_name(self, label: int) -> str:
        """The class's name, or its number."""
        return self.class_names[label] if label < len(self.class_names) else str(label)


def write_probed(folder: Path, probed: Probed) -> Path:
    """Writes ``folder``'s probe, all or nothing.

    Raises:
        UserError: if it cannot be written.
    """
    place = folder / NAME
    write_text(place, probed.model_dump_json() + "\n")
    return place


def read_probed(folder: Path) -> Probed | None:
    """The probe of the run in ``folder``; None if there is none.

    Raises:
        UserError: if its file is damaged.
    """
    place = folder / NAME
    hint = f"Measure the run again: idsnn report {folder} --data SET:DIR."
    try:
        if place.stat().st_size > LARGEST:
            raise UserError(f"{place} has {place.stat().st_size:,} bytes; at most {LARGEST:,} are read", hint=hint)
        return Probed.model_validate_json(place.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        wrong = error.errors()[0]
        told = f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}".removeprefix(": ")
        raise UserError(f"{place} is no probe of a run: {told}", hint=hint) from error
    except OSError as error:
        raise UserError(f"{place} cannot be read: {error.strerror}") from error
