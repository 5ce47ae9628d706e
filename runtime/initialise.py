"""Fresh tensors for a graph: what a network starts from where nothing is taken from a teacher.

Each tensor is drawn from a generator of its own, seeded by the run's seed and the tensor's name, so a tensor does
not depend on which others are drawn, nor in which order.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Attr, Graph, Node
from idsnn_convert.runtime.neurons import checked, learnt
from idsnn_convert.runtime.ops import NORMS, OPS, tensor_shapes
from idsnn_convert.runtime.readout import Readout

if TYPE_CHECKING:  # it brings in pydantic, which a conversion can do without
    from idsnn_convert.runtime.recipe import Neurons, Recipe

V_THRESHOLD = "v_threshold"


def prepared(checkpoint: Checkpoint, recipe: Recipe) -> Checkpoint:
    """``checkpoint`` as ``recipe`` wants a run to begin: its time steps, encoder, readout and neurons; its tensors or new ones.

    Raises:
        UserError: if the recipe's neurons contradict themselves.
    """
    network, start = recipe.network, recipe.initialisation
    changes: dict[str, Any] = {
        "time_steps": network.time_steps or checkpoint.time_steps,
        "encoder": network.encoder or checkpoint.encoder,
    }
    if network.readout is not None or network.readout_decay is not None:
        kind = network.readout or checkpoint.readout.kind
        changes["readout"] = Readout(kind, 1.0 if network.readout_decay is None else network.readout_decay)
    checkpoint = with_neurons(checkpoint, recipe.neuron)
    if start.source == "checkpoint":
        return checkpoint.with_tensors(checkpoint.tensors, **changes)
    fresh = fresh_tensors(checkpoint.graph, recipe.run.seed, start.batch_norm_weight)
    return checkpoint.with_tensors(fresh, **changes, training={})


def with_neurons(checkpoint: Checkpoint, changes: Neurons) -> Checkpoint:
    """``checkpoint`` with each of its neurons changed as the recipe says; what they learnt so far is where they start.

    Raises:
        UserError: on settings that contradict each other.
    """
    given = _neuron_attrs(changes)
    if not given:
        return checkpoint
    nodes = {}
    for node in checkpoint.graph.of("neuron"):
        now = learnt(checked(node.attrs), node.name, checkpoint.tensors)
        attrs = {**now.attrs(), **given}
        if changes.width == V_THRESHOLD:
            attrs["width"] = attrs[V_THRESHOLD]
        nodes[node.name] = replace(node, attrs=checked(attrs).attrs())
    graph = checkpoint.graph.with_nodes(nodes)
    numbers = fresh_tensors(graph, 0, names=[name for name in tensor_shapes(graph) if name.rpartition(".")[0] in nodes])
    tensors = {name: numbers[name] if name in numbers else checkpoint.tensors[name] for name in tensor_shapes(graph)}
    return checkpoint.with_tensors(tensors, graph=graph)


def _neuron_attrs(changes: Neurons) -> dict[str, Attr]:
    """The attributes of a neuron node that the recipe sets."""
    if changes.tau is not None and changes.decay is not None:
        raise UserError("neuron.tau and neuron.decay say the same thing", hint="decay = exp(-1 / tau): set one of them.")
    if changes.kind == "if" and (changes.tau or changes.decay):
        raise UserError(
            "a neuron of kind if has no leak", hint="Leave out neuron.tau and neuron.decay, or set neuron.kind=lif."
        )
    given: dict[str, Attr] = changes.model_dump(exclude={"tau", "learn"}, exclude_none=True)
    if changes.tau is not None:
        given["decay"] = math.exp(-1 / changes.tau)
    if changes.kind == "if":
        given["decay"] = 1.0
    if changes.learn is not None:
        given |= {"learn_decay": "decay" in changes.learn, "learn_threshold": "v_threshold" in changes.learn}
    return given


def fresh_tensors(
    graph: Graph, seed: int, batch_norm_weight: float | str = 1.0, names: Collection[str] | None = None
) -> dict[str, Tensor]:
    """Name (``node.slot``) -> float32 tensor, in graph order.

    Convolutions: normal, deviation sqrt(2 / (C_out k k)) (He et al. 2015, fan out), bias 0. Linear: uniform in
    +-1 / sqrt(features in), weight and bias, as torch. Norms: weight ``batch_norm_weight``, bias 0, mean 0,
    variance 1. Neuron: the decay and threshold of its attributes.

    Args:
        batch_norm_weight: a number, or ``v_threshold``: the threshold of the next neuron (threshold-dependent
            batch norm, Zheng et al. 2021; the baseline of IDSNN), 1 where no neuron follows.
        names: which tensors; all by default.
    """
    fresh = {}
    for node in graph:
        for slot, shape in OPS[node.op].tensors(node).items():
            name = f"{node.name}.{slot}"
            if names is None or name in names:
                fresh[name] = _fresh(graph, node, slot, shape, _generator(seed, name), batch_norm_weight)
    return fresh


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def _fresh(
    graph: Graph, node: Node, slot: str, shape: tuple[int, ...], generator: torch.Generator, norm_weight: float | str
) -> Tensor:
    if node.op == "neuron":
        return torch.full(shape, checked(node.attrs).parameters()[slot])
    if node.op in NORMS:
        values = {"bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
        if slot != "weight":
            return torch.full(shape, values[slot])
        return torch.full(shape, _next_threshold(graph, node) if norm_weight == V_THRESHOLD else float(norm_weight))
    if node.op == "conv2d":
        if slot == "bias":
            return torch.zeros(shape)
        return torch.empty(shape).normal_(0, math.sqrt(2 / (shape[0] * shape[2] * shape[3])), generator=generator)
    bound = 1 / math.sqrt(node.attr("in_features"))
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def _next_threshold(graph: Graph, start: Node) -> float:
    """The threshold of the nearest neuron downstream of ``start``; 1 if there is none."""
    seen, queue = {start.name}, deque([start.name])
    while queue:
        for user in graph.users[queue.popleft()]:
            if graph[user].op == "neuron":
                return float(graph[user].attr("v_threshold"))
            if user not in seen:
                seen.add(user)
                queue.append(user)
    return 1.0
