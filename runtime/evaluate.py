"""How well a network classifies, and how that grows with the time steps it is given.

Letters: T time steps, B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from idsnn_convert.runtime.data.batches import test_batches
from idsnn_convert.runtime.data.types import Split
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Shape
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.normalisation import Normalisation
from idsnn_convert.runtime.ops import inferred

Progress = Callable[[int, int], None]
"""Called with the images done and the images in all."""


@dataclass(frozen=True)
class Evaluation:
    """What one pass over a split gave.

    Attributes:
        top1: images whose highest logit is their label's, in percent.
        loss: mean cross-entropy, in nats.
        seconds: wall-clock time of the pass, normalisation included.
        top1_per_step: of a spiking network, ``top1`` had it stopped after 1, 2, ... T steps; empty for others.
    """

    top1: float
    loss: float
    images: int
    seconds: float
    top1_per_step: tuple[float, ...] = ()

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds


def evaluate(
    network: nn.Module,
    split: Split,
    normalisation: Normalisation,
    *,
    graph: Graph | None = None,
    batch_size: int = 250,
    progress: Progress | None = None,
) -> Evaluation:
    """Accuracy and loss of ``network`` on all of ``split``, in eval mode, without gradients, on the network's device.

    The network gives logits (B, K), or (T, B, K) whose mean over T counts. Its training flags are as before afterwards.

    Args:
        graph: the canonical graph behind ``network``, to hold the images against; a SpikingNetwork brings its own.

    Raises:
        UserError: if the images' channels, size or classes do not suit the network.
    """
    if not len(split):
        raise UserError("there are no images to evaluate on")
    graph = network.graph if isinstance(network, SpikingNetwork) else graph
    if graph is not None:
        check_fits(graph, split)
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        return _evaluated(network, split, normalisation, batch_size, progress)
    finally:
        for module, mode in modes.items():
            module.training = mode


@torch.inference_mode()
def _evaluated(
    network: nn.Module, split: Split, normalisation: Normalisation, batch_size: int, progress: Progress | None
) -> Evaluation:
    device = next((tensor.device for tensor in (*network.parameters(), *network.buffers())), torch.device("cpu"))
    loss = torch.zeros((), dtype=torch.float64, device=device)
    hits = torch.zeros(1, dtype=torch.int64, device=device)  # right answers after each step: (T,), or (1,)
    began, done, spiking = time.perf_counter(), 0, False
    for images, labels in test_batches(split, batch_size, normalisation=normalisation, device=device):
        logits = network(images).float()
        spiking = logits.ndim == 3
        sums = logits.cumsum(0) if spiking else logits[None]  # (T, B, K); a sum has the same highest entry as its mean
        if not done:
            _check_classes(sums.shape[-1], split)
        hits = hits + (sums.argmax(-1) == labels).sum(1)
        loss += F.cross_entropy(sums[-1] / len(sums), labels, reduction="sum")
        done += len(labels)
        if progress is not None:
            progress(done, len(split))
    percent = (100 * hits.double() / done).tolist()
    mean_loss = loss.item() / done
    seconds = time.perf_counter() - began  # after .item(): a device has finished by then
    return Evaluation(percent[-1], mean_loss, done, seconds, tuple(percent) if spiking else ())


def check_fits(graph: Graph, split: Split) -> None:
    """Whether the network of ``graph`` can classify the images of ``split``.

    A network that pools over the whole map takes any size its windows fit into; one that flattens a map takes its own alone.

    Raises:
        UserError: if their channels, sizes or classes do not go together, naming both.
    """
    ours, theirs = graph.input_shape, split.image_shape
    if ours[0] != theirs[0]:
        raise UserError(f"the network takes images of {_text(ours)}, these are {_text(theirs)}: the channels differ")
    if ours != theirs:
        _check_size(graph, theirs)
    _check_classes(graph.output_shape[-1], split)


def _check_size(graph: Graph, size: Shape) -> None:
    """Infers every shape anew, from images of another size."""
    shapes = {graph.nodes[0].name: size}
    for node in graph.nodes[1:]:
        try:
            shapes[node.name] = inferred(node, tuple(shapes[name] for name in node.inputs))
        except UserError as error:
            problem = f"the network takes images of {_text(graph.input_shape)}, not of {_text(size)}"
            raise UserError(problem, hint=error.problem) from error


def _check_classes(classes: int, split: Split) -> None:
    theirs = split.classes or int(split.labels.max()) + 1
    if classes != split.classes if split.classes else classes < theirs:
        raise UserError(f"the network tells {classes} classes apart, the data has {theirs}", hint="Is it the right data set?")


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))
