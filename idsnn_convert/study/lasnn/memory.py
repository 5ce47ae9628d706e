"""How much memory one training step takes: bytes of tensors that are alive at once, so that two losses can be compared."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from idsnn_convert import runtime
from idsnn_convert.distil import open_tutor, tap_pairs, tutor_network
from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.data import Dataset
from idsnn_convert.runtime.initialise import prepared
from idsnn_convert.runtime.normalisation import KNOWN, from_json
from idsnn_convert.runtime.objective import Objective
from idsnn_convert.runtime.recipe import Recipe


class _Alive(TorchDispatchMode):
    """Counts the storages that operations make, from their making to their end."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._seen = weakref.WeakSet[Any]()

    def __torch_dispatch__(
        self, function: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = function(*args, **(kwargs or {}))
        before = {
            id(value.untyped_storage()) for value in pytree.tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)
        }
        for value in pytree.tree_leaves(given):
            if isinstance(value, torch.Tensor) and id(storage := value.untyped_storage()) not in before:
                self._note(storage)
        return given

    def _note(self, storage: Any) -> None:
        if storage in self._seen:
            return
        size = storage.nbytes()
        self._seen.add(storage)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._end, size)

    def _end(self, size: int) -> None:
        self.now -= size


def step_bytes(student: Path, teacher: Path | None, dataset: Dataset, recipe: Recipe, device: torch.device) -> int:
    """:func:`peak_bytes` of one batch's losses and gradients, for ``student`` trained by ``recipe``.

    Args:
        teacher: the file that the recipe's losses ask; None where they ask none.
    """
    start = prepared(read(student), recipe)
    tutor = None if teacher is None else open_tutor(teacher)
    taps = tap_pairs(recipe.loss, start, tutor)
    gamma = recipe.loss.tap_gamma if recipe.loss.tap == "gradient" else None
    network = runtime.network(start, device=device, taps=[tap.student for tap in taps], gamma=gamma).train()
    network.time_chunk = recipe.run.time_chunk or None
    asked = None
    if tutor is not None:
        same = from_json(start.normalisation) if start.normalisation else KNOWN["half"]
        asked = tutor_network(tutor, taps, start.time_steps, same, same).to(device).eval().requires_grad_(False)
    objective = Objective(network, asked, recipe.loss, recipe.run.precision, network.readout)
    count = min(recipe.run.batch_size, len(dataset.test))
    images = torch.randn(count, *dataset.test.image_shape, generator=torch.Generator().manual_seed(0)).to(device)
    labels = torch.arange(count, device=device) % dataset.classes
    return peak_bytes(lambda: objective(images, labels).total.backward(), device)


def peak_bytes(step: Callable[[], object], device: torch.device) -> int:
    """The most bytes that tensors made by ``step`` take at one time. Weights and images that were there before do not
    count, nor what a library holds for itself: on a CPU the figure is the method's, the same on every machine and run; on a
    GPU it is what PyTorch's allocator counts."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    alive = _Alive()
    with alive:
        step()
    return alive.most
