"""The model card of a student: what it is, what it was made from and of, how good it is, and what that costs."""

from __future__ import annotations

import json
from collections.abc import Iterable

from idsnn_convert.measure import Energy
from idsnn_convert.report import summary
from idsnn_convert.report.markdown import code, grid, plain
from idsnn_convert.report.record import Record
from idsnn_convert.report.text import shown
from idsnn_convert.report.units import joules
from idsnn_convert.runtime.energy import MODELS
from idsnn_convert.runtime.pretrained import WEIGHTS

UNSTATED = "Not stated by whoever exported it. The weights began as the teacher's, whose licence may bind them."


def card(record: Record, licence: str | None = None, measured: Energy | None = None, data: str | None = None) -> str:
    """``README.md``, with the metadata that the Hub reads in front.

    Args:
        measured: on ``data``, the name of a data set; without them the card says what the training measured, if anything.
    """
    return "\n".join((*_front(record, licence, measured, data), *_body(record, licence, measured, data))) + "\n"


def _front(record: Record, licence: str | None, measured: Energy | None, data: str | None) -> Iterable[str]:
    """YAML of JSON's values, which YAML takes, so that no text of others becomes more than text."""
    name = data or record.training.get("dataset")
    facts = {
        "library_name": "idsnn-convert",
        **({"license": licence} if licence else {}),
        "tags": ["spiking-neural-network", "image-classification"],
        **({"datasets": [str(name)]} if name else {}),
        "metrics": ["accuracy"],
    }
    yield "---"
    yield from (f"{key}: {json.dumps(value)}" for key, value in facts.items())
    yield "---"


def _body(record: Record, licence: str | None, measured: Energy | None, data: str | None) -> Iterable[str]:
    yield f"# {plain(summary.title(record).replace('->', '→'))}"
    yield from ("", f"A spiking network: {plain(summary.student_told(record))}. {record.parameters:,} values.", "")
    yield from (f"    {line}" for line in USE)
    yield from ("", "## Data", "", plain(_data(record)))
    yield from ("", "## Recipe", "", plain(summary.training_told(record.training)))
    if recipe := record.training.get("recipe"):
        yield from ("", f"All of it: {code(json.dumps(recipe, sort_keys=True))}")
    yield from ("", "## Accuracy", "", *_accuracy(record, measured, data))
    yield from ("", "## Energy", "", *_energy(measured))
    yield from ("", "## Licence", "", plain(licence or UNSTATED))
    yield from ("", "## Provenance", "", *_provenance(record))


USE = (
    "from idsnn_convert import from_pretrained, runtime",
    "",
    'checkpoint = from_pretrained("this folder")',
    "network = runtime.network(checkpoint).eval()",
    "logits = checkpoint.readout(network(images))  # images normalised as checkpoint.normalisation says",
)


def _data(record: Record) -> str:
    training, known = record.training, record.normalisation
    told = "Not trained since it was converted."
    if training:
        told = f"Trained on {training.get('train_images', '?'):,} images of {training.get('dataset', '?')}."
    if known is None:
        return f"{told} How its images must be normalised is not recorded."
    return f"{told} Images are normalised by mean {known.get('mean')} and deviation {known.get('std')} ({known.get('name')})."


def _accuracy(record: Record, measured: Energy | None, data: str | None) -> Iterable[str]:
    if measured is not None:
        yield f"Top-1 on the first {measured.work.images:,} test images of {plain(data)}, stopped after T steps:"
        found = measured.work.top1_per_step
    else:
        metrics = record.training.get("metrics", {})
        found = tuple(metrics.get("test_top1_percent_per_step", ()))
        if not found:
            yield "Not measured."
            return
        yield f"Top-1 on {record.training.get('test_images', '?'):,} test images during training, stopped after T steps:"
    yield ""
    yield from grid(("T", "top-1 %"), [(str(t), f"{top1:.2f}") for t, top1 in enumerate(found, 1)], numbers=2)


def _energy(measured: Energy | None) -> Iterable[str]:
    if measured is None:
        yield "Not measured: export with images (`--data`) to have it here."
        return
    work, point, ann = measured.work, measured.point(measured.work.time_steps), measured.ann()
    yield f"{measured.brief()}; the same network without spikes takes {work.dense_macs:,} multiply-accumulates."
    yield "The energies are those of models, not measurements:"
    yield ""
    rows = [(name, joules(point["joules"][name]), joules(ann[name]), model.assumes) for name, model in MODELS.items()]
    yield from grid(("model", "spiking", "without spikes", "assumes"), rows)


def _provenance(record: Record) -> Iterable[str]:
    teacher = record.teacher
    yield f"- Teacher: {code(teacher.file)}, {plain(teacher.family)} {plain(teacher.arch)}, sha256 {code(teacher.sha256)}"
    yield from (f"- From the teacher: {plain(told)}" for told in summary.coverage_told(record))
    if record.student is not None:
        yield f"- {code(WEIGHTS)}: sha256 {code(record.student.sha256)}"
    if record.command:
        yield f"- Converted by {code(record.command)}"
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    yield f"- Made by {plain(shown(versions) or 'an unknown release')}"
    yield from (f"- Assumed of the teacher: {plain(told)}" for told in teacher.assumptions)
