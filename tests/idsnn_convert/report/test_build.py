from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from idsnn_convert.passes.mapping import histogram
from idsnn_convert.report.build import recorded
from idsnn_convert.report.record import Record
from idsnn_convert.runtime.checkpoint import Checkpoint, read
from tests.idsnn_convert import files


def test_every_tensor_of_the_student_and_of_its_teacher_is_there(record: Record, checkpoint: Checkpoint, teacher: Path) -> None:
    assert [row.target for row in record.tensors] == list(checkpoint.tensors)
    used = {row.source for row in record.tensors} - {None}
    held = torch.load(teacher, weights_only=True)["state_dict"]
    assert used | {row.source for row in record.unused} == held.keys()
    for row in record.tensors:
        assert row.histogram.model_dump() == histogram(checkpoint.tensors[row.target])
        assert not row.trained
        if row.source is not None:
            assert row.source_sha256 == hashlib.sha256(held[row.source].numpy().tobytes()).hexdigest()
    assert record.added == []


def test_what_was_just_made_is_not_looked_through_again(
    record: Record, checkpoint: Checkpoint, student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idsnn_convert.report.build.digest", lambda tensor: pytest.fail("hashed again"))
    assert recorded(checkpoint, student, as_made=True) == record


def test_files_are_told_with_their_bytes(record: Record, student: Path, teacher: Path) -> None:
    assert record.student is not None
    assert (record.student.name, record.student.bytes) == ("student.safetensors", student.stat().st_size)
    for path, digest in ((student, record.student.sha256), (teacher, record.teacher.sha256)):
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record.command == "idsnn-convert tiny.th --target resnet8 --time-steps 2 --width 0.25"
    assert record.versions["torch"] == torch.__version__


def test_every_neuron_has_its_settings_and_its_place(record: Record) -> None:
    assert len(record.neurons) == record.activation_sites == 7
    first = record.neurons[0]
    assert (first.name, first.place, first.teacher, first.teacher_activation) == ("lif", "stem", "relu", "relu")
    assert {"kind", "v_threshold", "decay", "reset", "surrogate", "width", "tau"} <= first.settings.keys()


def test_settings_stand_in_one_order_whoever_reads(record: Record, checkpoint: Checkpoint) -> None:
    assert list(record.settings)[:2] == ["stem", "downsample"]
    mixed = {**checkpoint.mapping, "settings": {"new": 1, **dict(sorted(checkpoint.mapping["settings"].items()))}}
    assert [*record.settings, "new"] == list(recorded(replace(checkpoint, mapping=mixed)).settings)


def test_training_changes_tensors_and_says_so(trained: Path) -> None:
    record = recorded(read(trained / "last.safetensors"))
    changed = {row.target for row in record.tensors if row.trained}
    assert {"conv1.weight", "fc.weight"} <= changed
    assert record.student is None
    assert record.training["metrics"]["epoch"] == 2


def test_what_neurons_learn_is_added(student: Path, fashion: str) -> None:
    files.done(
        "train", student, "--data", fashion, "--out", "run", "--recipe", "init-only", "--epochs", 1,
        "--set", 'neuron.learn=["decay"]', "--set", "run.batch_size=24",
    )  # fmt: skip
    record = recorded(read(Path("run/last.safetensors")))
    assert [row.target for row in record.added] == [f"{neuron.name}.decay_logit" for neuron in record.neurons]
    assert "7 tensors (lif.decay_logit, ...): not of the conversion" in files.unwrapped(
        files.done("inspect", "run/last.safetensors").stdout
    )


def test_a_network_from_elsewhere_has_a_record_too(checkpoint: Checkpoint) -> None:
    record = recorded(replace(checkpoint, mapping={}, teacher={}, provenance={}))
    assert (record.teacher.arch, record.target, record.command) == ("unknown teacher", "network", None)
    assert [row.target for row in record.added] == list(checkpoint.tensors)


@pytest.mark.parametrize("mapping", [{"tensors": [1]}, {"tensors": [{"target": "conv9.weight"}]}, {"pairs": "all"}])
def test_a_mapping_that_is_none_is_refused(checkpoint: Checkpoint, mapping: dict[str, object]) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)):
        recorded(replace(checkpoint, mapping=mapping))
