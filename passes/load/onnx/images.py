"""What images an ONNX network takes: the name, shape and order of axes of its one input."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from idsnn_convert.passes.load.onnx.file import OnnxFile
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Shape


@dataclass(frozen=True)
class Images:
    """The input of a network.

    Attributes:
        shape: (C, H, W), whatever the order in the file.
        batch: how many at a time, where the file fixes it.
        turned: names of values that are the images brought from (H, W, C) to (C, H, W).
        notes: what was assumed, one sentence each.
    """

    name: str
    shape: Shape
    batch: int | None = None
    turned: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def images(file: OnnxFile, input_size: int | None = None) -> Images:
    """The images that the network in ``file`` takes.

    Args:
        input_size: their height and width, where the file leaves them open or another is wanted; None for the usual one:
            28 for one channel, else 32 behind a small stem and 224 behind a 7x7 one.

    Raises:
        UserError: if it does not take one batch of images.
    """
    if input_size is not None and input_size < 1:
        raise UserError(f"input_size must be an integer of at least 1, not {input_size}")
    inputs = [value for value in file.graph.input if value.name not in file.constants]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        told = ", ".join(f"{value.name} with {len(value.type.tensor_type.shape.dim)} axes" for value in inputs) or "none"
        raise UserError(
            f"it does not take one batch of images (N, C, H, W) alone; its inputs: {told}",
            hint="Export a network that takes images and gives logits.",
        )
    batch, *sizes = (_size(dim) for dim in inputs[0].type.tensor_type.shape.dim)
    turned = _turned(file.graph, inputs[0].name)
    if turned:
        sizes = [sizes[2], *sizes[:2]]
    notes = ["The file's images have their channels last; here they come first."] if turned else []
    channels, kernel = _stem(file)
    shape = (sizes[0] or channels, *_height_width(sizes[1:], sizes[0] or channels, kernel, input_size, notes))
    return Images(inputs[0].name, shape, batch, turned, tuple(notes))


def _height_width(told: list[int | None], channels: int, kernel: int, asked: int | None, notes: list[str]) -> tuple[int, int]:
    height, width = told
    if height and width and asked in (None, height) and asked in (None, width):
        return height, width
    if asked is None:
        asked = height or width or (28 if channels == 1 else 224 if kernel >= 7 else 32)
        notes.append(f"The images are {asked}x{asked}.")
    elif height and width:
        notes.append(f"The file is made for {height}x{width} images; {asked}x{asked} was asked for.")
    return asked, asked


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | None:
    """None if it is left open."""
    return int(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value > 0 else None


def _turned(graph: onnx.GraphProto, name: str) -> tuple[str, ...]:
    """What brings the channels of the images to the front, if all that reads them does."""
    readers = [node for node in graph.node if name in node.input]
    found = [node for node in readers if node.op_type == "Transpose" and [[*a.ints] for a in node.attribute] == [[0, 3, 1, 2]]]
    return tuple(node.output[0] for node in found) if found and len(found) == len(readers) else ()


def _stem(file: OnnxFile) -> tuple[int, int]:
    """Channels and kernel of the first convolution; 3 and 3 if there is none to be seen."""
    for node in file.graph.node:
        weight = file.constants.get(node.input[1]) if node.op_type == "Conv" and len(node.input) > 1 else None
        if weight is not None and weight.array.ndim == 4:
            groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
            return weight.array.shape[1] * groups, weight.array.shape[2]
    return 3, 3
