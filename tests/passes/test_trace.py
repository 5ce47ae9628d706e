from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idsnn_convert.passes.builder import RefusedError
from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.resnet.module import ResNet
from idsnn_convert.passes.resnet.spec import ResNetSpec, Stem
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.trace import canonical, exported, trace, unsupported
from idsnn_convert.passes.types import Canonical
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.network import build
from tests.passes import replicas
from tests.passes.replicas import Calls, conv_bn, lively, network

BLOCKS: dict[str, list[nn.Module]] = {
    "one relu layer called twice, in place": [replicas.Residual(8, 8), replicas.Residual(8, 12, 2)],
    "functions, option A": [replicas.Functional(8, 8), replicas.Functional(8, 12, 2)],
    "zero channels by mul": [replicas.ZeroChannels(8, "mul")],
    "zero channels by zeros_like": [replicas.ZeroChannels(8, "zeros_like")],
    "zero channels by new_zeros": [replicas.ZeroChannels(8, "new_zeros")],
    "squeeze-excite, convolutions": [replicas.SqueezeExcite(8, linear=False)],
    "squeeze-excite, linear": [replicas.SqueezeExcite(8, linear=True)],
    "channel attention": [replicas.ChannelAttention(8)],
    "selective kernel": [replicas.SelectiveKernel(8)],
    "split": [replicas.Res2(8)],
    "pyramid": [replicas.Pyramid(8, 10, 2)],
    "blur": [replicas.Blur(8)],
    "weight computed from its parameter": [nn.BatchNorm2d(8), replicas.Standardised(8, 8, 3)],
    "weight computed from its parameters, constants": [replicas.NormFree(8)],
    "global context": [replicas.GlobalContext(8)],
    "group norm": [replicas.GroupNormed(8, 12)],
    "space to depth, written-out SiLU": [replicas.SpaceToDepth(), *conv_bn(32, 8)],
    "reflect padding": [nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")],
    "ceil pooling": [nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)],
    "batch norm without weights, relu6, leaky relu": [nn.BatchNorm2d(8, affine=False), nn.ReLU6(), nn.LeakyReLU(0.2)],
    "dropout, in place": [nn.Dropout(0.5, inplace=True), nn.ReLU(), nn.Dropout2d(0.2), nn.Dropout(0.0)],
}  # fmt: skip


def assert_equal_outputs(traced: Canonical, module: nn.Module, size: int = 16) -> None:
    images = torch.randn(3, traced.graph.input_shape[0], size, size)
    with torch.no_grad():
        rebuilt, original = build(traced.graph, traced.tensors).eval()(images), module(images)
    torch.testing.assert_close(rebuilt, original, rtol=0, atol=1e-6)


def plain(traced: Canonical) -> tuple[Any, ...]:
    """Everything but the source lines: those of trace name the line of a forward, even where a helper makes the call."""
    rows = [{**asdict(node), "source": ""} for node in traced.graph]
    return rows, dict(traced.origin), list(traced.tensors)


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
def test_the_graph_computes_what_the_module_computes(blocks: list[nn.Module]) -> None:
    module = network(*blocks)
    assert_equal_outputs(trace(module, (3, 16, 16)), module)


@pytest.mark.parametrize(
    "name",
    ["one relu layer called twice, in place", "functions, option A", "split", "pyramid", "dropout, in place", "group norm"],
)
def test_both_tracers_give_one_graph(name: str) -> None:
    module = network(*BLOCKS[name])
    assert plain(trace_known(module, (3, 16, 16))) == plain(trace(module, (3, 16, 16)))


RESNETS: dict[str, dict[str, Any]] = {
    "basic": {},
    "option A, bare ends": {"shortcut": "pad", "after_add": "stage", "window": 3, "hidden": 7},
    "bottleneck, large stem": {"block": "bottleneck", "outputs": (32, 48), "groups": 4, "stem": Stem(8, 7, 2, 3, pool=True)},
    "preact": {"block": "preact-basic", "after_add": "none", "final_norm": True, "projected_entry": True},
    "sew iand": {"residual": "sew-iand", "after_add": "none"},
}


@pytest.mark.parametrize("changes", RESNETS.values(), ids=RESNETS)
def test_both_tracers_give_one_graph_of_our_own_networks(changes: dict[str, Any]) -> None:
    sizes: dict[str, Any] = {"depths": (1, 2), "widths": (8, 12), "outputs": (8, 12), "strides": (1, 2), "stem": Stem(8)}
    module = lively(ResNet(ResNetSpec("tiny", **{**sizes, "classes": 5, "input_size": 24, **changes})))
    traced = trace(module, (3, 24, 24))
    assert plain(trace_known(module, (3, 24, 24))) == plain(traced)
    assert_equal_outputs(traced, module, 24)


def test_a_computed_weight_tells_all_the_parameters_it_is_computed_from() -> None:
    module = network(replicas.NormFree(8), nn.BatchNorm2d(8))
    traced = trace(module, (3, 16, 16))
    assert traced.computed == {f"1.{conv}.conv2d.weight": (f"1.{conv}.weight", f"1.{conv}.gain") for conv in ("conv1", "conv2")}
    deviation = traced.tensors["1.conv1.conv2d.weight"].flatten(1).std(1, correction=0) / module.get_submodule("1.conv1").gain
    torch.testing.assert_close(deviation, torch.full((8,), 0.1), rtol=1e-2, atol=0)


def test_each_call_of_a_shared_layer_is_a_site_of_its_own() -> None:
    traced = trace(network(replicas.Residual(8, 8)), (3, 16, 16))
    assert [node.name for node in traced.graph.of("activation")] == ["0.2", "1.relu", "1.relu_1"]
    assert traced.graph["1.relu_1"].source.startswith("replicas.py:")
    assert traced.origin["1.conv1.weight"] == "1.conv1.weight"


def test_gates_are_no_activations_but_silu_is() -> None:
    graph = trace(network(replicas.SqueezeExcite(8, linear=False), replicas.SpaceToDepth(), conv_bn(32, 8)), (3, 16, 16)).graph
    assert [node.attr("kind") for node in graph.of("gate")] == ["sigmoid"]
    assert [node.attr("kind") for node in graph.of("activation")] == ["relu", "relu", "relu", "silu"]


def test_zero_channels_become_padding() -> None:
    graph = trace(network(replicas.ZeroChannels(8, "zeros_like")), (3, 16, 16)).graph
    assert [node.attr("pads") for node in graph.of("pad")] == [(0, 0, 0, 0, 2, 6)]
    assert not graph.of("concat")


def test_blocks_are_found_through_splits_stacks_and_gates() -> None:
    blocks = [
        replicas.Res2(8),
        replicas.SelectiveKernel(8),
        replicas.ChannelAttention(8),
        replicas.SqueezeExcite(8, linear=True),
    ]
    cut = segment(trace(network(*blocks), (3, 16, 16)).graph)
    assert [len(stage.blocks) for stage in cut.stages] == [4]
    assert not cut.notes


def test_a_parameter_of_two_calls_is_copied_for_the_second() -> None:
    shared = nn.Conv2d(3, 3, 1)
    traced = trace(Calls(lambda self, x: self.conv(F.relu(self.conv(x))), conv=shared), (3, 4, 4))
    assert traced.origin == {f"{node}.{slot}": f"conv.{slot}" for node in ("conv", "conv_1") for slot in ("weight", "bias")}
    assert traced.tensors["conv.weight"].data_ptr() == shared.weight.data_ptr() != traced.tensors["conv_1.weight"].data_ptr()


def test_calls_that_nothing_reads_are_dropped() -> None:
    traced = trace(Calls(lambda self, x: (self.a(x), self.b(x))[1], a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(3, 5, 1)), (3, 4, 4))
    assert [node.name for node in traced.graph] == ["input", "b", "output"]
    assert set(traced.tensors) == {"b.weight", "b.bias"}


def test_names_never_lie_in_one_another() -> None:
    """A function called relu beside a child called relu.0, and a child called like a method of every module."""

    def forward(self: Any, x: Tensor) -> Any:
        return self.get_submodule("mul")(F.relu(self.get_submodule("relu")(F.relu(x)))) * x

    inner = nn.Sequential(nn.Conv2d(3, 3, 1))
    module = Calls(forward, relu=inner, mul=nn.Sequential(nn.Conv2d(3, 3, 1)))
    traced = trace(module, (3, 16, 16))
    assert [node.name for node in traced.graph][1:-1] == ["relu", "relu_.0", "relu_1", "mul.0", "mul_1"]
    assert_equal_outputs(traced, module)


def test_modes_are_restored() -> None:
    module = network(replicas.Residual(8, 8)).train()
    module.get_submodule("1.bn1").eval()
    trace(module, (3, 16, 16))
    assert [part.training for part in (module, module.get_submodule("1.bn1"), module.get_submodule("1.bn2"))] == [
        True,
        False,
        True,
    ]


class TestInPlace:
    """A call that overwrites its input changes what every other reader sees."""

    def test_other_readers_read_the_new_value(self) -> None:
        def forward(self: Any, x: Tensor) -> Any:
            y = self.conv(x)
            kept = y.clone()
            z = F.relu(y, inplace=True)
            return torch.cat([kept, y + z], 1)

        module = Calls(forward, conv=nn.Conv2d(3, 4, 1))
        traced = trace(module, (3, 16, 16))
        assert traced.graph["concat"].inputs == ("conv", "add")
        assert traced.graph["add"].inputs == ("relu", "relu")
        assert_equal_outputs(traced, module)

    def test_parts_of_a_split_are_separate(self) -> None:
        def forward(self: Any, x: Tensor) -> Any:
            first, second = torch.chunk(self.conv(x), 2, 1)
            first.relu_()
            return first + second

        module = Calls(forward, conv=nn.Conv2d(3, 4, 1))
        for traced in (trace(module, (3, 16, 16)), trace_known(module, (3, 16, 16))):
            assert_equal_outputs(traced, module)

    @pytest.mark.parametrize("tracer", [trace, trace_known])
    def test_the_whole_may_not_be_read_after_a_part_was_overwritten(self, tracer: Any) -> None:
        def forward(self: Any, x: Tensor) -> Any:
            y = self.conv(x)
            F.relu(y[:, :2], inplace=True)
            return y.flatten(1)

        with pytest.raises(UserError, match="reads 'conv' after part of it was changed in place"):
            tracer(Calls(forward, conv=nn.Conv2d(3, 4, 1)), (3, 4, 4))

    @pytest.mark.parametrize("tracer", [trace, trace_known])
    def test_a_part_may_not_be_read_after_the_whole_was_overwritten(self, tracer: Any) -> None:
        def forward(self: Any, x: Tensor) -> Any:
            y = self.conv(x)
            part = y[:, :2][:, :, ::2]
            return part.flatten(1), F.relu(y, inplace=True), part.flatten(1)

        with pytest.raises(UserError, match="reads 'slice_1' after part of it was changed in place"):
            tracer(Calls(lambda self, x: forward(self, x)[2], conv=nn.Conv2d(3, 4, 1)), (3, 4, 4))


def test_every_refusal_is_told_at_once_with_its_place() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        for norm in self.norms:
            x = norm(x)
        return torch.erf(x) * 3

    module = Calls(forward, norms=nn.ModuleList(nn.InstanceNorm2d(3) for _ in range(7)))
    found = unsupported(module, (3, 8, 8))
    assert [refusal.node for refusal in found] == [*(f"norms.{i}" for i in range(7)), "erf"]
    assert found[0].reason == "instance_norm has no canonical form"
    assert found[0].source.startswith("test_trace.py:")
    with pytest.raises(RefusedError) as told:
        trace(module, (3, 8, 8))
    assert list(told.value.refusals) == found
    lines = told.value.problem.splitlines()
    assert lines[0] == "Calls has 8 calls without a canonical form"
    assert lines[1].startswith("  instance_norm has no canonical form: norms.0 (test_trace.py:")
    assert lines[1].endswith(" and 2 more")
    assert lines[2].startswith("  erf has no canonical form: erf (test_trace.py:")
    assert told.value.hint == "Write it with the layers of a ResNet, or leave it out."


def test_a_supported_module_has_no_refusals() -> None:
    assert unsupported(network(replicas.Residual(8, 8)), (3, 16, 16)) == []


REFUSED: dict[str, tuple[Any, dict[str, nn.Module], str]] = {
    "statistics": (lambda self, x: self.bn(x), {"bn": nn.BatchNorm2d(3, track_running_stats=False)}, "no running statistics"),
    "clamp": (lambda self, x: x.clamp(-2, 2), {}, r"a clamp to \[-2, 2\] is no known activation"),
    "elu": (lambda self, x: F.elu(x, 0.5), {}, "ELU with alpha 0.5"),
    "gelu": (lambda self, x: F.gelu(x, approximate="tanh"), {}, "'tanh' approximation"),
    "constant": (lambda self, x: x + 2, {}, "add with 2 is not covered"),
    "constant less": (lambda self, x: 2 - x, {}, "2 - x is not covered"),
    "scaled sum": (lambda self, x: torch.add(x, x, alpha=2), {}, "alpha 2"),
    "parameter": (lambda self, x: x * self.bn.bias[:, None, None], {"bn": nn.BatchNorm2d(3)}, "with the parameter 'bn.bias'"),
    "uneven windows": (lambda self, x: F.adaptive_avg_pool2d(x, 3), {}, "8x8 map to 3x3 needs windows of unequal size"),
    "mean over channels": (lambda self, x: x.mean(1), {}, "a mean over axes"),
    "flattened batch": (lambda self, x: x.flatten(), {}, "flattens the batch"),
    "mixed batch": (lambda self, x: x.view(-1, 8), {}, "mixes the batch"),
    "half batch": (lambda self, x: x.view(x.size(0) * 2, -1), {}, "mixes the batch"),
    "batch behind": (lambda self, x: x.view(3, x.size(0), 8, 8), {}, "sizes are not known"),
    "joined rows": (lambda self, x: torch.cat([x, x], 2), {}, "joining over axis 2"),
    "part of the batch": (lambda self, x: x[:1], {}, "part of the batch"),
    "moved batch": (lambda self, x: x.transpose(0, 1), {}, "moves the batch"),
    "softmax over the batch": (lambda self, x: x.softmax(0), {}, "softmax over the batch"),
    "sum over the batch": (lambda self, x: x.sum(0), {}, "along the batch axis"),
    "double precision": (lambda self, x: x.double(), {}, "changes the data type to torch.float64"),
    "transposed": (lambda self, x: self.up(x), {"up": nn.ConvTranspose2d(3, 3, 2)}, "conv_transpose2d has no canonical form"),
    "weight from the input": (lambda self, x: F.linear(x.flatten(1), x.flatten(1)), {}, "weight is computed from the input"),
    "nothing but zeros": (lambda self, x: torch.cat([x * 0, x * 0], 1), {}, "nothing but zeros"),
    "divisor": (lambda self, x: F.avg_pool2d(x, 2, divisor_override=3), {}, "divisor_override"),
}  # fmt: skip


@pytest.mark.parametrize(("forward", "layers", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_exact_form_is_refused(forward: Any, layers: dict[str, nn.Module], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        trace(Calls(forward, **layers), (3, 8, 8))


def test_a_forward_that_fails_or_depends_on_values_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^Calls cannot be traced with inputs \(3, 8, 8\): .*ValueError|RuntimeError") as told:
        trace(Calls(lambda self, x: self.conv(x), conv=nn.Conv2d(4, 4, 1)), (3, 8, 8))
    assert "\n" not in told.value.problem
    with pytest.raises(UserError, match="Calls cannot be traced"):
        trace(Calls(lambda self, x: x if x.sum() > 0 else -x), (3, 8, 8))


def test_more_than_one_result_is_refused() -> None:
    with pytest.raises(UserError, match="Calls gives no single tensor"):
        trace(Calls(lambda self, x: (F.relu(x), x)), (3, 8, 8))


def test_a_result_in_a_dict_of_one_is_taken() -> None:
    assert len(trace(Calls(lambda self, x: {"logits": F.relu(x)}), (3, 8, 8)).graph) == 3


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own
def test_a_decomposed_program_gives_the_graph_of_the_whole_one() -> None:
    module = network(replicas.Residual(8, 12, 2), nn.MaxPool2d(2))
    program = exported(module, (3, 16, 16)).run_decompositions()
    assert "aten._native_batch_norm_legit_no_training" in str(program.graph)
    traced = canonical(program)
    assert [node.op for node in traced.graph] == [node.op for node in trace(module, (3, 16, 16)).graph]
    assert_equal_outputs(traced, module)


def test_a_program_of_one_batch_size_serves_any() -> None:
    module = network(replicas.SqueezeExcite(8, linear=True))
    program = torch.export.export(module, (torch.zeros(1, 3, 16, 16),))
    assert_equal_outputs(canonical(program), module)


def test_a_program_of_two_inputs_is_refused() -> None:
    program = torch.export.export(nn.Bilinear(3, 4, 5), (torch.zeros(2, 3), torch.zeros(2, 4)))
    with pytest.raises(UserError, match="does not take one batch of images"):
        canonical(program)
