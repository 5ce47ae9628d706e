from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("nir")

import h5py
import nir
import numpy as np

from idsnn_convert.passes.convert import Settings, convert
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.targets import target_for
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.compare import ran
from idsnn_convert.runtime.export.nir.write import to_nir
from idsnn_convert.runtime.neurons import Neuron
from tests import graphs

KNOWN = {"name": "half", "mean": [0.5] * 3, "std": [0.5] * 3}


def student(**neuron: Any) -> Checkpoint:
    graph = graphs.spiking(neuron=Neuron(**neuron))
    return Checkpoint(graph, graphs.random_tensors(graph), 3, normalisation=KNOWN)


def written(folder: Path, checkpoint: Checkpoint) -> Path:
    place = folder / "student.nir"
    nir.write(place, to_nir(checkpoint))
    return place


@pytest.mark.parametrize("neuron", [{}, {"reset": "soft", "v_threshold": 1.0}, {"kind": "if", "decay": 1.0}])
def test_a_student_comes_back_as_the_same_network(tmp_path: Path, neuron: dict[str, Any]) -> None:
    given = student(**neuron)
    teacher = load_teacher(written(tmp_path, given))
    assert (teacher.form, teacher.family, teacher.unread) == ("NIR graph", "spiking network", {})
    back = convert(teacher, target_for(teacher, "same"), Settings(), {}).checkpoint
    assert back.time_steps == 3
    assert back.normalisation == KNOWN
    rows = [[{**row, "tau": None} for row in each.neurons] for each in (given, back)]
    assert rows[0] == rows[1]
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    want, found = ran(given, images), ran(back, images)
    assert torch.allclose(found.logits, want.logits, atol=1e-5)
    assert found.spikes.keys() == want.spikes.keys()
    assert set(to_nir(back).edges) == set(to_nir(given).edges)


def test_other_targets_take_the_weights_and_their_own_neurons(tmp_path: Path) -> None:
    teacher = load_teacher(written(tmp_path, student(decay=0.9)))
    made = convert(teacher, target_for(teacher, "resnet8", width=0.25), Settings(), {}).checkpoint
    assert made.time_steps == 3
    assert {row["decay"] for row in made.neurons} == {Neuron().decay}


def test_its_neurons_are_not_changed_on_the_way(tmp_path: Path) -> None:
    teacher = load_teacher(written(tmp_path, student()))
    with pytest.raises(UserError, match=r"student\.nir holds neurons, which target same takes over"):
        convert(teacher, target_for(teacher, "same"), Settings(neuron=Neuron(decay=0.5)), {})


def test_what_nir_does_not_say_is_assumed_of_another_writers_file(tmp_path: Path) -> None:
    graph = to_nir(student())
    graph.metadata = {"idsnn": '{"normalisation": {"name": 3}, "time_steps": true}'}
    nir.write(tmp_path / "a.nir", graph)
    graph.metadata = {}
    nir.write(tmp_path / "b.nir", graph)
    for name in ("a.nir", "b.nir"):
        teacher = load_teacher(tmp_path / name)
        assert (teacher.normalisation, teacher.time_steps) == (None, None)
        assert "keeps them" in teacher.assumptions[0]
    assert "the answer is the mean over the steps" in teacher.assumptions[1]


def test_its_owner_is_contradicted(tmp_path: Path) -> None:
    place = written(tmp_path, student())
    assert load_teacher(place, input_size=8).input_shape == (3, 8, 8)
    with pytest.raises(UserError, match=r"student\.nir: it takes images of 8x8, not 32"):
        load_teacher(place, input_size=32)
    with pytest.raises(UserError, match=r"student\.nir: its blocks are those of .*, not of resnet18"):
        load_teacher(place, arch="resnet18")


def test_a_node_without_a_form_is_named(tmp_path: Path) -> None:
    graph = to_nir(student())
    graph.nodes["act1"] = nir.Threshold(graph.nodes["act1"].v_threshold)
    nir.write(tmp_path / "x.nir", graph)
    with pytest.raises(UserError, match=r"x\.nir: its node 'act1' is a Threshold"):
        load_teacher(tmp_path / "x.nir")


def test_a_missing_package_comes_with_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = written(tmp_path, student())
    for name in [name for name in sys.modules if name.startswith("idsnn_convert.runtime.export.nir")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(UserError, match=r"student\.nir is an HDF5 file; to read a NIR graph from it needs nir") as told:
        load_teacher(place)
    assert told.value.hint == 'pip install "idsnn-convert[nir]"'


def test_another_hdf5_file_is_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "keras.h5", "w") as file:
        file["model_weights"] = np.zeros(3)
    with pytest.raises(UserError, match="such as Keras writes, but no NIR graph") as told:
        load_teacher(tmp_path / "keras.h5")
    assert told.value.hint == "Of HDF5 files NIR graphs alone are read."


def test_a_record_that_is_not_json_is_no_record(tmp_path: Path) -> None:
    graph = to_nir(replace(student(), time_steps=7))
    assert '"time_steps": 7' in graph.metadata["idsnn"]
    graph.metadata["idsnn"] = "{"
    nir.write(tmp_path / "x.nir", graph)
    assert load_teacher(tmp_path / "x.nir").time_steps is None
