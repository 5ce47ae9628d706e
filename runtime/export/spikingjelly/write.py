"""A spiking network as Python source over SpikingJelly's layers, and the state dict that fits it.

SpikingJelly builds networks by code, so a state dict alone is of no use to it. The source is plain: one line a layer,
one line a call; it imports torch and SpikingJelly, not us, and can be edited and trained on there.

With ``decay_input=False`` and ``v_reset=0`` SpikingJelly's LIF charges by ``V - V / tau + X``, which is our ``decay V + X``
with ``tau = 1 / (1 - decay)``; ``v_reset=None`` subtracts the threshold. Its neurons fire where ``V >= v_threshold``, ours
where ``V > v_threshold``: the same but for a potential that equals the threshold to the last bit. ``V / tau`` rounds
otherwise than ``decay V``, which may flip a spike. Surrogate gradients have their counterparts; the reset is detached
in both.

Letters: T time steps, B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.names import flat_names
from idsnn_convert.runtime.graph import Node
from idsnn_convert.runtime.neurons import Neuron, checked, learnt

SOURCE, STATE = "network.py", "state_dict.pt"
"""The two files."""
TAKEN = ("F", "Network", "Path", "functional", "layer", "load", "neuron", "nn", "self", "surrogate", "torch", "x")
"""Names that the source uses itself."""

Text = Callable[[Node], str]


@dataclass(frozen=True)
class Written:
    """The source of a network, and the bytes of its state dict."""

    source: str
    state: bytes


def to_spikingjelly(checkpoint: Checkpoint) -> Written:
    """The spiking network of ``checkpoint`` for SpikingJelly; T is the reader's to choose.

    Numbers that neurons have learnt are written as numbers.

    Raises:
        UserError: naming the first node that has no form there.
    """
    names = flat_names(checkpoint.graph, TAKEN)
    layers, calls = [], []
    for node in checkpoint.graph:
        name, inputs = names[node.name], [names[given] for given in node.inputs]
        if node.op == "input":
            names[node.name] = "x"
        elif node.op == "output":
            calls.append(f"return {inputs[0]}")
        elif node.op in CALLS:
            calls.append(f"{name} = {CALLS[node.op](node, inputs)}")
        else:
            layers.append(f"self.{name} = {_layer(node, checkpoint.tensors)}")
            calls.append(f"{name} = self.{name}({inputs[0]})")
    content = io.BytesIO()
    torch.save(_state(checkpoint, names), content)
    return Written(_source(checkpoint, layers, calls), content.getvalue())


def _state(checkpoint: Checkpoint, names: Mapping[str, str]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for node in checkpoint.graph:
        if node.op == "neuron":
            continue
        for name, tensor in checkpoint.tensors.items():
            if name.rpartition(".")[0] == node.name:
                found[f"{names[node.name]}.{name.rpartition('.')[2]}"] = tensor.clone()
        if node.op == "batch_norm":
            found[f"{names[node.name]}.num_batches_tracked"] = torch.tensor(0)
    return found


def _layer(node: Node, tensors: Mapping[str, Tensor]) -> str:
    if node.op == "neuron":
        return _neuron(learnt(checked(node.attrs), node.name, tensors))
    if node.op not in LAYERS:
        raise UserError(
            f"{node.name!r} ({node.op}) is not written for SpikingJelly", hint="It runs in our runtime and as ONNX."
        )
    return LAYERS[node.op](node)


def _neuron(neuron: Neuron) -> str:
    reset = "0.0" if neuron.reset == "hard" else "None"
    surrogate = SURROGATES[neuron.surrogate](neuron.width)
    rest = f"v_threshold={neuron.v_threshold!r}, v_reset={reset}, surrogate_function={surrogate}, detach_reset=True"
    if neuron.decay == 1:
        return f"neuron.IFNode({rest})"
    return f"neuron.LIFNode(tau={1 / (1 - neuron.decay)!r}, decay_input=False, {rest})"


SURROGATES: dict[str, Callable[[float], str]] = {
    "rectangle": lambda width: f"surrogate.Rect(alpha={1 / (2 * width)!r})",
    "triangle": lambda width: f"surrogate.PiecewiseQuadratic(alpha={1 / width!r})",
    "arctan": lambda width: f"surrogate.ATan(alpha={1 / width!r})",
    "sigmoid": lambda width: f"surrogate.Sigmoid(alpha={1 / width!r})",
    "linear": lambda width: f"surrogate.PiecewiseQuadratic(alpha={1 / width!r})",
}
"""Surrogate gradient -> SpikingJelly's of the same form; theirs all have area 1, see :func:`_slopes`."""


def _slopes(checkpoint: Checkpoint) -> str:
    """What to tell of surrogates that were trained with another area than 1; it matters for training alone."""
    neurons = [checked(node.attrs) for node in checkpoint.graph.of("neuron")]
    factors = {neuron.damping * (neuron.width if neuron.surrogate == "linear" else 1) for neuron in neurons}
    if factors == {1}:
        return ""
    told = ", ".join(f"{factor:g}" for factor in sorted(factors))
    return f"\n\nFor training: the surrogates had {told} times the slope that these have."


def _settings(*keys: str) -> Text:
    return lambda node: ", ".join(f"{NAMES.get(key, key)}={node.attr(key)!r}" for key in keys)


NAMES = {"kernel": "kernel_size"}
_CONV = _settings("kernel", "stride", "padding", "dilation", "groups", "bias")
_NORM = _settings("eps", "momentum", "affine")
_MAX_POOL = _settings("kernel", "stride", "padding", "dilation", "ceil_mode")
_AVG_POOL = _settings("kernel", "stride", "padding", "ceil_mode", "count_include_pad")

LAYERS: dict[str, Text] = {
    "conv2d": lambda node: f"layer.Conv2d({node.attr('in_channels')}, {node.attr('out_channels')}, {_CONV(node)})",
    "batch_norm": lambda node: f"layer.BatchNorm2d({node.attr('channels')}, {_NORM(node)})",
    "group_norm": lambda node: (
        f"layer.GroupNorm({node.attr('groups')}, {node.attr('channels')}, {_settings('eps', 'affine')(node)})"
    ),
    "linear": lambda node: f"layer.Linear({node.attr('in_features')}, {node.attr('out_features')}, bias={node.attr('bias')})",
    "max_pool2d": lambda node: f"layer.MaxPool2d({_MAX_POOL(node)})",
    "avg_pool2d": lambda node: f"layer.AvgPool2d({_AVG_POOL(node)})",
    "global_avg_pool": lambda node: "layer.AdaptiveAvgPool2d((1, 1))",
    "flatten": lambda node: "layer.Flatten()",
    "dropout": lambda node: f"layer.Dropout({node.attr('p')!r})",
}
"""Operation -> the constructor of its layer; neurons are made by themselves."""


def _slice(node: Node, inputs: list[str]) -> str:
    cut = f"{node.attr('start')}:{min(node.attr('stop'), 1 << 31)}:{node.attr('step')}"
    return f"{inputs[0]}[{':, ' * (node.attr('dim') + 1)}{cut}]"  # T and B come first


def _pad(node: Node, inputs: list[str]) -> str:
    if node.attr("mode") != "constant":
        raise UserError(f"{node.name!r} pads by {node.attr('mode')}, which torch does for maps without time alone")
    return f"F.pad({inputs[0]}, {node.attr('pads')!r}, value={node.attr('value')!r})"


CALLS: dict[str, Callable[[Node, list[str]], str]] = {
    "add": lambda node, inputs: " + ".join(inputs),
    "mul": lambda node, inputs: " * ".join(inputs),
    "complement": lambda node, inputs: f"1 - {inputs[0]}",
    "scale": lambda node, inputs: f"{node.attr('factor')!r} * {inputs[0]}",
    "concat": lambda node, inputs: f"torch.cat(({', '.join(inputs)}), 2)",
    "slice": _slice,
    "pad": _pad,
}
"""Operation -> the expression for it, which keeps the axis of time."""


def _source(checkpoint: Checkpoint, layers: list[str], calls: list[str]) -> str:
    graph, steps = checkpoint.graph, checkpoint.time_steps
    channels, height, width = graph.input_shape
    known, classes = checkpoint.normalisation, graph.output_shape[-1]
    prepared = "as it was trained on" if known is None else f"normalised by mean {known['mean']}, std {known['std']}"
    encoded = "the same at every step" if checkpoint.encoder == "direct" else f"encoded over time ({checkpoint.encoder})"
    answer = ".mean(0)" if checkpoint.readout.decay == 1 else f"  # of each step; {checkpoint.readout} makes the answer"
    return HEAD.format(
        layers="\n        ".join(layers),
        calls="\n        ".join(calls),
        shape=f"{channels}, {height}, {width}",
        prepared=prepared,
        encoded=encoded,
        answer=answer,
        steps=steps,
        classes=classes,
        state=STATE,
        slopes=_slopes(checkpoint),
    )


HEAD = '''"""A spiking network in SpikingJelly's layers, for the weights in {state}. Written by idsnn-convert.

    from network import load
    from spikingjelly.activation_based import functional

    network = load().eval()
    x = images.expand({steps}, *images.shape)  # (B, {shape}) -> (T, B, {shape})
    logits = network(x){answer}
    functional.reset_net(network)  # before the next images

Images: {prepared}; {encoded}. T was {steps}.{slopes}
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn


class Network(nn.Module):
    """(T, B, {shape}) -> logits of each step (T, B, {classes})."""

    def __init__(self):
        super().__init__()
        {layers}
        functional.set_step_mode(self, "m")

    def forward(self, x):
        {calls}


def load(path=Path(__file__).with_name("{state}")):
    """The network with its weights."""
    network = Network()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network
'''
