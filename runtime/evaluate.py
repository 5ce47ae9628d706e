"""How well a network classifies, and how that grows with the time steps it is given.

Letters: T time steps, B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idsnn_convert.runtime.data.batches import test_batches
from idsnn_convert.runtime.data.types import Split
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Shape
from idsnn_convert.runtime.measures import Measure
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.normalisation import Normalisation
from idsnn_convert.runtime.ops import inferred
from idsnn_convert.runtime.randomness import own_randomness
from idsnn_convert.runtime.readout import Readout

BATCH = 250
"""Images at a time."""

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
        top5: images whose label is among the five highest logits, in percent; None where there are five classes or fewer.
        top5_per_step: as ``top1_per_step``; empty where ``top5`` is None.
    """

    top1: float
    loss: float
    images: int
    seconds: float
    top1_per_step: tuple[float, ...] = ()
    top5: float | None = None
    top5_per_step: tuple[float, ...] = ()

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds


def evaluate(
    network: nn.Module,
    split: Split,
    normalisation: Normalisation,
    *,
    graph: Graph | None = None,
    batch_size: int = BATCH,
    progress: Progress | None = None,
    measures: Sequence[Measure] = (),
    seed: int = 0,
) -> Evaluation:
    """Accuracy and loss of ``network`` on all of ``split``, in eval mode, without gradients, on the network's device.

    The network gives logits (B, K), or (T, B, K) of which its ``readout`` makes one answer, by default their mean over T.
    Its training flags are as before afterwards.

    Args:
        seed: of what is left to chance, the spikes of a Poisson encoder; torch's generators are as before afterwards.
        measures: what else is to be told the answers; see :mod:`idsnn_convert.runtime.measures`.
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
        with own_randomness(_device(network), seed):
            return _evaluated(network, split, normalisation, batch_size, progress, measures)
    finally:
        for module, mode in modes.items():
            module.training = mode


@torch.inference_mode()
def _evaluated(
    network: nn.Module,
    split: Split,
    normalisation: Normalisation,
    batch_size: int,
    progress: Progress | None,
    measures: Sequence[Measure],
) -> Evaluation:
    device = _device(network)
    readout = network.readout if isinstance(network, SpikingNetwork) else Readout()
    loss = torch.zeros((), dtype=torch.float64, device=device)
    hits = torch.zeros(2, 1, dtype=torch.int64, device=device)  # in the first place, in the first five; after each step
    began, done, spiking, classes = time.perf_counter(), 0, False, 0
    for images, labels in test_batches(split, batch_size, normalisation=normalisation, device=device):
        logits = network(images).float()
        spiking, classes = logits.ndim == 3, logits.shape[-1]
        answers = readout.after_each_step(logits) if spiking else logits[None]  # (T, B, K)
        if not done:
            _check_classes(classes, split)
        hits = hits + torch.stack([_hits(answers, labels, 1), _hits(answers, labels, min(5, classes))])
        loss += F.cross_entropy(answers[-1], labels, reduction="sum")
        for measure in measures:
            measure(answers, labels)
        done += len(labels)
        if progress is not None:
            progress(done, len(split))
    top1, top5 = (100 * hits.double() / done).tolist()
    mean_loss = loss.item() / done
    seconds = time.perf_counter() - began  # after .item(): a device has finished by then
    steps = (tuple(top1), tuple(top5)) if spiking else ((), ())
    if classes <= 5:
        return Evaluation(top1[-1], mean_loss, done, seconds, steps[0])
    return Evaluation(top1[-1], mean_loss, done, seconds, steps[0], top5[-1], steps[1])


def _device(network: nn.Module) -> torch.device:
    """Where the network's tensors are; the CPU if it has none."""
    return next((tensor.device for tensor in (*network.parameters(), *network.buffers())), torch.device("cpu"))


def _hits(answers: Tensor, labels: Tensor, first: int) -> Tensor:
    """How many labels are among the ``first`` highest logits, after each step: (T, B, K), (B,) -> (T,)."""
    if first == 1:
        return (answers.argmax(-1) == labels).sum(1)
    return (answers.topk(first).indices == labels[:, None]).any(-1).sum(1)


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
