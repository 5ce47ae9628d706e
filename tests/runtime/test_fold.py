from __future__ import annotations

from dataclasses import replace

import torch

from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.ops import check, tensor_shapes
from tests import graphs


def outputs(graph: Graph, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    images = torch.randn(3, *graph.input_shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        return build(graph, tensors).double().eval()(images)  # type: ignore[no-any-return]


def test_a_folded_network_computes_the_same_function_with_no_norm_left() -> None:
    graph = graphs.ann()
    tensors = graphs.random_tensors(graph)
    smaller, folded = fold(graph, tensors)
    check(smaller)
    assert not smaller.of("batch_norm")
    assert {name: tuple(tensor.shape) for name, tensor in folded.items()} == tensor_shapes(smaller)
    assert torch.allclose(outputs(smaller, folded), outputs(graph, tensors), rtol=1e-5, atol=1e-5)


def test_a_bias_that_is_there_is_scaled_too() -> None:
    graph = graphs.ann()
    biased = {n.name: replace(n, attrs={**n.attrs, "bias": True}) for n in graph.of("conv2d")}
    graph = graph.with_nodes(biased)
    tensors = graphs.random_tensors(graph)
    smaller, folded = fold(graph, tensors)
    assert torch.allclose(outputs(smaller, folded), outputs(graph, tensors), rtol=1e-5, atol=1e-5)


def test_a_norm_without_weights_is_folded() -> None:
    graph = graphs.ann()
    graph = graph.with_nodes({n.name: replace(n, attrs={**n.attrs, "affine": False}) for n in graph.of("batch_norm")})
    tensors = graphs.random_tensors(graph)
    smaller, folded = fold(graph, tensors)
    assert not smaller.of("batch_norm")
    assert torch.allclose(outputs(smaller, folded), outputs(graph, tensors), rtol=1e-5, atol=1e-5)


def test_a_norm_stays_where_no_convolution_is_before_it_or_another_reads_that_convolution() -> None:
    conv = graphs.ann()["conv1"]
    shape = conv.shape
    norm = dict(graphs.ann()["bn1"].attrs)
    graph = Graph(
        (
            Node("x", "input", shape=(3, 8, 8)),
            conv,
            Node("bn1", "batch_norm", ("conv1",), norm, shape),
            Node("bn2", "batch_norm", ("bn1",), norm, shape),
            Node("sum", "add", ("conv1", "bn2"), {}, shape),
            Node("out", "output", ("sum",), {}, shape),
        )
    )
    check(graph)
    tensors = graphs.random_tensors(graph)
    same, kept = fold(graph, tensors)
    assert same == graph
    assert kept.keys() == tensors.keys()


def test_what_was_given_is_left_alone() -> None:
    graph = graphs.ann()
    tensors = graphs.random_tensors(graph)
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    fold(graph, tensors)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors.items())
