from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from idsnn_convert import runtime
from idsnn_convert.runtime.checkpoint import FORMAT_VERSION, KEY, Checkpoint, description, is_checkpoint, read, save
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.readout import Readout
from tests.graphs import random_tensors


@pytest.fixture
def checkpoint(tiny_spiking_graph: Graph) -> Checkpoint:
    facts: dict[str, Any] = {"mapping": {"pairs": []}, "teacher": {"sha256": "ab"}, "provenance": {"version": "1"}}
    return Checkpoint(tiny_spiking_graph, random_tensors(tiny_spiking_graph), 4, normalisation={"name": "none"}, **facts)


@pytest.fixture
def written(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    save(tmp_path / "net.safetensors", checkpoint)
    return tmp_path / "net.safetensors"


def rewritten(path: Path, change: Any) -> Path:
    """The file with its metadata changed by ``change(data)``, which may also give the raw text instead."""
    with safe_open(path, framework="pt") as file:
        data = json.loads(file.metadata()[KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    text = change(data)
    save_file(tensors, path, {KEY: text if isinstance(text, str) else json.dumps(data)})
    return path


def test_a_path_may_be_a_string(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save(str(tmp_path / "net.safetensors"), checkpoint)
    assert read(str(tmp_path / "net.safetensors")).graph == checkpoint.graph


def test_round_trip(checkpoint: Checkpoint, written: Path) -> None:
    again = read(written)
    assert again.metadata() == json.loads(json.dumps(checkpoint.metadata()))
    assert again.graph == checkpoint.graph
    assert list(again.tensors) == list(checkpoint.tensors)
    assert all(torch.equal(again.tensors[name], checkpoint.tensors[name]) for name in checkpoint.tensors)


def test_a_readout_is_kept_and_the_mean_adds_nothing(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert "readout" not in checkpoint.metadata()
    save(tmp_path / "leaky", replace(checkpoint, readout=Readout("membrane", 0.5)))
    assert read(tmp_path / "leaky").readout == runtime.load(tmp_path / "leaky").readout == Readout("membrane", 0.5)
    with pytest.raises(UserError, match="unknown readout 'vote'"):
        read(rewritten(tmp_path / "leaky", lambda data: data["readout"].update(kind="vote") or json.dumps(data)))


def test_equal_content_gives_equal_bytes(checkpoint: Checkpoint, written: Path, tmp_path: Path) -> None:
    shuffled = dict(reversed(list(checkpoint.tensors.items())))
    save(tmp_path / "again.safetensors", checkpoint.with_tensors(shuffled))
    assert (tmp_path / "again.safetensors").read_bytes() == written.read_bytes()


def test_load_rebuilds_the_network_from_the_file_alone(checkpoint: Checkpoint, written: Path) -> None:
    images = torch.randn(2, 3, 8, 8)
    wanted = runtime.network(checkpoint).eval()(images)
    assert torch.equal(runtime.load(written).eval()(images), wanted)
    assert runtime.load(str(written), time_steps=7)(images).shape == (7, 2, 5)


def test_neurons_are_listed_with_their_settings(checkpoint: Checkpoint) -> None:
    assert [neuron["name"] for neuron in checkpoint.neurons] == [node.name for node in checkpoint.graph.of("neuron")]
    first = checkpoint.neurons[0]
    assert (first["kind"], first["v_threshold"], first["decay"], first["shape"]) == ("lif", 0.5, 0.25, [4, 8, 8])


def test_told_apart_from_other_files(written: Path, tmp_path: Path) -> None:
    assert is_checkpoint(written)
    save_file({"w": torch.zeros(2)}, tmp_path / "teacher.safetensors")
    (tmp_path / "short").write_bytes(b"\x05")
    for name in ("teacher.safetensors", "short", "absent"):
        assert not is_checkpoint(tmp_path / name)


def test_a_teacher_is_not_taken_for_a_student(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(2)}, tmp_path / "teacher.safetensors")
    with pytest.raises(UserError, match=r"holds no spiking network[\s\S]*idsnn-convert"):
        read(tmp_path / "teacher.safetensors")


def test_a_description_is_read_without_its_tensors(checkpoint: Checkpoint, written: Path) -> None:
    data = bytearray(written.read_bytes())
    data[-1] ^= 1  # in a tensor
    written.write_bytes(data)
    with pytest.raises(UserError, match="is damaged"):
        read(written)
    found = description(written)
    assert (found.graph, found.time_steps, found.tensors) == (checkpoint.graph, 4, {})
    with pytest.raises(UserError, match="no such file"):
        description(written.parent / "absent")
    with pytest.raises(UserError, match="unknown encoder"):
        description(rewritten(written, lambda data: data.update(encoder="morse")))


def test_missing_and_truncated_files(written: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "absent.safetensors")
    whole = written.read_bytes()
    for length in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        written.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"net\.safetensors"):
            read(written)


def set_to(key: str, value: Any) -> Any:
    return lambda data: data.__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: "{", "no valid JSON"),
        (lambda data: "[" * 100_000, "no valid JSON"),
        (lambda data: '{"format_version": NaN}', "NaN is no JSON number"),
        (lambda data: "[]", "no JSON object"),
        (set_to("format_version", FORMAT_VERSION + 1), "format version 2"),
        (set_to("time_steps", 0), "time_steps is 0"),
        (set_to("time_steps", True), "time_steps is True"),
        (set_to("encoder", "morse"), "unknown encoder 'morse'"),
        (set_to("encoder", []), "unknown encoder"),
        (set_to("normalisation", 3), "normalisation is 3"),
        (set_to("mapping", None), "'mapping' is missing"),
        (set_to("graph", []), "must begin with its input"),
        (lambda data: data["graph"][3]["attrs"].__setitem__("v_threshold", -1), "v_threshold"),
        (lambda data: data["graph"][1]["attrs"].__setitem__("out_channels", 5), "declares shape"),
        (lambda data: data["graph"][1].__setitem__("name", "stem"), "no node before it gives"),
    ],
)
def test_a_description_that_is_wrong_is_refused_with_the_file_named(written: Path, change: Any, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        read(rewritten(written, change))
    assert "net.safetensors" in caught.value.problem


def test_tensors_that_contradict_the_graph_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    text = json.dumps(checkpoint.metadata())
    good = dict(checkpoint.tensors)
    bad = [
        ({name: value for name, value in good.items() if name != "fc.bias"}, r"'fc\.bias' is missing"),
        ({**good, "more": torch.zeros(1)}, "'more' belongs to no node"),
        ({**good, "fc.bias": torch.zeros(6)}, r"'fc\.bias' has shape \(6,\)"),
        ({**good, "fc.bias": torch.zeros(5).half()}, r"'fc\.bias' is stored as F16"),
    ]
    for tensors, told in bad:
        save_file(tensors, tmp_path / "bad.safetensors", {KEY: text})
        with pytest.raises(UserError, match=told):
            read(tmp_path / "bad.safetensors")


def test_nothing_is_written_that_could_not_be_read(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'bn1\.bias' is missing"):
        save(tmp_path / "net.safetensors", checkpoint.with_tensors({}))
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_code_is_not_run(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = 'training") or print("INJECTED") or getattr(self, "training'

    def rename(data: Any) -> str:
        return json.dumps(data).replace('"out"', json.dumps(hostile))

    with pytest.raises(UserError, match="a name is letters, digits"):
        runtime.load(rewritten(written, rename))
    assert "INJECTED" not in capsys.readouterr().out
