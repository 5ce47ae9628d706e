from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import onnxruntime

from idsnn_convert import runtime
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.export.onnx.forms import SPIKING_FORMS
from idsnn_convert.runtime.export.onnx.model import to_onnx
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.readout import Readout
from tests import graphs

STEPS = 3


def student(reset: str = "hard") -> Checkpoint:
    graph = graphs.spiking(neuron=Neuron(reset=reset))
    return Checkpoint(graph, graphs.random_tensors(graph), STEPS)


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def stepped(run: onnxruntime.InferenceSession, images: torch.Tensor) -> NDArray[np.float32]:
    """Three steps, every potential handed on by its name."""
    states = {i.name: i.shape for i in run.get_inputs()[1:]}
    given = {name: np.zeros([len(images), *shape[1:2], *_size(images, name)], np.float32) for name, shape in states.items()}
    names, logits = [result.name for result in run.get_outputs()], []
    for _ in range(STEPS):
        found = dict(zip(names, run.run(names, {"images": images.numpy(), **given}), strict=True))
        given = {name: found[f"{name}_next"] for name in states}
        logits.append(found["logits"])
    return np.stack(logits)


def _size(images: torch.Tensor, state: str) -> list[int]:
    halved = 2 if state.startswith("layer2") else 1
    return [side // halved for side in images.shape[2:]]


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("opset", [17, 18, 22])
@pytest.mark.parametrize("form", SPIKING_FORMS)
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 3, 16, 12)])
def test_each_form_computes_what_the_network_computes_for_any_batch_and_size(
    reset: str, opset: int, form: str, shape: tuple[int, ...]
) -> None:
    checkpoint = student(reset)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        want = runtime.network(checkpoint).eval()(images).numpy()
    run = session(to_onnx(checkpoint, form=form, opset=opset, folded=False))
    if form == "step":
        found = stepped(run, images)
    else:
        feed = {"images": images.numpy()} | ({"time_steps": np.asarray(STEPS)} if form == "scan" else {})
        mean, found = run.run(["logits", "logits_per_step"], feed)
        assert np.allclose(mean, found.mean(0), atol=1e-6)
    assert want.any()
    assert np.allclose(found, want, atol=1e-5)


@pytest.mark.parametrize("form", SPIKING_FORMS)
def test_what_a_neuron_learnt_is_written(form: str) -> None:
    graph = graphs.spiking(neuron=Neuron(learn_decay=True, learn_threshold=True))
    tensors = graphs.random_tensors(graph)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    checkpoint = Checkpoint(graph, tensors, STEPS)
    with torch.no_grad():
        want = runtime.network(checkpoint).eval()(images).numpy()
    run = session(to_onnx(checkpoint, form=form))
    feed = {"images": images.numpy()} | ({"time_steps": np.asarray(STEPS)} if form == "scan" else {})
    found = stepped(run, images) if form == "step" else run.run(["logits_per_step"], feed)[0]
    assert np.allclose(found, want, atol=1e-5)


def test_in_a_loop_the_number_of_steps_is_free() -> None:
    checkpoint = student()
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    run = session(to_onnx(checkpoint, form="scan"))
    for steps in (1, 7):
        with torch.no_grad():
            want = runtime.network(checkpoint, time_steps=steps).eval()(images).numpy()
        (found,) = run.run(["logits_per_step"], {"images": images.numpy(), "time_steps": np.asarray(steps)})
        assert np.allclose(found, want, atol=1e-5)


@pytest.mark.parametrize("form", ["unrolled", "scan"])
@pytest.mark.parametrize("opset", [17, 18])
def test_a_leaky_readout_is_part_of_the_model(form: str, opset: int) -> None:
    checkpoint = replace(student(), readout=Readout("membrane", 0.5))
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    run = session(to_onnx(checkpoint, form=form, opset=opset))
    feed = {"images": images.numpy()} | ({"time_steps": np.asarray(STEPS)} if form == "scan" else {})
    answer, steps = run.run(["logits", "logits_per_step"], feed)
    assert np.allclose(answer, checkpoint.readout(torch.from_numpy(steps)).numpy(), atol=1e-6)
    assert not np.allclose(answer, steps.mean(0), atol=1e-3)


def test_a_network_without_neurons_has_no_time() -> None:
    graph = graphs.ann()
    tensors = graphs.random_tensors(graph)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        want = runtime.network(Checkpoint(graph, tensors, 1)).eval()(images)[0].numpy()
    run = session(to_onnx(Checkpoint(graph, tensors, 1), form="ann"))
    assert [result.name for result in run.get_outputs()] == ["logits"]
    assert np.allclose(run.run(None, {"images": images.numpy()})[0], want, atol=1e-5)


def test_what_has_no_time_is_written_once_and_repeated_only_where_time_begins() -> None:
    model = to_onnx(student(), folded=False)
    assert sum(node.op_type == "Conv" for node in model.graph.node) == len(graphs.spiking().of("conv2d"))
    inside = to_onnx(student(), form="scan", folded=False).graph
    loop = next(node for node in inside.node if node.op_type == "Loop").attribute[0].g
    assert "conv1" in [name for node in inside.node for name in node.output]
    assert "conv1" not in [name for node in loop.node for name in node.output]


def test_where_a_map_is_flattened_its_size_is_fixed() -> None:
    sizes = [dim.dim_param or dim.dim_value for dim in to_onnx(student()).graph.input[0].type.tensor_type.shape.dim]
    assert sizes == ["batch", 3, "height", "width"]
    graph = graphs.spiking()
    nodes = [n for n in graph if n.name != "avgpool"]
    flat = 8 * 4 * 4
    changed = {
        "flatten": replace(graph["flatten"], inputs=graph["avgpool"].inputs, shape=(flat,)),
        "fc": replace(graph["fc"], attrs={**graph["fc"].attrs, "in_features": flat}),
    }
    fixed = type(graph)(tuple(changed.get(n.name, n) for n in nodes))
    model = to_onnx(Checkpoint(fixed, graphs.random_tensors(fixed), STEPS))
    assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == ["batch", 3, 8, 8]
