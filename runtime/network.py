"""From a canonical graph to a module that computes it: a torch.fx.GraphModule, one submodule a node.

Letters: T time steps, B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor, fx, nn

from idsnn_convert.runtime.chunks import chunked, streamed
from idsnn_convert.runtime.convolution import Convolution
from idsnn_convert.runtime.encoders import ENCODERS, Encoder
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fixed_point import CODES, IntegerConv2d, check_available, convolutions, writes_codes
from idsnn_convert.runtime.fused import FusedNeuron
from idsnn_convert.runtime.fusion import Fusion, fusions
from idsnn_convert.runtime.graph import Attr, Graph, Node
from idsnn_convert.runtime.modules import Dropout
from idsnn_convert.runtime.neurons import SpikingNeuron
from idsnn_convert.runtime.ops import OPS, check, tensor_shapes
from idsnn_convert.runtime.packing import spiking
from idsnn_convert.runtime.readout import Readout
from idsnn_convert.runtime.spike_map import SpikeMap
from idsnn_convert.runtime.winograd import suits


class Repeat(nn.Module):
    """(B, ...) -> (T*B, ...), time-major: the same value at every step."""

    def __init__(self, time_steps: int) -> None:
        super().__init__()
        self.time_steps = time_steps

    def forward(self, x: Tensor) -> Tensor:
        return x.expand(self.time_steps, *x.shape).flatten(0, 1)


def build(
    graph: Graph,
    tensors: Mapping[str, Tensor],
    device: torch.device | str = "cpu",
    taps: Sequence[str] = (),
    compiled: bool = False,
) -> fx.GraphModule:
    """The module that computes ``graph`` with copies of ``tensors`` (named ``node.slot``): (B, C, H, W) -> (B, K).

    With ``taps``, names of nodes, it gives their values too: (logits, value, ...). Its state dict has exactly the
    graph's tensor names. Neurons, if any, see one time step. With ``compiled`` 3x3 convolutions run by
    :mod:`idsnn_convert.runtime.winograd`, equal up to rounding.

    Raises:
        UserError: if the graph breaks the rules of :func:`idsnn_convert.runtime.ops.check`.
    """
    check(graph)
    with torch.device("meta"):
        module = _assemble(graph, frozenset(), {}, taps, compiled)
    return _filled(module, tensors, device)


def computed(node: Node, tensors: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """What the one operation ``node``, no input or output, gives in eval mode; of ``tensors`` it reads its own."""
    own = {slot: tensors[f"{node.name}.{slot}"] for slot in OPS[node.op].tensors(node)}
    module = _layer(node.op, tuple(sorted(node.attrs.items())))
    result: Tensor = torch.func.functional_call(module, own, tuple(inputs))
    return result


@lru_cache(maxsize=256)
def _layer(op: str, attrs: tuple[tuple[str, Attr], ...]) -> nn.Module:
    """The module of an operation, without values, which all nodes with these attributes share: a deep network has few kinds."""
    make = OPS[op].module
    if make is None:
        raise ValueError(f"{op} computes nothing")
    with torch.device("meta"):
        return make(Node("", op, attrs=dict(attrs))).eval()


def _assemble(
    graph: Graph,
    time_free: frozenset[str],
    fused: Mapping[str, Fusion],
    taps: Sequence[str] = (),
    compiled: bool = False,
    packed: frozenset[str] = frozenset(),
    gamma: float | None = None,
    weight_bits: int | None = None,
) -> fx.GraphModule:
    """Places the modules and writes the calls; what has no time axis is repeated before it meets what has. With ``gamma``
    each tap gives its spike activation map instead of its own value."""
    root = nn.Module()
    calls = fx.Graph()
    values: dict[str, fx.Node] = {}
    repeated: dict[str, fx.Node] = {}
    absorbed = {name for fusion in fused.values() for name in fusion.absorbed}
    integer = convolutions(graph) if weight_bits else frozenset()
    coded = writes_codes(graph, fused, taps) if weight_bits else frozenset()
    convolved: set[str] = set()

    def timed(name: str) -> fx.Node:
        if name not in time_free:
            return values[name]
        if name not in repeated:
            target = f"{name}__repeat"
            place(root, target, Repeat(1))
            repeated[name] = calls.call_module(target, (values[name],))
        return repeated[name]

    def tapped(name: str) -> fx.Node:
        if gamma is None:
            return timed(name)
        place(root, f"{name}__map", SpikeMap(gamma))
        return calls.call_module(f"{name}__map", (timed(name),))

    for node in graph:
        make = OPS[node.op].module
        if node.op == "input":
            values[node.name] = calls.placeholder("x")
            continue
        if make is None:
            logits = timed(node.inputs[0])
            calls.output((logits, *map(tapped, taps)) if taps else logits)
            continue
        module = make(node)
        place(root, node.name, module)
        if isinstance(module, SpikingNeuron):
            module.repeats = node.inputs[0] in time_free
        if fusion := fused.get(node.name):
            target = f"{node.name}__fused"
            norm = None if fusion.norm is None else root.get_submodule(fusion.norm)
            code = CODES[weight_bits] if weight_bits and node.name in coded else None
            place(root, target, FusedNeuron(module, norm, compiled, code))  # type: ignore[arg-type]
            source = values[fusion.source] if node.inputs[0] in time_free else timed(fusion.source)
            args = [source] if fusion.residual is None else [source, timed(fusion.residual)]
            values[node.name] = calls.call_module(target, tuple(args))
        elif node.name not in absorbed:
            direct = node.op == "neuron" or node.name in time_free
            args = [values[name] if direct else timed(name) for name in node.inputs]
            target = node.name
            if weight_bits and node.name in integer:
                target = f"{node.name}__integer"
                place(root, target, IntegerConv2d(module, weight_bits))  # type: ignore[arg-type]
            elif convolution := _convolution(module, compiled, node.name in packed):
                target = f"{node.name}__convolution"
                place(root, target, convolution)
                convolved.add(node.name)
            values[node.name] = calls.call_module(target, tuple(args))
    calls.lint()
    body = fx.GraphModule(root, calls)
    borrowed = (
        fused.keys() | absorbed | convolved | integer
    )  # only called modules were taken over; these own tensors and settings
    for node in graph:  # in its order: that of the parameters must be the same in every process
        if node.name in borrowed:
            body.add_submodule(node.name, root.get_submodule(node.name))
    return body


def _convolution(module: nn.Module, compiled: bool, pack: bool) -> Convolution | None:
    """What computes the layer ``module`` better than itself, if anything does."""
    if not isinstance(module, nn.Conv2d):
        return None
    quick = compiled and suits(module)
    return Convolution(module, quick=quick, pack=pack) if quick or pack else None


def place(root: nn.Module, name: str, module: nn.Module) -> None:
    """Puts ``module`` at the dotted ``name``, making the plain modules on the way."""
    *path, last = name.split(".")
    for part in path:
        if not hasattr(root, part):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(last, module)


def _filled(module: fx.GraphModule, tensors: Mapping[str, Tensor], device: torch.device | str) -> fx.GraphModule:
    module.to_empty(device=device)
    owned = module.state_dict()
    if wrong := sorted(owned.keys() ^ tensors.keys()):
        raise UserError(f"the tensors do not fit the graph: {wrong[0]!r} is {'missing' if wrong[0] in owned else 'not in it'}")
    with torch.no_grad():
        for name, tensor in owned.items():
            if tensor.shape != tensors[name].shape:
                found, needed = tuple(tensors[name].shape), tuple(tensor.shape)
                raise UserError(f"tensor {name!r} has shape {found}, the graph needs {needed}")
            tensor.copy_(tensors[name])
    return module


def time_free_nodes(graph: Graph, encoder: str) -> frozenset[str]:
    """Names of the nodes whose value is the same at every step: under direct encoding, all before the first neurons."""
    if not ENCODERS[encoder].constant:
        return frozenset()
    found: set[str] = set()
    for node in graph:
        if node.op not in ("neuron", "output") and all(name in found for name in node.inputs):
            found.add(node.name)
    return frozenset(found)


class SpikingNetwork(nn.Module):
    """A spiking network rebuilt from a checkpoint: images (B, C, H, W) -> logits of each step (T, B, K).

    ``readout`` makes one answer of them: their mean over T unless said otherwise. Conv and batch norm are shared over
    time, batch statistics are taken over time and batch together. Under direct encoding the layers before the first
    neuron run once an image: the same numbers, except that the unbiased running variance counts each pixel once
    instead of T times.

    Attributes:
        graph: the canonical graph.
        body: the module that computes it; its state dict holds the checkpoint's tensors under their names.
        taps: names of the nodes whose maps :meth:`forward` can give: their own values, or with ``gamma`` their spike
            activation maps, see :mod:`idsnn_convert.runtime.spike_map`.
        time_chunk: run so many time steps at a time to save memory, see :mod:`idsnn_convert.runtime.chunks`; all at once
            if None. With ``compiled``, kernels for so many steps are made, and others for a last chunk that is shorter.

    Batch norm, residual add and neuron run as one layer (:mod:`idsnn_convert.runtime.fusion`): in PyTorch's own operators,
    or, with ``compiled``, as kernels made at the first call (seconds, once per machine; :mod:`idsnn_convert.runtime.backends`),
    and on the CPU 3x3 convolutions by :mod:`idsnn_convert.runtime.winograd`;
    :func:`idsnn_convert.runtime.kernels.can_compile` says whether they can be. Without ``fused`` every layer runs on its own:
    the reference, to which the others are equal up to rounding. With ``pack_spikes`` convolutions keep the spikes they were
    given as bits, see :mod:`idsnn_convert.runtime.packing`: less memory for some time. With ``weight_bits`` of 8 or 16
    convolutions of spikes are computed in integers, without gradients, see :mod:`idsnn_convert.runtime.fixed_point`.
    """

    def __init__(
        self,
        graph: Graph,
        tensors: Mapping[str, Tensor],
        time_steps: int,
        encoder: str = "direct",
        device: torch.device | str = "cpu",
        compiled: bool = False,
        readout: Readout | None = None,
        taps: Sequence[str] = (),
        fused: bool = True,
        pack_spikes: bool = False,
        gamma: float | None = None,
        weight_bits: int | None = None,
    ) -> None:
        super().__init__()
        check(graph)
        if weight_bits is not None:
            check_available(device, weight_bits)
        self.graph = graph
        self.readout = readout or Readout()
        self.taps = tuple(taps)
        self.encoder_name = encoder
        self.encoder: Encoder = ENCODERS[encoder].make()
        with torch.device("meta"):
            time_free = time_free_nodes(graph, encoder)
            found = fusions(graph, time_free) if fused else {}
            kept = {name: fusion for name, fusion in found.items() if not set(fusion.absorbed) & set(taps)}
            packed = spiking(graph) if pack_spikes else frozenset()
            body = _assemble(graph, time_free, kept, self.taps, compiled, packed, gamma, weight_bits)
        self.body = _filled(body, tensors, device)
        for node in graph.of("dropout"):
            self.body.get_submodule(node.name).timed = node.name not in time_free  # type: ignore[assignment]
        self.time_steps = time_steps
        self.time_chunk: int | None = None
        self.compiled = compiled

    @property
    def time_steps(self) -> int:
        """T. Setting it changes how many steps each forward takes; tensors are untouched."""
        return self._time_steps

    @time_steps.setter
    def time_steps(self, steps: int) -> None:
        if steps < 1:
            raise ValueError(f"time_steps must be at least 1, not {steps}")
        self._time_steps = steps
        for module in self.lasting():
            module.time_steps = steps

    def lasting(self) -> list[SpikingNeuron | SpikeMap | Repeat | Dropout]:
        """The modules that know how many steps a forward takes."""
        kinds = SpikingNeuron | SpikeMap | Repeat | Dropout
        return [module for module in self.body.modules() if isinstance(module, kinds)]

    def layer(self, name: str) -> nn.Module:
        """The module that gives the value of the graph's node ``name``, to hook into; a node that is fused into the neuron
        behind it has none."""
        modules: dict[str, nn.Module] = dict(self.body.named_modules())
        return next(
            modules[full] for kind in ("__fused", "__convolution", "__integer", "") if (full := f"{name}{kind}") in modules
        )

    def forward(self, images: Tensor, maps: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Logits (T, B, K); with ``maps`` also the mean over time of what each of ``taps`` gives: (B, C, H, W), or one channel
        of spike activation maps."""
        steps, lasting = self._time_steps, self.lasting()
        for module in lasting:
            if isinstance(module, Dropout) and module.timed and self.training:
                module.seed = int(torch.randint(2**62, ()))
        if self.time_chunk is None or self.time_chunk >= steps:
            values = self.body(self.encoder(images, steps))
            logits, *tapped = (value.unflatten(0, (steps, len(images))) for value in (values if self.taps else (values,)))
            found = [value.mean(0) for value in tapped] if maps else []
        else:
            constant = ENCODERS[self.encoder_name].constant
            logits, found = chunked(self.body, self._encoding(images), lasting, steps, self.time_chunk, constant)
        return (logits, found) if maps else logits

    def stream(self, images: Tensor, chunk: int) -> Iterator[Tensor]:
        """The same logits ``chunk`` steps at a time, (k, B, K), without gradients; none is kept, so T may be any number."""
        yield from streamed(self.body, self._encoding(images), self.lasting(), self._time_steps, chunk)

    def _encoding(self, images: Tensor) -> Callable[[int], Tensor]:
        """Gives the next so many steps of the input, from the first on."""
        return lambda steps: self.encoder(images, steps)

    def tensors(self) -> dict[str, Tensor]:
        """The network's tensors under their checkpoint names, in graph order, on the CPU."""
        state = self.body.state_dict()
        return {name: state[name].detach().cpu() for name in tensor_shapes(self.graph)}
