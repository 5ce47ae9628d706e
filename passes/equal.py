"""Whether a canonical graph computes what its teacher does: node by node against the teacher run its own way.

Contract of reading a teacher: equal but for rounding. Letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from idsnn_convert.runtime.graph import Graph, Shape
from idsnn_convert.runtime.network import computed

TOLERANCE = 1e-4
"""Most difference of a node's values, of the largest among them; rounding in another order gives 1e-6."""

OUTPUT = "output"


@dataclass(frozen=True)
class Reference:
    """A teacher run without its canonical graph.

    Attributes:
        what: completes "against ...": ``its module``.
        shape: (C, H, W) of images it takes.
        run: images (N, C, H, W) -> canonical node's name -> what the teacher has there, for the nodes that can be told, and
            under :data:`OUTPUT` the logits.
    """

    what: str
    shape: Shape
    run: Callable[[Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Equality:
    """How a graph compares with a reference.

    Attributes:
        nodes: how many were compared, logits included.
        max_difference: of the logits.
        sqnr_db: power of the logits over that of their difference, in decibels; infinite if there is none.
        first_different: the first node that differs by more than :data:`TOLERANCE`; empty if none does.
        different_by: how much that one does, of its largest value.
    """

    against: str
    nodes: int
    max_difference: float
    sqnr_db: float
    first_different: str = ""
    different_by: float = 0.0

    def describe(self) -> str:
        if self.first_different:
            return f"{self.first_different} is the first node to differ from {self.against}, by {self.different_by:.2g}"
        ratio = "bit for bit" if math.isinf(self.sqnr_db) else f"SQNR {self.sqnr_db:.0f} dB"
        return f"max difference {self.max_difference:.2g}, {ratio}, {self.nodes} nodes against {self.against}"


@torch.inference_mode()
def compare(graph: Graph, tensors: Mapping[str, Tensor], reference: Reference) -> Equality:
    """Runs both on the same random image and holds each node's values against the reference's, in graph order."""
    images = torch.randn(1, *reference.shape, generator=torch.Generator().manual_seed(0))
    theirs = reference.run(images)
    values = {graph.nodes[0].name: images}
    left = {name: len(users) for name, users in graph.users.items()}
    nodes, first, by = 0, "", 0.0
    for node in graph.nodes[1:]:
        inputs = [values[name] for name in node.inputs]
        if node.op == "output":
            values[node.name] = inputs[0]
        else:
            values[node.name] = computed(node, tensors, inputs)
        name = OUTPUT if node.op == "output" else node.name
        if name in theirs:
            nodes += 1
            apart = _apart(values[node.name], theirs[name])
            if not first and not apart <= TOLERANCE:
                first, by = name, apart
        for source in dict.fromkeys(node.inputs):
            left[source] -= 1
            if not left[source]:
                del values[source]
    ours, wanted = values[graph.nodes[-1].name], theirs[OUTPUT]
    return Equality(reference.what, nodes, (ours - wanted).abs().max().item(), _sqnr(ours, wanted), first, by)


def _apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference over the largest value; infinite where shapes differ or only one is finite.

    A layer of another rank that holds as many values is the same one: a convolution over channels alone (ECA) has a map
    of one row here.
    """
    if ours.dim() != theirs.dim() and ours.numel() == theirs.numel():
        theirs = theirs.reshape(ours.shape)
    if ours.shape != theirs.shape:
        return math.inf
    largest, difference = theirs.abs().max().item(), (ours - theirs).abs().max().item()
    return difference / largest if largest else difference


def _sqnr(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        return -math.inf
    noise = (ours.double() - theirs.double()).square().sum().item()
    return 10 * math.log10(theirs.double().square().sum().item() / noise) if noise else math.inf


def module_reference(module: nn.Module, shape: Shape, what: str = "its module") -> Reference:
    """``module`` in eval mode; each layer's result by the layer's path, as :mod:`idsnn_convert.passes.builder` names nodes."""

    def run(images: Tensor) -> dict[str, Tensor]:
        floats = [tensor for tensor in module.state_dict().values() if tensor.is_floating_point()]
        plain = all(tensor.dtype == torch.float32 and tensor.device == images.device for tensor in floats)
        return watched(module if plain else copy.deepcopy(module).to(images.device, torch.float32), images, {})

    return Reference(what, shape, run)


def watched(module: nn.Module, images: Tensor, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What each layer of ``module`` gives in eval mode, by its path, and the logits; ``tensors`` take the place of its own."""
    seen: dict[str, Tensor] = {}
    with _watched(module, seen):
        logits: Tensor = torch.func.functional_call(module, dict(tensors), (images,))
    return {**seen, OUTPUT: logits}


@contextmanager
def _watched(module: nn.Module, seen: dict[str, Tensor]) -> Iterator[None]:
    """While it lasts, ``module`` is in eval mode, and what its layers give is put into ``seen``."""
    modes = {part: part.training for part in module.modules()}
    hooks = [part.register_forward_hook(_keeper(path, seen)) for path, part in module.named_modules() if path]
    try:
        module.eval()
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
        for hook in hooks:
            hook.remove()


def _keeper(path: str, seen: dict[str, Tensor]) -> Callable[[nn.Module, object, object], None]:
    calls = 0

    def keep(module: nn.Module, inputs: object, result: object) -> None:
        nonlocal calls
        if isinstance(result, Tensor):  # copied, since what follows may change it in place
            seen[f"{path}_{calls}" if calls else path] = result.clone()
        calls += 1

    return keep


def program_reference(program: ExportedProgram, shape: Shape, calls: Mapping[str, str]) -> Reference | None:
    """An exported program, one ATen call after another; ``calls``: a call's name in it -> the canonical node it became.

    None if it computes in another type than float32, to which the graph's tensors were converted.
    """
    if any(tensor.is_floating_point() and tensor.dtype != torch.float32 for tensor in program.state_dict.values()):
        return None

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            result = super().run_node(n)
            if n.name in calls and isinstance(result, Tensor):
                seen[calls[n.name]] = result.clone()
            return result

    seen: dict[str, Tensor] = {}

    def run(images: Tensor) -> dict[str, Tensor]:
        seen.clear()
        module = program.module(check_guards=False)
        logits = Recorder(module).run(images)
        return {**seen, OUTPUT: logits if isinstance(logits, Tensor) else logits[0]}

    return Reference("its exported program", shape, run)
