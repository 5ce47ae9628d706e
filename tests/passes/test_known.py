from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.resnet.module import ResNet
from idsnn_convert.passes.resnet.spec import ResNetSpec, Stem
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.network import build
from tests.passes.replicas import Calls, lively


def resnet(**changes: Any) -> ResNet:
    settings = {
        "depths": (1, 2), "widths": (8, 12), "outputs": (8, 12), "strides": (1, 2), "stem": Stem(8), "classes": 5,
        "input_size": 12,
    }  # fmt: skip
    network = ResNet(ResNetSpec("tiny", **{**settings, **changes}))
    lively(network)
    return network


VARIANTS: dict[str, dict[str, Any]] = {
    "basic": {},
    "option A": {"shortcut": "pad"},
    "bottleneck": {"block": "bottleneck", "outputs": (32, 48), "groups": 4},
    "preact": {"block": "preact-basic", "after_add": "none", "final_norm": True},
    "relu after stage, pooled windows, hidden layer": {"after_add": "stage", "window": 3, "hidden": 7},
    "sew iand": {"residual": "sew-iand", "after_add": "none"},
    "membrane": {"residual": "ms", "after_add": "none"},
    "large stem": {"stem": Stem(8, 7, 2, 3, pool=True), "input_size": 32, "shortcut": "conv", "bias": False},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_the_graph_computes_what_the_module_computes(changes: dict[str, Any]) -> None:
    network = resnet(**changes)
    traced = trace_known(network, network.spec.input_shape)
    images = torch.randn(3, *network.spec.input_shape)
    torch.testing.assert_close(build(traced.graph, traced.tensors).eval()(images), network(images), rtol=0, atol=1e-6)


def test_nodes_are_named_by_path_and_tensors_keep_their_origin() -> None:
    traced = trace_known(resnet(), (3, 12, 12))
    assert [node.name for node in traced.graph][:12] == [
        "input", "conv1", "bn1", "relu",
        "layer1.0.conv1", "layer1.0.bn1", "layer1.0.relu1", "layer1.0.conv2", "layer1.0.bn2", "layer1.0.add", "layer1.0.relu2",
        "layer2.0.conv1",
    ]  # fmt: skip
    assert traced.origin["layer2.0.downsample.1.running_var"] == "layer2.0.downsample.1.running_var"
    assert traced.origin.keys() == traced.tensors.keys()
    assert traced.graph["layer1.0.conv1"].source.startswith("module.py:")


def test_a_rebuilt_network_traces_to_its_own_graph() -> None:
    graph = trace_known(resnet(shortcut="pad"), (3, 12, 12)).graph
    again = trace_known(build(graph, trace_known(resnet(shortcut="pad"), (3, 12, 12)).tensors), (3, 12, 12)).graph
    assert [(n.name, n.op, n.inputs, dict(n.attrs)) for n in again] == [(n.name, n.op, n.inputs, dict(n.attrs)) for n in graph]


def test_the_module_stays_in_its_mode() -> None:
    network = resnet().train()
    network.layer1.eval()
    trace_known(network, (3, 12, 12))
    assert (network.training, network.layer1.training, network.layer2.training) == (True, False, True)


def test_a_deep_network_on_the_meta_device_takes_milliseconds_and_no_compiler() -> None:
    spec = {"block": "bottleneck", "depths": (3, 8, 36, 3), "widths": (64, 128, 256, 512), "outputs": (256, 512, 1024, 2048)}
    with torch.device("meta"):
        network = ResNet(ResNetSpec("resnet152", **spec, strides=(1, 2, 2, 2), stem=Stem(64), classes=1000))
    trace_known(network, (3, 32, 32))
    began = time.thread_time()
    traced = trace_known(network, (3, 32, 32))
    assert time.thread_time() - began < 1  # 0.04 s on an idle core
    assert len(traced.graph.of("conv2d")) == 155
    assert traced.tensors["fc.weight"].is_meta


def test_no_compiler_is_imported() -> None:
    code = "import sys; import idsnn_convert.passes.known; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_functions_methods_and_shared_layers() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        x = F.relu(self.conv(x), inplace=True)
        x = self.act(self.conv2(x))
        x = torch.cat([self.act(x[:, :2]), x[:, 2:]], 1)
        x = F.max_pool2d(x, 2)
        x = F.avg_pool2d(x, x.size()[3])
        return x.view(x.size(0), -1).mul(1)

    network = Calls(forward, conv=nn.Conv2d(3, 4, 3), conv2=nn.Conv2d(4, 4, (2, 3), padding="same"), act=nn.ReLU()).eval()
    traced = trace_known(network, (3, 10, 10))
    names = "input relu conv conv2_pad conv2 act slice act_1 slice_1 concat max_pool2d global_avg_pool flatten output"
    assert {node.name for node in traced.graph} == set(names.split())
    images = torch.randn(2, 3, 10, 10)
    torch.testing.assert_close(build(traced.graph, traced.tensors)(images), network(images), rtol=0, atol=1e-6)


def test_what_an_in_place_layer_overwrites_is_read_overwritten() -> None:
    network = Calls(lambda self, x: self.act(y := self.conv(x)) + y, conv=nn.Conv2d(3, 2, 1), act=nn.ReLU(True))
    traced = trace_known(network, (3, 4, 4))
    assert traced.graph["add"].inputs == ("act", "act")
    images = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(build(traced.graph, traced.tensors)(images), network(images), rtol=0, atol=1e-6)


def test_an_unknown_call_is_named_with_its_place() -> None:
    with pytest.raises(UserError, match=r"the network \(test_known.py:\d+\): erf is not known"):
        trace_known(Calls(lambda self, x: torch.erf(x)), (3, 4, 4))


def test_control_flow_on_values_is_refused() -> None:
    with pytest.raises(UserError, match="Calls cannot be traced"):
        trace_known(Calls(lambda self, x: x if x.sum() > 0 else -x), (3, 4, 4))


def test_two_results_are_refused() -> None:
    with pytest.raises(UserError, match="gives a tuple, not one tensor"):
        trace_known(Calls(lambda self, x: (x, x)), (3, 4, 4))
