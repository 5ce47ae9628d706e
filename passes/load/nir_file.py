"""Spiking networks in NIR files.

A canonical teacher has no neurons, so each stands as a ReLU in its place, and what it is goes beside the graph: target
``same`` puts it back. Any other target takes the weights, as those of any teacher.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from idsnn_convert.passes.load.traced import arch_of, at
from idsnn_convert.passes.load.types import Request
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.checkpoint import MOST_TIME_STEPS
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.neurons import checked
from idsnn_convert.runtime.normalisation import from_json


def load_nir(request: Request) -> Teacher:
    """The spiking network in the file, as a teacher with neurons.

    Raises:
        UserError: if nir is not installed, the file is damaged or no NIR graph, a node has no canonical form, or the
            network is not what its owner says of it.
    """
    try:
        from idsnn_convert.runtime.export.nir.read import from_nir
    except ModuleNotFoundError as error:
        problem = f"{request.path} is an HDF5 file; to read a NIR graph from it needs {error.name}, which is not installed"
        raise UserError(problem, hint='pip install "idsnn-convert[nir]"') from error
    graph, tensors, own = from_nir(request.path)
    neurons = {node.name: checked(node.attrs) for node in graph.of("neuron")}
    plain = _without_neurons(graph)
    arch, size = arch_of(plain), plain.input_shape[1:]
    if request.arch not in (None, arch):
        raise at(request.path, UserError(f"its blocks are those of {arch}, not of {request.arch}"))
    if request.input_size is not None and size != (request.input_size,) * 2:
        told = "x".join(map(str, size))
        raise at(request.path, UserError(f"it takes images of {told}, not {request.input_size}", hint="Leave that out."))
    return Teacher(
        path=str(request.path),
        sha256=request.sha256,
        form="NIR graph",
        family="spiking network",
        arch=arch,
        graph=plain,
        tensors=tensors,
        keys={name: name for name in tensors},
        assumptions=_assumed(own, len(neurons)),
        normalisation=_normalisation(own),
        neurons=neurons,
        time_steps=_steps(own),
    )


def _without_neurons(graph: Graph) -> Graph:
    return graph.with_nodes({node.name: replace(node, op="activation", attrs={"kind": "relu"}) for node in graph.of("neuron")})


def _assumed(own: Mapping[str, Any], neurons: int) -> tuple[str, ...]:
    held = f"The file holds {neurons} layers of neurons: target same keeps them, others take each for a ReLU."
    shown = "The images are shown anew at every step, and the answer is the mean over the steps: NIR says neither."
    return (held,) if own else (held, shown)


def _steps(own: Mapping[str, Any]) -> int | None:
    steps = own.get("time_steps")
    return steps if isinstance(steps, int) and not isinstance(steps, bool) and 1 <= steps <= MOST_TIME_STEPS else None


def _normalisation(own: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """As the file's own record says, if it says one that can be."""
    try:
        return from_json(own.get("normalisation")).to_json()
    except UserError:
        return None
