"""Whether SpikingJelly computes what the runtime computes: the written files are loaded as a user would, and both are run."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.export import compare
from idsnn_convert.runtime.export.names import flat_names
from idsnn_convert.runtime.export.spikingjelly.write import SOURCE, STATE, TAKEN, Written
from idsnn_convert.runtime.export.types import Stage


def stages(
    written: Written, checkpoint: Checkpoint, images: Tensor, real: Sequence[tuple[Tensor, Tensor]] = ()
) -> Iterator[Stage]:
    """The comparisons, one by one; after one that failed there are no more.

    Args:
        checkpoint: what was written, its norms folded if they were.
        images: (B, C, H, W), normalised, also where the network takes encoded ones: any will do.
        real: batches of such images and labels (B,); left out where images are encoded.
    """
    network = loaded(written).eval()
    layers = sum(1 for _ in network.children())
    told = f"{SOURCE} and {STATE} by SpikingJelly {_version()}, {layers} layers"
    yield Stage("Loaded", told, True, {"layers": layers, "spikingjelly": _version()})
    given = compare.direct(checkpoint)
    stage = compare.end_to_end(given, _ran(network, given, images), compare.ran(given, images))
    yield stage
    if stage.passed and real and checkpoint.encoder == "direct":
        steps = checkpoint.time_steps
        yield compare.on_images(
            "SpikingJelly", lambda batch: checkpoint.readout(_logits(network, batch, steps)), checkpoint, steps, real
        )


def loaded(written: Written) -> Any:
    """The network of the two files, from a folder where nothing else lies."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / SOURCE).write_text(written.source, encoding="utf-8")
        (place / STATE).write_bytes(written.state)
        spec = importlib.util.spec_from_file_location("idsnn_written_network", place / SOURCE)
        if spec is None or spec.loader is None:
            raise ImportError(f"{SOURCE} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)  # our own words, made of a checked graph
        return module.load()


def _logits(network: nn.Module, images: Tensor, steps: int) -> Tensor:
    """(B, C, H, W) -> (T, B, K), from zero potentials."""
    from spikingjelly.activation_based import functional

    functional.reset_net(network)
    with torch.no_grad():
        found: Tensor = network(images.expand(steps, *images.shape))
    return found


def _ran(network: nn.Module, checkpoint: Checkpoint, images: Tensor) -> compare.Ran:
    spikes: dict[str, Tensor] = {}

    def kept(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, inputs, output: spikes.update({name: output.flatten(0, 1)})

    names = flat_names(checkpoint.graph, TAKEN)
    hooks = [
        network.get_submodule(names[node.name]).register_forward_hook(kept(node.name)) for node in checkpoint.graph.of("neuron")
    ]
    logits = _logits(network, images, checkpoint.time_steps)
    for hook in hooks:
        hook.remove()
    return compare.Ran(logits, spikes)


def _version() -> str:
    try:
        return version("spikingjelly")
    except PackageNotFoundError:
        return "of unknown version"
