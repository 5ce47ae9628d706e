"""What two other converters make of the zoo's models, and how activation calls are counted without trusting any of them."""

from __future__ import annotations

import importlib.util
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

ACTIVATIONS = ("relu", "silu", "gelu", "elu", "leaky_relu", "hardtanh", "hardswish")
"""Names of ATen calls that are activations, in-place forms left out; ReLU6 is a hardtanh to ATen."""
RELOADED = 30_000_000
"""Networks of more parameters are not written and read again."""


class _Counting(TorchDispatchMode):
    """Counts the activation calls that reach torch's kernels, and the calls of neurons, whose own kernels do not count."""

    def __init__(self, neurons: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.count = self.inside = 0
        self.calls: Counter[nn.Module] = Counter()
        self.hooks = [part.register_forward_pre_hook(self._enter) for part in neurons]
        self.hooks += [part.register_forward_hook(self._leave) for part in neurons]

    def _enter(self, part: nn.Module, *_: Any) -> None:
        self.inside += 1
        self.calls[part] += 1

    def _leave(self, *_: Any) -> None:
        self.inside -= 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not self.inside and func._schema.name.rpartition("::")[2].rstrip("_") in ACTIVATIONS
        return func(*args, **(kwargs or {}))


def activation_calls(module: nn.Module, images: Tensor) -> tuple[int, Tensor]:
    """How many activations one forward pass computes, and the result."""
    with _Counting() as counting, torch.no_grad():
        result: Tensor = module(images)
    return counting.count, result


def spikingjelly(module: nn.Module, images: Tensor) -> nn.Module:
    from spikingjelly.activation_based import ann2snn

    loader = [(images, torch.zeros(len(images)))]
    return ann2snn.Converter(ann2snn.RateCodingRecipe(dataloader=loader, mode="max")).convert(deepcopy(module))


def sinabs(module: nn.Module, images: Tensor) -> nn.Module:
    from sinabs.from_torch import from_model

    network: nn.Module = from_model(module, batch_size=len(images)).spiking_model
    return network


def _is_neuron(part: nn.Module) -> bool:
    return any(base.__name__ in ("BaseNode", "StatefulLayer") for base in type(part).__mro__)


def _peer(convert: Callable[[nn.Module, Tensor], nn.Module]) -> Callable[[nn.Module, Tensor], dict[str, Any]]:
    def measured(module: nn.Module, images: Tensor) -> dict[str, Any]:
        try:
            network = convert(module, images).eval()
        except Exception as error:
            return {"converts": False, "error": _told(error)}
        neurons = [part for part in network.modules() if _is_neuron(part)]
        row: dict[str, Any] = {"converts": True, "neurons": len(neurons)}
        counting = _Counting(neurons)
        try:
            with counting, torch.no_grad():
                network(images)
        except Exception as error:
            return row | {"forward": False, "error": _told(error)}
        finally:
            for hook in counting.hooks:
                hook.remove()
        return row | {
            "forward": True,
            "called": len(counting.calls),
            "shared": sum(count - 1 for count in counting.calls.values()),
            "missed": counting.count,
            "reload": _reload(network, images) if _size(network) < RELOADED else None,
        }

    return measured


def _reload(network: nn.Module, images: Tensor) -> str:
    """Whether the network survives torch.save and torch.load, without the program that made it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.pt"
        try:
            torch.save(network, path)
            torch.load(path, weights_only=False)(images)
        except Exception as error:
            return _told(error)
    return ""


def _size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()[:160]}"


PEERS = {
    name: _peer(convert)
    for name, convert in (("spikingjelly", spikingjelly), ("sinabs", sinabs))
    if importlib.util.find_spec(name) is not None
}
"""Name of a converter that is installed -> what measures it on a module and its images."""
