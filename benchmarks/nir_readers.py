"""Runs a NIR file in another library, in that library's own environment; nothing of this project is imported.

    python benchmarks/nir_readers.py READER FILE.nir IMAGES.npy T OUT.npy

Reads images (B, C, H, W), shows them at each of T steps, writes the logits of every step (T, B, K) to OUT.npy, and
prints one JSON object: versions, and ``error`` where the library did not get so far, ``where`` saying how far it got.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import sys
import warnings
from typing import Any

import nir
import numpy as np
import torch

DT = 1e-4
"""Seconds a step, as the files say; readers that ask for it are told."""


def snntorch(graph: Any, images: torch.Tensor, steps: int) -> tuple[Any, Any]:
    from snntorch.import_nir import import_from_nir

    network = import_from_nir(graph)
    return network, lambda: _stepped(network, images, steps)


def spikingjelly(graph: Any, images: torch.Tensor, steps: int) -> tuple[Any, Any]:
    from spikingjelly.activation_based.nir_exchange.from_nir import import_from_nir

    network = import_from_nir(graph, dt=DT)
    return network, lambda: _stepped(network, images, steps)


def norse(graph: Any, images: torch.Tensor, steps: int) -> tuple[Any, Any]:
    from norse.torch import from_nir

    network = from_nir(graph, dt=DT)
    return network, lambda: _stepped(network, images, steps)


def sinabs(graph: Any, images: torch.Tensor, steps: int) -> tuple[Any, Any]:
    from sinabs.nir import from_nir

    network = from_nir(graph, batch_size=len(images))

    def run() -> torch.Tensor:
        found = network(images.repeat_interleave(steps, 0))  # (B*T, ...): all steps of the first image first
        found = found[0] if isinstance(found, tuple) else found
        return found.unflatten(0, (len(images), steps)).transpose(0, 1)

    return network, run


def _stepped(network: torch.nn.Module, images: torch.Tensor, steps: int) -> torch.Tensor:
    """A step a call, the state handed on."""
    state, found = None, []
    for _ in range(steps):
        logits, state = network(images, state)
        found.append(logits)
    return torch.stack(found)


READERS = {"snntorch": snntorch, "spikingjelly": spikingjelly, "norse": norse, "sinabs": sinabs}


def main() -> None:
    reader, file, images, steps, out = sys.argv[1:]
    told: dict[str, Any] = {"versions": {name: _version(name) for name in (reader, "nir", "nirtorch", "torch", "numpy")}}
    given = torch.from_numpy(np.load(images))
    where = "reading the file"
    try:
        with torch.no_grad():
            graph = nir.read(file)
            where = "importing the graph"
            _, run = READERS[reader](graph, given, int(steps))
            where = "running the network"
            np.save(out, run().numpy())
    except Exception as error:
        told |= {"where": where, "error": f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"}
    print("\n" + json.dumps(told))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    main()
