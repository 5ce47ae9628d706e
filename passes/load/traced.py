"""From a traced network to a teacher: what all forms that carry their own graph share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from idsnn_convert.passes.equal import Reference
from idsnn_convert.passes.families.recognise import COUNTER
from idsnn_convert.passes.load.weights import dtype_name, usable
from idsnn_convert.passes.resnet.archs import ARCHS
from idsnn_convert.passes.resnet.spec import BLOCKS
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.types import Block, Canonical, Teacher
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Node, Shape
from idsnn_convert.runtime.ops import NORMS

UNUSED = "the network computes without it"
NO_BLOCKS = "no residual network"
SHOWN = 3
"""How many names a sentence lists."""


def traced_teacher(
    traced: Canonical,
    stored: Iterable[str],
    *,
    path: str,
    sha256: str,
    form: str,
    family: str,
    arch: str | None = None,
    notes: Sequence[str] = (),
    reference: Reference | None = None,
) -> Teacher:
    """The teacher of a network that has been traced.

    Args:
        stored: names of all tensors that came with it; those it does not compute with become the teacher's ``unread``.
        arch: what the network must be; None to take what is found.
        reference: the network run another way.

    Raises:
        UserError: if it gives no logits, is not ``arch``, or a tensor cannot be used.
    """
    if len(traced.graph.output_shape) != 1:
        raise UserError(
            f"it gives {' x '.join(map(str, traced.graph.output_shape))} values for an image, not one for each class",
            hint="A teacher must classify: give the network with its last linear layer.",
        )
    found = arch_of(traced.graph)
    if arch is not None and found != arch:
        raise UserError(f"its blocks are those of {found}, not of {arch}")
    tensors = {
        slot: usable(traced.origin[slot], slot.rpartition(".")[2], tensor.cpu()) for slot, tensor in traced.tensors.items()
    }
    kinds = sorted({dtype_name(tensor) for tensor in traced.tensors.values()} - {"float32"})
    notes = (*notes, *([f"Weights stored as {' and '.join(kinds)} were converted to float32."] if kinds else []))
    reasons = _unread(traced, stored)
    return Teacher(
        path=path,
        sha256=sha256,
        form=form,
        family=family,
        arch=found,
        graph=traced.graph,
        tensors=tensors,
        keys=dict(traced.origin),
        unread=reasons,
        assumptions=(*notes, *_computed(traced)),
        reference=reference,
    )


def _unread(traced: Canonical, stored: Iterable[str]) -> dict[str, str]:
    """Names among ``stored`` that no tensor goes by -> why."""
    used = set(traced.origin.values())
    parts = {part: traced.origin[slot] for slot, names in traced.computed.items() for part in names}
    found = {}
    for key in stored:
        if key not in used:
            unused = f"computed into {parts[key]}" if key in parts else UNUSED
            found[key] = COUNTER if key.endswith("num_batches_tracked") else unused
    return found


def _computed(traced: Canonical) -> list[str]:
    """That a weight is stored as the network computes it from its parameters, which will not be done anew in training."""
    names = [traced.origin[slot] for slot in traced.computed]
    if not names:
        return []
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    told = "Weights that the network computes from parameters (weight standardisation) were taken as computed"
    return [f"{told}: {', '.join(names[:SHOWN])}{more}."]


def arch_of(graph: Graph) -> str:
    """A network's name by its blocks: a key of ``ARCHS``, ``preact_`` before it, or ``resnet(3-4-6-3)``."""
    stages = segment(graph).stages
    if not stages:
        return NO_BLOCKS
    depths = tuple(len(stage.blocks) for stage in stages)
    blocks = [block for stage in stages for block in stage.blocks]
    counts = {len(_convs(graph, block)) for block in blocks}
    if len(counts) == 1 and counts <= set(BLOCKS.values()):
        inner = [_convs(graph, stage.blocks[-1])[-2] for stage in stages]
        widths = tuple(conv.attr("out_channels") for conv in inner)
        outputs = tuple(stage.shape[0] for stage in stages)
        for name, arch in ARCHS.items():
            theirs = (BLOCKS[arch.block], arch.depths, arch.widths, arch.outputs, arch.groups)
            if theirs == (*counts, depths, widths, outputs, inner[0].attr("groups")):
                preact = all(graph[block.branch[0]].op in NORMS for block in blocks)
                return f"preact_{name}" if preact else name
    return f"resnet({'-'.join(map(str, depths))})"


def _convs(graph: Graph, block: Block) -> list[Node]:
    return [graph[name] for name in block.branch if graph[name].op == "conv2d"]


def image_shape(parts: Iterable[Any], input_size: int | None) -> tuple[Shape, tuple[str, ...]]:
    """The shape (C, H, W) of a network's images, and what of it was assumed.

    Args:
        parts: the network's modules, plain or scripted; the first with a four-dimensional weight tells the channels.
        input_size: height and width, if known. Else they are those usual behind such a convolution: 28 for one channel,
            32 for stride 1 and 224 for more. A traced TorchScript module does not tell the stride: then 7x7 has 2.

    Raises:
        UserError: if there is no convolution, or ``input_size`` is no size.
    """
    part = next((p for p in parts if isinstance(w := getattr(p, "weight", None), Tensor) and w.dim() == 4), None)
    if part is None:
        raise UserError("it has no convolution, so it is no network of images")
    channels, kernel = int(part.weight.shape[1]), int(part.weight.shape[-1])
    if input_size is not None:
        return _checked((channels, input_size, input_size)), ()
    told = getattr(part, "stride", None)
    stride = (2 if kernel > 5 else 1) if told is None else told if isinstance(told, int) else told[0]
    size = 28 if channels == 1 else 224 if stride > 1 else 32
    behind = "for images of one channel" if channels == 1 else f"behind a {kernel}x{kernel} convolution of stride {stride}"
    return (channels, size, size), (f"The images are {size}x{size}, as usual {behind}.",)


def at(path: Path, error: UserError) -> UserError:
    """The error, told with the file it is of; ``FILE`` in its hint becomes the path too."""
    problem = error.problem if error.problem.startswith(str(path)) else f"{path}: {error.problem}"
    return UserError(problem, hint=error.hint and error.hint.replace("FILE", repr(str(path))))


def _checked(shape: Shape) -> Shape:
    if min(shape) < 1:
        raise UserError(f"images of shape {shape} cannot be: channels, height and width must be at least 1")
    return shape
