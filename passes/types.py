"""What flows from one pass to the next: small frozen records that know nothing of each other's passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from idsnn_convert.passes.equal import Reference
from idsnn_convert.passes.resnet.spec import ResNetSpec
from idsnn_convert.runtime.graph import Graph, Shape
from idsnn_convert.runtime.neurons import Neuron


@dataclass(frozen=True)
class Canonical:
    """A traced network: its canonical graph and the tensors it computes with.

    Attributes:
        tensors: ``node.slot`` -> tensor, exactly the names of :func:`idsnn_convert.runtime.ops.tensor_shapes`.
        origin: ``node.slot`` -> the name the traced module gave that tensor: its state dict's key, or the name of a
            buffer that no state dict holds. What the module computes from its parameters goes by the first one's name.
        computed: ``node.slot`` -> names of all parameters its tensor is computed from, where it is not one as it stands.
        calls: name of a call in the exported program it was read from -> the node that this became; empty without one.
    """

    graph: Graph
    tensors: Mapping[str, Tensor]
    origin: Mapping[str, str]
    computed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    calls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Teacher:
    """A teacher as loaded from a file or a live module, traced and in canonical form.

    Attributes:
        path: the file as the user named it.
        sha256: of the file's bytes, hexadecimal.
        form: how it was stored: ``state dict``, ``safetensors``, ...
        family: what it was recognised as: ``akamaster CIFAR ResNet``.
        arch: the member: ``resnet32``.
        keys: ``node.slot`` -> the tensor's name in the file.
        unread: names of tensors in the file that the network does not use, each with the reason.
        assumptions: what the file could not tell and was assumed, one sentence each.
        normalisation: ``{"name", "mean", "std"}`` of the images it was trained on, where the file says so.
        spec: what it was read as, where names and shapes had to tell; None where the file carries its own graph.
        reference: the teacher run without its graph, to hold that against it; None where there is no other way to run it.
        neurons: name of an activation's node -> the neuron it is in the file, where the file holds a spiking network.
        time_steps: T of such a network, where the file says so.
        evidence: what images said of all that, JSON-native, as :mod:`idsnn_convert.identify` writes it; empty without any.
        trusted: options by which its owner let code from its file run; empty where none could.
    """

    path: str
    sha256: str
    form: str
    family: str
    arch: str
    graph: Graph
    tensors: Mapping[str, Tensor]
    keys: Mapping[str, str]
    unread: Mapping[str, str] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    normalisation: Mapping[str, Any] | None = None
    spec: ResNetSpec | None = None
    reference: Reference | None = field(default=None, compare=False, repr=False)
    neurons: Mapping[str, Neuron] = field(default_factory=dict)
    time_steps: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    trusted: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        return self.graph.output_shape[-1]

    @property
    def input_shape(self) -> Shape:
        return self.graph.input_shape


@dataclass(frozen=True)
class Target:
    """The network a conversion makes, still as an ANN.

    Attributes:
        name: what to call it: ``resnet18``.
        settings: how it was built, for the record; JSON-native.
        same: it is the teacher's own graph, so each of its tensors has one of its own name in the teacher.
    """

    name: str
    graph: Graph
    settings: Mapping[str, Any] = field(default_factory=dict)
    same: bool = False


@dataclass(frozen=True)
class Block:
    """A residual block: all nodes between ``fork`` (excluded) and ``join`` (the add, included).

    Attributes:
        branch: names of the main branch's nodes, in order; it may begin with pre-activation that the shortcut shares.
        shortcut: names of the shortcut's nodes, in order; empty for an identity.
        after: names of the nodes between this join and the next fork (the activation after the add).
    """

    name: str
    fork: str
    join: str
    branch: tuple[str, ...]
    shortcut: tuple[str, ...]
    after: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True)
class Stage:
    """Consecutive blocks that give maps of one shape (C, H, W), or one size where channels grow block by block."""

    blocks: tuple[Block, ...]

    @property
    def shape(self) -> Shape:
        return self.blocks[-1].shape


@dataclass(frozen=True)
class BlockMap:
    """A network cut into stem, stages of residual blocks, and head; together they hold every node once.

    Attributes:
        notes: what between the blocks is no residual block, one sentence each.
    """

    stem: tuple[str, ...]
    stages: tuple[Stage, ...]
    head: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(block for stage in self.stages for block in stage.blocks)

    @cached_property
    def places(self) -> dict[str, str]:
        """Name of each node -> ``stem``, its block's name, or ``head``; ``network`` for all where there is no block."""
        found = dict.fromkeys(self.stem, "stem") | dict.fromkeys(self.head, "head" if self.stages else "network")
        for block in self.blocks:
            found |= dict.fromkeys((*block.branch, *block.shortcut, block.join, *block.after), block.name)
        return found
