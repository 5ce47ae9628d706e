"""Networks in 8 bits: each layer against float64, whole ones against float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idsnn_convert.passes.load import load_teacher
from idsnn_convert.runtime import eight_bit, fixed_point
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.data.batches import test_batches as batches_of
from idsnn_convert.runtime.eight_bit import ByteConv2d, Decode, Encode, in_eight_bits, plan
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fixed_point import supported
from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.graph import Attr, Graph, Node, Shape
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.normalisation import KNOWN
from tests import graphs

needs_bytes = pytest.mark.skipif(not supported(), reason="this processor does not multiply bytes (AVX-512 VNNI)")
READS, WRITES, ADDS = 0.02, 0.05, 0.03


def bytes_of(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def conv_node(conv: nn.Conv2d) -> Node:
    sizes: dict[str, Attr] = {"kernel": conv.kernel_size, "stride": conv.stride, "dilation": conv.dilation}
    channels: dict[str, Attr] = {"in_channels": conv.in_channels, "out_channels": conv.out_channels}
    rest: dict[str, Attr] = {"padding": (int(conv.padding[0]), int(conv.padding[1])), "groups": conv.groups}
    return Node("conv", "conv2d", ("x",), {**sizes, **channels, **rest, "bias": conv.bias is not None})


def rounded(weight: Tensor) -> Tensor:
    unit = weight.abs().amax((1, 2, 3), keepdim=True).double() / 127
    return (weight.double() / unit).round() * unit


@needs_bytes
@pytest.mark.parametrize(("coded", "added"), [(False, False), (True, False), (True, True)], ids=["real", "bytes", "added"])
@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 1, "stride": 2, "bias": False},
        {"kernel_size": (3, 2), "dilation": 2, "padding": (0, 2)},
        {"kernel_size": 3, "padding": 1, "groups": 4},
        {"kernel_size": 3, "padding": 1, "groups": 8},
    ],
    ids=["3x3", "1x1", "dilated", "groups", "depthwise"],
)
@pytest.mark.parametrize("count", [3, 1, 0])
def test_a_convolution_of_bytes(settings: dict[str, Any], coded: bool, added: bool, count: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, **settings)
    x = bytes_of(count, 8, 9, 6)
    bias = None if conv.bias is None else conv.bias.double()
    places = (conv.stride, conv.padding, conv.dilation, conv.groups)
    wanted = F.conv2d(READS * x.double(), rounded(conv.weight.detach()), bias, *places)
    more = bytes_of(*wanted.shape, seed=1) if added else None
    scales = (READS, WRITES if coded else None, ADDS if added else None)
    layer = ByteConv2d(conv_node(conv), conv.weight.detach(), conv.bias if conv.bias is None else conv.bias.detach(), *scales)
    with torch.no_grad():
        found = layer(x, None if more is None else more.clone())
        again = layer(x.contiguous(memory_format=torch.channels_last), more)
    assert torch.equal(found, again)
    assert found.shape == wanted.shape
    if not coded:
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
        return
    assert found.dtype == torch.uint8
    wanted = wanted if more is None else wanted + ADDS * bytes_of(*wanted.shape, seed=1).double()
    wanted = wanted.clamp(0, 255 * WRITES)
    assert count == 0 or (found.double() * WRITES - wanted).abs().max() <= 0.5001 * WRITES


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_bytes_are_the_nearest(memory_format: torch.memory_format) -> None:
    x = torch.linspace(-3, 9, 2 * 5 * 4 * 3).view(2, 5, 4, 3).contiguous(memory_format=memory_format)
    found = Encode(0.03)(x)
    assert found.dtype == torch.uint8
    assert found.stride() == x.stride()
    back = Decode(0.03)(found)
    assert back.dtype == torch.float32
    assert (back - x.clamp(0, 255 * 0.03)).abs().max() <= 0.01501
    assert torch.equal(Encode(0.03)(back), found)


def test_a_scale_leaves_out_what_is_rare() -> None:
    torch.manual_seed(0)
    values = torch.cat([torch.randn(1_000_000).relu(), torch.tensor([8.0])])
    assert eight_bit._scale(values, 8.0) < 7 / 255
    assert eight_bit._scale(torch.linspace(0, 5, 1000), 5.0) == pytest.approx(5 / 255)
    assert eight_bit._scale(torch.zeros(9), 0.0) == 1.0

    assert eight_bit._scale(torch.full((9,), 1e-38), 1e-38) == 1.0
    for most in (1e-25, 1e25):
        assert eight_bit._scale(torch.linspace(0, 1, 1000) * most, most) == pytest.approx(most / 255)


@needs_bytes
def test_a_map_is_judged_by_all_its_columns() -> None:
    shape, wide = (4, 32, 32), (64, 32, 32)
    stem, end = (
        Node(name, "conv2d", (source,), conv_node(nn.Conv2d(*channels, 3, padding=1, bias=False)).attrs, size)
        for name, source, channels, size in (("stem", "x", (4, 64), wide), ("end", "a", (64, 4), shape))
    )
    site, out = Node("a", "activation", ("stem",), {"kind": "relu"}, wide), Node("out", "output", ("end",), shape=shape)
    graph = Graph((Node("x", "input", shape=shape), stem, site, end, out))
    tensors = graphs.random_tensors(graph)
    images = torch.zeros(8, *shape)
    images[:, :, 2:30, 2:30] = torch.rand(8, 4, 28, 28, generator=torch.Generator().manual_seed(0))  # with a black border
    with torch.no_grad():
        found, wanted = in_eight_bits(graph, tensors, images)(images), build(graph, tensors).eval()(images)
    assert float((found - wanted).norm() / wanted.norm()) < 0.02


def test_what_runs_in_bytes() -> None:
    graph, _ = fold(graphs.ann(), graphs.random_tensors(graphs.ann()))
    found = plan(graph)
    assert found.coded == {"act1", "layer1.0.act1", "layer1.0.act2", "layer2.0.act1"}  # the last feeds the head's pool
    assert found.ends == {
        "layer1.0.conv1": "layer1.0.act1",
        "layer1.0.conv2": "layer1.0.act2",
        "layer2.0.conv1": "layer2.0.act1",
    }
    assert found.adds == {"layer1.0.conv2": "act1"}
    for kept in ("layer1.0.conv1", "layer1.0.conv2", "layer1.0.add"):
        assert kept not in plan(graph, [kept]).ends


@needs_bytes
def test_a_network_is_near_to_that_in_float32() -> None:
    graph = graphs.ann()
    folded, tensors = fold(graph, graphs.random_tensors(graph))
    torch.manual_seed(0)
    images, others = torch.randn(2, 64, 3, 8, 8)
    taps = ["layer1.0.act2", "layer2.0.act2", "layer2.0.downsample.0"]
    network = in_eight_bits(folded, tensors, images, taps)
    with torch.no_grad():
        for found, wanted in zip(network(others), build(folded, tensors, taps=taps).eval()(others), strict=True):
            assert found.dtype == torch.float32
            assert float((found - wanted).norm() / wanted.norm()) < 0.05
            assert not torch.equal(found, wanted)
    assert network.shown == 64
    assert 58 <= network.same <= 64
    assert network.brief() == f"5 of 6 convolutions in 8 bits; the same answer for {network.same} of 64 images"


def sketch(*nodes: Node, out: str) -> Graph:
    shape: Shape = next(node.shape for node in nodes if node.name == out)
    return Graph((Node("x", "input", shape=(4, 6, 6)), *nodes, Node("out", "output", (out,), shape=shape)))


def convolve(name: str, source: str) -> Node:
    return replace(conv_node(nn.Conv2d(4, 4, 3, padding=1)), name=name, inputs=(source,), shape=(4, 6, 6))


def relu(name: str, source: str, kind: str = "relu") -> Node:
    return Node(name, "activation", (source,), {"kind": kind}, (4, 6, 6))


def add(name: str, *sources: str) -> Node:
    return Node(name, "add", sources, {}, (4, 6, 6))


START = (convolve("stem", "x"), relu("a", "stem"))
READ_TWICE = {
    "by the convolution it is added to": (*START, convolve("b", "a"), add("s", "b", "a"), relu("r", "s")),
    "by a later sum": (
        *START,
        *(convolve("b", "a"), relu("b1", "b"), convolve("c", "b1"), add("s", "c", "a"), relu("m", "s")),
        *(convolve("d", "m"), add("s2", "d", "a"), relu("r", "s2")),
    ),
    "by a later layer": (
        *START,
        *(convolve("b", "a"), relu("b1", "b"), convolve("c", "b1"), add("s", "c", "a"), relu("m", "s")),
        *(convolve("d", "m"), convolve("e", "a"), add("s2", "d", "e"), relu("r", "s2")),
    ),
    "by a layer that runs late": (  # e stands before the sum, but is computed with the activation behind it
        *START,
        *(convolve("b", "a"), relu("b1", "b"), convolve("c", "b1"), convolve("e", "a"), add("s", "c", "a"), relu("m", "s")),
        *(relu("e1", "e"), convolve("d", "m"), convolve("f", "e1"), add("s2", "d", "f"), relu("r", "s2")),
    ),
}


@needs_bytes
@pytest.mark.parametrize("nodes", READ_TWICE.values(), ids=READ_TWICE.keys())
def test_bytes_that_are_still_read_are_not_written_over(nodes: tuple[Node, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    end = (convolve("end", "r"), relu("last", "end"))
    graph = sketch(*nodes, *end, out="last")
    tensors = graphs.random_tensors(graph)
    images = torch.randn(8, 4, 6, 6, generator=torch.Generator().manual_seed(0))

    network = in_eight_bits(graph, tensors, images)
    assert any("__copy" in name for name, _ in network.named_modules())
    monkeypatch.setattr(eight_bit, "_last", lambda *given: False)
    with torch.no_grad():
        assert torch.equal(network(images), in_eight_bits(graph, tensors, images)(images))


@needs_bytes
def test_bytes_that_are_asked_for_are_not_written_over() -> None:
    graph, tensors = fold(graphs.ann(), graphs.random_tensors(graphs.ann()))
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network = in_eight_bits(graph, tensors, images, ["act1"])
        _, found = network(images)
        wanted = build(graph, tensors, taps=["act1"]).eval()(images)[1]
    assert (found - wanted).abs().max() <= 0.5001 * network.scales["act1"] + (
        wanted.max() - 255 * network.scales["act1"]
    ).relu()


@needs_bytes
def test_bytes_are_pooled_and_copied_only_where_they_must_be() -> None:
    window: dict[str, Attr] = {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "ceil_mode": False}
    pooled = Node("pool", "max_pool2d", ("a",), window, (4, 6, 6))
    block = (convolve("b", "pool"), relu("b1", "b", "relu6"), convolve("c", "b1"), add("s", "c", "pool"), relu("r", "s"))
    graph = sketch(*START, pooled, *block, convolve("end", "r"), out="end")
    tensors = graphs.random_tensors(graph)
    images = 3 * torch.randn(16, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    network = in_eight_bits(graph, tensors, images)
    assert network.scales["pool"] == network.scales["a"]
    assert network.scales["b1"] <= 6 / 255
    assert not any("copy" in name for name, _ in network.named_modules())
    with torch.no_grad():
        found, wanted = network(images), build(graph, tensors).eval()(images)
    assert float((found - wanted).norm() / wanted.norm()) < 0.02


@needs_bytes
@pytest.mark.parametrize("tapped", [False, True])
def test_dropout_does_not_stand_between_bytes_and_a_convolution(tapped: bool) -> None:
    drop = Node("drop", "dropout", ("a",), {"p": 0.5}, (4, 6, 6))
    graph = sketch(*START, drop, convolve("b", "drop"), relu("r", "b"), convolve("end", "r"), out="end")
    tensors, taps = graphs.random_tensors(graph), ["drop"] if tapped else []
    images = torch.randn(8, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    network = in_eight_bits(graph, tensors, images, taps)
    assert network.brief().startswith(f"{1 if tapped else 2} of 3 convolutions")
    with torch.no_grad():
        found, wanted = network(images), build(graph, tensors, taps=taps).eval()(images)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.1)


WINDOWS = {  # kernel, stride, padding, dilation of a map of 7x1; whether each holds a pixel
    "touching": ((3, 3), (1, 1), (1, 1), (1, 1), True),
    "beside": ((1, 1), (1, 2), (3, 3), (1, 3), False),
    "half beside": ((2, 1), (1, 1), (1, 0), (1, 1), False),
    "far over": ((5, 3), (1, 3), (0, 2), (1, 1), False),
    "around": ((3, 2), (2, 1), (5, 1), (2, 2), False),
}


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "sees"), WINDOWS.values(), ids=WINDOWS.keys())
def test_a_window_of_padding_alone_is_left_to_float32(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int], sees: bool
) -> None:
    conv = nn.Conv2d(4, 4, kernel, stride, padding, dilation)
    shape = tuple(conv(torch.zeros(1, 4, 7, 1)).shape[1:])
    for site in (Node("a", "activation", ("x",), {"kind": "relu"}, (4, 7, 1)), Node("a", "neuron", ("x",), {}, (4, 7, 1))):
        layer = replace(conv_node(conv), inputs=("a",), shape=shape)
        graph = Graph((Node("x", "input", shape=(4, 7, 1)), site, layer, Node("out", "output", ("conv",), shape=shape)))
        taken = fixed_point.convolutions(graph) if site.op == "neuron" else plan(graph).coded
        assert bool(taken) == sees


@needs_bytes
def test_a_network_without_relus_stays_as_it_is() -> None:
    graph = graphs.residual(("activation", {"kind": "silu"}))
    tensors = graphs.random_tensors(graph)
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    network = in_eight_bits(graph, tensors, images)
    with torch.no_grad():
        torch.testing.assert_close(network(images), build(graph, tensors).eval()(images))
    assert network.brief().startswith("0 of 6 convolutions in 8 bits; the same answer for 8 of 8")


@needs_bytes
def test_no_images_no_answers_and_no_gradients() -> None:
    graph, tensors = fold(graphs.ann(), graphs.random_tensors(graphs.ann()))
    network = in_eight_bits(graph, tensors, torch.randn(8, 3, 8, 8))
    with torch.no_grad():
        assert network(torch.empty(0, 3, 8, 8)).shape == (0, graphs.CLASSES)
    with pytest.raises(ValueError, match="has no gradients"):
        network(torch.zeros(1, 3, 8, 8))


@needs_bytes
def test_a_network_kept_in_half_precision() -> None:
    graph, tensors = fold(graphs.ann(), graphs.random_tensors(graphs.ann()))
    halves = {name: tensor.half() for name, tensor in tensors.items()}
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = in_eight_bits(graph, halves, images)(images)
        wanted = in_eight_bits(graph, {name: tensor.float() for name, tensor in halves.items()}, images)(images)
    assert torch.equal(found, wanted)


@needs_bytes
@pytest.mark.parametrize("place", ["layer1.0.conv1.weight", "layer1.0.conv1.bias"])
def test_what_no_byte_stands_for(place: str) -> None:
    graph, tensors = fold(graphs.ann(), graphs.random_tensors(graphs.ann()))
    tensors[place] = torch.full_like(tensors[place], torch.inf)
    with pytest.raises(UserError, match=r"'layer1\.0\.act1' has NaN or infinite values"):
        in_eight_bits(graph, tensors, torch.randn(8, 3, 8, 8))


@needs_bytes
def test_answers_that_are_none() -> None:
    graph, tensors = fold(graphs.ann(), graphs.random_tensors(graphs.ann()))
    tensors["fc.bias"] = torch.full_like(tensors["fc.bias"], torch.nan)
    with pytest.raises(UserError, match="NaN or infinite answers"):
        in_eight_bits(graph, tensors, torch.randn(8, 3, 8, 8))


def test_a_processor_that_does_not_multiply_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed_point, "supported", lambda: False)
    graph = graphs.ann()
    with pytest.raises(UserError, match="need a processor that multiplies bytes"):
        in_eight_bits(graph, graphs.random_tensors(graph), torch.randn(8, 3, 8, 8))


@needs_bytes
def test_a_trained_teacher_answers_as_before(teachers_dir: Path, cifar10_dir: Path) -> None:
    teacher = load_teacher(teachers_dir / "resnet20-12fca82f.th")
    graph, tensors = fold(teacher.graph, teacher.tensors)
    data, usual = open_dataset(f"cifar10:{cifar10_dir}"), KNOWN["imagenet"]
    shown, tested = (
        next(batches_of(split.first(count), count, normalisation=usual))
        for split, count in ((data.train, 128), (data.test, 500))
    )
    network = in_eight_bits(graph, tensors, shown[0])
    with torch.no_grad():
        found, wanted = network(tested[0]).argmax(1), build(graph, tensors).eval()(tested[0]).argmax(1)
    assert int((found == wanted).sum()) >= 490
    assert sum(isinstance(module, ByteConv2d) for module in network.modules()) == 18
