"""Which residual network a bare state dict belongs to: by its names, then by its shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from idsnn_convert.passes.families.schemes import SCHEMES, Scheme
from idsnn_convert.passes.families.structure import ANCHORS, check_tensors, read_structure
from idsnn_convert.passes.resnet.spec import AFTER_ADD, ResNetSpec
from idsnn_convert.runtime.errors import UserError

COUNTER = "a counter of training batches, not a weight"
OUTSIDE = "not part of the network: neither stem, stage nor classifier"

OTHERS: dict[str, str] = {
    "features.denseblock1": "a DenseNet",
    "features.0.0.": "a MobileNet or EfficientNet",
    "features.": "a VGG or AlexNet",
    "conv1.0.weight": "a ResNet with a deep stem, of three convolutions",
    "attn": "a transformer",
    "self_attention": "a transformer",
    "transition1": "an HRNet",
    "backbone.body.": "a detector",
}
"""A part of a tensor's name -> what such a state dict belongs to."""


PAD_TOLD: dict[str, str] = {
    "pad": "Shortcuts that change shape skip pixels and pad with zero channels (option A).",
    "pad-end": "Shortcuts that change shape skip pixels and pad with zero channels behind.",
    "pool-pad": "Shortcuts that change shape average pixels and pad with zero channels.",
}
"""A shortcut without weights -> what is said of it."""


@dataclass(frozen=True)
class Candidate:
    """A network the state dict may belong to.

    Attributes:
        rename: name in the state dict -> name in :class:`idsnn_convert.passes.resnet.module.ResNet` of ``spec``.
        unread: names in the state dict that the network has no use for, each with the reason.
        assumptions: what names and shapes do not tell, one sentence each.
    """

    family: str
    spec: ResNetSpec
    rename: Mapping[str, str]
    unread: Mapping[str, str]
    assumptions: tuple[str, ...]


def recognise(state: Mapping[str, Tensor], *, input_size: int | None = None) -> list[Candidate]:
    """The networks ``state`` may belong to, likeliest first; they differ in what names and shapes do not tell.

    Args:
        state: tensor names without wrappers' prefixes -> tensors; only shapes are read.
        input_size: height and width of the images, if known.

    Raises:
        UserError: if it is no residual network of a known naming scheme, saying what was found.
    """
    counters = {name: COUNTER for name in state if name.endswith("num_batches_tracked")}
    names = [name for name in state if name not in counters]
    found: list[Candidate] = []
    refusals: list[tuple[int, UserError]] = []
    for scheme in SCHEMES:
        try:
            found += _candidates(scheme, names, state, counters, input_size)
        except UserError as refusal:
            if scheme.fits is None:
                refusals.append((sum(scheme.rename(name) is not None for name in names), refusal))
    if found:
        return _distinct(found)
    if refusals:
        raise max(refusals, key=lambda refusal: refusal[0])[1]
    raise _stranger(names, state)


def _candidates(
    scheme: Scheme, names: list[str], state: Mapping[str, Tensor], counters: Mapping[str, str], input_size: int | None
) -> list[Candidate]:
    """The scheme's readings of the state dict; none if the names are not its own."""
    rename = {name: ours for name in names if (ours := scheme.rename(name)) is not None}
    theirs = {ours: name for name, ours in rename.items()}
    if any(anchor not in theirs for anchor in ANCHORS):
        return []
    if len(theirs) < len(rename):
        double = next(name for name, ours in rename.items() if theirs[ours] != name)
        raise UserError(f"tensors {double!r} and {theirs[rename[double]]!r} claim the same place in a {scheme.family} network")
    others = [name for name in names if name not in rename]
    _refuse_foreign_parts(scheme, rename, others)
    shapes = {ours: tuple(state[name].shape) for name, ours in rename.items()}
    spec = read_structure(shapes, input_size)
    if scheme.fits is not None and not scheme.fits(spec):
        return []
    check_tensors(spec, theirs, shapes)
    unread = {**counters, **dict.fromkeys(others, OUTSIDE)}
    specs = [replace(spec, **choice) for choice in scheme.choices if not (choice and spec.preact)]
    if spec.block.endswith("bottleneck"):
        specs += [replace(variant, stride_at="1x1") for variant in specs]
    return [Candidate(scheme.family, s, rename, unread, assumptions(s, told_size=input_size is not None)) for s in specs]


def _refuse_foreign_parts(scheme: Scheme, rename: Mapping[str, str], others: list[str]) -> None:
    """A tensor the scheme does not know, inside a part it does, would change what the network computes."""
    parts = {name.partition(".")[0] for name in rename}
    if inside := [name for name in others if name.partition(".")[0] in parts]:
        raise UserError(
            f"the names are {scheme.family}'s, but a plain ResNet has no tensor {inside[0]!r} ({len(inside)} such tensors)",
            hint="Squeeze-and-excitation, deep stems and other extras cannot be read from a state dict yet.",
        )


def _distinct(candidates: list[Candidate]) -> list[Candidate]:
    """Without the repeats of schemes that share their rules; the first keeps its family's name."""
    kept: dict[ResNetSpec, Candidate] = {}
    for candidate in candidates:
        kept.setdefault(candidate.spec, candidate)
    return list(kept.values())


def _stranger(names: list[str], state: Mapping[str, Tensor]) -> UserError:
    looks = next((what for part, what in OTHERS.items() if any(part in name for name in names)), None)
    first = ", ".join(f"{name} {tuple(state[name].shape)}" for name in names[:4])
    known = ", ".join(scheme.family for scheme in SCHEMES)
    headless = [s.family for s in SCHEMES if {s.rename(name) for name in names} >= set(ANCHORS[:2])]
    if headless:
        return UserError(
            f"the names are {headless[-1]}'s, but there is no classifier among them: the file holds a backbone",
            hint="A teacher must classify: give a checkpoint that includes its last linear layer.",
        )
    return UserError(
        f"the file holds {len(names)} tensors that form no known ResNet{f'; it looks like {looks}' if looks else ''}. "
        f"The first are {first or 'none at all'}",
        hint=f"Only ResNets can be read from a bare state dict. Naming schemes known: {known}.",
    )


def assumptions(spec: ResNetSpec, *, told_size: bool = True) -> tuple[str, ...]:
    """What ``spec`` says that no state dict tells, one sentence each."""
    said = [
        "" if told_size else f"The images are {spec.input_size}x{spec.input_size}.",
        *readable(spec),
        f"The head averages over {spec.window}x{spec.window} windows."
        if spec.window
        else "The head averages over the whole map.",
        "Batch norm adds 1e-05 to the variance.",
    ]
    return tuple(sentence for sentence in said if sentence)


def readable(spec: ResNetSpec) -> tuple[str, ...]:
    """What of that shows in the statistics of batch norms."""
    stem = spec.stem
    pool = "and a 3x3 max pool of stride 2 follows" if stem.pool else "and no pool follows"
    strides = len(spec.strides) > 1 and (spec.block.endswith("bottleneck") or spec.stride_at == "last")
    said = [
        f"The first convolution has stride {stem.stride} and padding {stem.padding}, {pool}.",
        f"The stages begin with strides {', '.join(map(str, spec.strides))}.",
        f"Blocks stride in their {spec.stride_at} convolution." if strides else "",
        "" if spec.preact else f"There is {AFTER_ADD[spec.after_add]}.",
        PAD_TOLD.get(spec.shortcut, ""),
    ]
    return tuple(sentence for sentence in said if sentence)
