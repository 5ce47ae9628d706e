"""The record of a conversion: everything there is to say of a student, as one versioned document.

``mapping.json`` is this record; the terminal, Markdown and HTML reports are drawn from it. Its JSON Schema lies beside
this file as ``mapping.schema.json``. Names come from teachers' files as they are, so what draws them escapes them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Shape = list[Count]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Setting = bool | int | float | str | None


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Histogram(_Part):
    """Counts of finite values in bins of equal width from ``low`` to ``high``; one bin where those are equal."""

    low: float
    high: float
    counts: list[Count]


class Tensor(_Part):
    """One tensor of the student."""

    target: str
    target_shape: Shape
    place: str
    """``stem``, the block's name, ``head``, or ``network`` where there is no block."""
    rule: Literal["copy", "loop", "fresh"]
    status: Literal["exact", "looped", "fresh"]
    """``exact``: the teacher's shape; ``looped``: some channels repeated or left out; ``fresh``: drawn by the seed."""
    source: str | None
    """The tensor's name in the teacher's file; null if fresh."""
    source_shape: Shape | None
    source_place: str | None = None
    """Where in the teacher it stood."""
    repeats: list[Count] | None
    """How often the source's output and input channels occur, at most."""
    reason: str
    """Why it is fresh; empty otherwise."""
    sha256: Digest
    """Of its float32 bytes as converted, before any training."""
    source_sha256: Digest | None = None
    """Of the source's, in float32."""
    trained: bool
    """Whether the student's file now holds other values than the conversion wrote."""
    histogram: Histogram
    """Of the values in the student's file."""
    source_histogram: Histogram | None = None


class Added(_Part):
    """A tensor of the student that the conversion did not write: what its neurons learn, say."""

    target: str
    target_shape: Shape
    sha256: Digest
    histogram: Histogram


class Unused(_Part):
    """A tensor of the teacher's file that the student takes nothing from."""

    source: str
    reason: str
    shape: Shape | None = None
    """Null where the teacher itself does not compute with it."""
    place: str | None = None


class Block(_Part):
    """A residual block."""

    name: str
    join: str
    """The node that adds (or multiplies) its two paths."""
    convolutions: Count
    """Those of its main branch."""
    shortcut: str
    """``identity``, ``projection``, ``pad``, or the operations it is made of."""
    source: str = ""
    """Where the author joined the paths, ``resnet.py:93``; empty if unknown."""


class Stage(_Part):
    """Consecutive blocks that give maps of one shape (C, H, W)."""

    shape: Shape
    blocks: list[Block]


class Stages(_Part):
    teacher: list[Stage] = []
    target: list[Stage] = []


class Pair(_Part):
    """A target block and the teacher's block it was initialised from; stages count from 0."""

    target: str
    source: str
    target_stage: Count
    source_stage: Count
    rule: str = ""


class Neuron(_Part):
    """A neuron layer, and the activation of the teacher that stands at the same place."""

    name: str
    shape: Shape
    place: str | None = None
    teacher: str | None = None
    teacher_activation: str = ""
    source: str = ""
    """Where the teacher's author wrote that activation, ``resnet.py:93``; empty if unknown."""
    settings: dict[str, Setting]
    """``kind``, ``v_threshold``, ``decay``, ``reset``, ``surrogate``, ``width``, ``tau`` in time steps (null: no leak)."""


class Caution(_Part):
    """What of the teacher converts, but not to the letter."""

    reason: str
    node: str = ""
    source: str = ""
    advice: str = ""


class Check(_Part):
    """A property that was checked before the student was written."""

    name: str
    found: str
    wanted: str
    passed: bool


class Threshold(_Part):
    """A neuron layer's balanced threshold."""

    neuron: str
    v_threshold: float
    unit: float
    """What a spike stands for: activation = unit times rate."""


class Curve(_Part):
    """Top-1 in percent against the time steps, and of the network without spikes, on the first test images."""

    images: Count
    ann_top1: float
    steps: list[Count]
    top1: list[float]


class Balance(_Part):
    """How thresholds were balanced: on which images, presented how."""

    rule: str
    """``max``, or the percentile of a layer's currents that became its threshold."""
    steps: Count
    encoder: str
    images: Count
    """Training images, drawn by the seed."""
    images_sha256: Digest
    """Of their bytes."""
    data: str
    seed: int
    thresholds: list[Threshold]
    scaled: list[str]
    """Biases that became constant currents."""
    curve: Curve | None


class Coverage(_Part):
    """How much of the student came from the teacher: in tensors, and in their values (parameters)."""

    tensors: Count
    of_tensors: Count
    parameters: Count
    of_parameters: Count
    percent_of_tensors: float
    percent_of_parameters: float


class Teacher(_Part):
    """What was converted."""

    file: str = "?"
    """Its name, without the folder."""
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    form: str = "?"
    family: str = "?"
    arch: str = "unknown teacher"
    classes: Count | None = None
    input_shape: Shape = []
    assumptions: list[str] = []
    """What the file could not tell, one sentence each."""
    evidence: dict[str, Any] = {}
    """What images said of the teacher; empty if none were asked."""


class File(_Part):
    """The student's file."""

    name: str
    sha256: Digest
    bytes: Count


class Readout(_Part):
    """How one answer is made of the logits of all time steps."""

    kind: str
    decay: float


class Record(_Part):
    """Where everything in a spiking student came from."""

    kind: Literal["mapping"] = "mapping"
    format_version: Literal[1] = 1
    target: str
    student: File | None
    teacher: Teacher
    command: str | None
    """The command that converts again, run where the teacher's file lies; null if it was no command."""
    versions: dict[str, str]
    """Of the packages that made the student."""
    time_steps: int
    encoder: str
    readout: Readout
    normalisation: dict[str, Any] | None
    """What the student's images must be normalised by; null if not known yet."""
    settings: dict[str, Setting]
    parameters: Count
    coverage: Coverage
    cautions: list[Caution]
    checks: list[Check]
    stages: Stages
    pairs: list[Pair]
    tensors: list[Tensor]
    added: list[Added]
    unused: list[Unused]
    activation_sites: Count | None
    neurons: list[Neuron]
    balance: Balance | None = None
    """Null where thresholds were not balanced."""
    training: dict[str, Any]
    """What it was trained with since; empty if it was not."""


def schema() -> dict[str, Any]:
    """The record's JSON Schema."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Record.model_json_schema(mode="serialization")}
