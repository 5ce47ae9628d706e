"""Traces any module to the canonical graph: torch.export to ATen calls, and :data:`idsnn_convert.passes.aten.ATEN` from there.

torch.export sees what runs, however it was written: layers, functions, methods, in-place forms. Seconds, not
milliseconds; :mod:`idsnn_convert.passes.known` is the fast road for modules made of known layers.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._ops import OpOverload
from torch.export import Dim, ExportedProgram, export

from idsnn_convert.passes.aten import ATEN, call
from idsnn_convert.passes.builder import Builder, Refusal, RefusedError, Site, layer_class
from idsnn_convert.passes.types import Canonical
from idsnn_convert.passes.values import Batch, Map, Param, UnsupportedError
from idsnn_convert.runtime import modules
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Shape

SILENT = frozenset({"_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range_for_size", "_set_grad_enabled"})
"""Calls that compute nothing: what torch.export asserts about its input."""

SHOWN = 5
"""How many places a message names for one reason."""

_TORCH = Path(torch.__file__).parent
_RUNTIME = Path(modules.__file__)
_FRAME = re.compile(r'File "(.+?)", line (\d+)')


class _Unknown:
    """A value that is not to be had, for a call before it is unsupported."""


UNKNOWN = _Unknown()


def trace(module: nn.Module, input_shape: Shape) -> Canonical:
    """The canonical graph of ``module`` in eval mode, for inputs of ``input_shape`` (C, H, W) and any batch size.

    The tensors of the result are the module's own, not copies.

    Raises:
        UserError: if torch.export cannot follow the module, or with every call that has no canonical form: where it
            was written, why, and what to do.
    """
    return canonical(exported(module, input_shape), type(module).__name__)


def unsupported(module: nn.Module, input_shape: Shape) -> list[Refusal]:
    """The calls of ``module`` that have no canonical form, in order; empty if :func:`trace` would succeed.

    Raises:
        UserError: if torch.export cannot follow the module.
    """
    return _Reading(exported(module, input_shape)).refusals


def exported(module: nn.Module, input_shape: Shape) -> ExportedProgram:
    """What torch.export makes of ``module`` in eval mode, with a batch size of its own choice; modes are restored.

    Raises:
        UserError: if it fails, with its reason.
    """
    modes = {part: part.training for part in module.modules()}
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    example = torch.zeros(2, *input_shape, dtype=like.dtype, device=like.device)
    try:
        with torch.no_grad():
            return export(module.eval(), (example,), dynamic_shapes=({0: Dim.AUTO},))
    except Exception as error:  # whatever the module's own code may raise
        raise UserError(
            f"{type(module).__name__} cannot be traced with inputs {tuple(input_shape)}: {_first_line(error)}",
            hint="A network whose control flow depends on values, or that needs another input size, cannot be traced.",
        ) from error
    finally:
        for part, mode in modes.items():
            part.training = mode


def canonical(program: ExportedProgram, name: str = "the program") -> Canonical:
    """The canonical graph of an exported program that takes one batch of images and gives one tensor.

    Raises:
        UserError: as :func:`trace`; ``name`` says what of.
    """
    reading = _Reading(program)
    if reading.refusals:
        raise RefusedError(*told(name, reading.refusals), reading.refusals)
    if not isinstance(reading.result, Map):
        raise UserError(f"{name} gives no single tensor", hint="Wrap it in a module whose forward returns the logits alone.")
    return replace(reading.builder.canonical(reading.result), calls=reading.calls)


class _Reading:
    """One walk over an exported program's calls: the nodes made, the result, and what was refused."""

    def __init__(self, program: ExportedProgram) -> None:
        signature = program.graph_signature
        self.params = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self.params |= signature.inputs_to_lifted_tensor_constants
        self.tensors: Mapping[str, Any] = {**program.constants, **program.state_dict}
        images = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in signature.user_inputs]
        if len(images) != 1 or not isinstance(images[0].meta.get("val"), Tensor) or images[0].meta["val"].dim() != 4:
            raise UserError("the program does not take one batch of images (N, C, H, W) alone")
        self.dtype = images[0].meta["val"].dtype
        self.builder = Builder(tuple(int(size) for size in images[0].meta["val"].shape[1:]))
        self.values: dict[fx.Node, Any] = {images[0]: self.builder.input}
        self.refusals: list[Refusal] = []
        self.calls: dict[str, str] = {}
        for node in program.graph.nodes:
            if node.op == "placeholder" and node.name in self.params:
                self.values[node] = Param(self.params[node.name], self.tensors[self.params[node.name]])
            elif node.op == "call_function":
                self._call(node)
        self.result = self._result(program)

    def _result(self, program: ExportedProgram) -> Any:
        results = [self.values.get(node, UNKNOWN) for node in program.graph.output_node().args[0]]
        return results[0] if len(results) == 1 else results

    def _call(self, node: fx.Node) -> None:
        site = _site(node)
        try:
            self.values[node] = self._value(node, site)
        except UnsupportedError as error:
            self.refusals.append(Refusal(site.name(_packet(node)), site.source, error.reason, error.advice))
            self.values[node] = UNKNOWN

    def _value(self, node: fx.Node, site: Site) -> Any:
        name = _packet(node)
        args: Any = fx.node.map_arg(node.args, lambda n: self.values.get(n, UNKNOWN))
        kwargs: Any = dict(fx.node.map_arg(node.kwargs, lambda n: self.values.get(n, UNKNOWN)))
        leaves = list(_leaves([*args, *kwargs.values()]))
        if name in SILENT:
            return None
        if getattr(node.target, "__module__", "") == "_operator" and node.target is not operator.getitem:
            whole = all(isinstance(leaf, int) for leaf in leaves)
            return node.target(*args) if whole and callable(node.target) else Batch()
        if any(isinstance(leaf, Param) for leaf in leaves) and not any(
            isinstance(leaf, Map | Batch | _Unknown) for leaf in leaves
        ):
            return _folded(node, args, kwargs)
        if name.rstrip("_") in ATEN and any(leaf is UNKNOWN for leaf in leaves):
            return UNKNOWN
        result = call(self.builder, site, name.rstrip("_"), args, kwargs)
        self._check(node, result)
        if isinstance(result, Map):
            self.calls[node.name] = result.node
        if name.endswith("_") and result is not args[0]:
            self.builder.overwrite(self.values, args[0], result)
        return result

    def _check(self, node: fx.Node, result: Any) -> None:
        """Holds the value made against what torch.export says of it."""
        told = node.meta.get("val")
        if not isinstance(result, Map) or not isinstance(told, Tensor):
            return
        if told.dtype != self.dtype:
            raise UnsupportedError(f"it changes the data type to {told.dtype}", "Keep one data type throughout.")
        if tuple(told.shape[1:]) != result.shape:
            raise UnsupportedError(
                f"it gives shape {tuple(told.shape[1:])}, its canonical form {result.shape}", "Write it otherwise."
            )


def _folded(node: fx.Node, args: Any, kwargs: Any) -> Any:
    """A call on parameters alone, computed now; its result goes by the name of the first."""
    if _packet(node).endswith("_"):
        raise UnsupportedError("it changes a parameter in place", "Use the out-of-place form of that operation.")
    parts = [leaf for leaf in _leaves([*args, *kwargs.values()]) if isinstance(leaf, Param)]
    first, names = parts[0], tuple(dict.fromkeys(name for part in parts for name in part.computed or (part.origin,)))

    def tensors(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [tensors(item) for item in value]
        return value.tensor if isinstance(value, Param) else value

    with torch.no_grad():
        result = node.target(*tensors(args), **{key: tensors(value) for key, value in kwargs.items()})  # type: ignore[operator]

    def named(tensor: Tensor) -> Param:
        view = tensor.untyped_storage().data_ptr() == first.tensor.untyped_storage().data_ptr()
        return Param(first.origin, tensor, first.computed if view else names)

    if isinstance(result, list | tuple):
        return [named(tensor) if isinstance(tensor, Tensor) else tensor for tensor in result]
    return named(result) if isinstance(result, Tensor) else result


def _leaves(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _leaves(value)
        else:
            yield value


def _packet(node: fx.Node) -> str:
    """``relu_`` of ``aten.relu_.default``."""
    target = node.target
    return (
        target._schema.name.rpartition("::")[2] if isinstance(target, OpOverload) else getattr(target, "__name__", str(target))
    )


def _site(node: fx.Node) -> Site:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path, kind = stack[-1] if stack else ("", "")
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    frames = [(Path(file), line) for file, line in _FRAME.findall(node.meta.get("stack_trace") or "")]
    own = [(file, line) for file, line in frames if _TORCH not in file.parents and file != _RUNTIME]
    return Site(path, layer_class(kind), f"{own[-1][0].name}:{own[-1][1]}" if own else "")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def told(name: str, refusals: Sequence[Refusal]) -> tuple[str, str]:
    """The refusals as one message, equal reasons together, and as one hint, each piece of advice once."""
    groups: dict[str, list[Refusal]] = {}
    for refusal in refusals:
        groups.setdefault(refusal.reason, []).append(refusal)
    lines = [f"{name} has {len(refusals)} call{'s' * (len(refusals) > 1)} without a canonical form"]
    for reason, group in groups.items():
        places = [f"{refusal.node} ({refusal.source})" if refusal.source else refusal.node for refusal in group]
        more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
        lines.append(f"  {reason}: {', '.join(places[:SHOWN])}{more}")
    return "\n".join(lines), " ".join(dict.fromkeys(refusal.advice for refusal in refusals))
