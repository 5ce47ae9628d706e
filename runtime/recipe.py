"""Recipes: everything a training run may choose, as one TOML file of typed sections.

Shipped ones lie in ``recipes/`` beside this file, one file a recipe. A key that is not here is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.toml_file import parsed_toml, read_toml

SHIPPED = Path(__file__).parent / "recipes"

Share = Annotated[float, Field(ge=0, lt=1)]
AtLeast0 = Annotated[float, Field(ge=0)]
Above0 = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)


class Run(_Section):
    """``batch_size``: images that one step learns from, however many parts and processes share them.
    ``accumulate``: cut each batch in so many parts, one after the other, for less memory; batch norm sees one at a time.
    ``time_chunk``: run so many time steps at a time, for less memory at large T and one more forward; 0 runs all at
    once. Batch norm sees one chunk at a time, see :mod:`idsnn_convert.runtime.chunks`.
    ``pack_spikes``: keep spikes for the backward as bits, for less memory and some time, see
    :mod:`idsnn_convert.runtime.packing`; the result is the same.
    ``teacher_precision``: the teacher's alone, which learns nothing and takes less care; ``same`` as the student's; ``int8``
    on processors that multiply bytes, see :mod:`idsnn_convert.runtime.eight_bit`.
    ``ema_decay``: keep a moving average of the weights beside them, see :mod:`idsnn_convert.runtime.ema`; 0 keeps none.
    ``save_minutes``: how often, besides after each epoch, what a run needs to be resumed is written.
    ``recalibrate_batches``: measure batch norm statistics anew over so many training batches before each evaluation,
    see :mod:`idsnn_convert.runtime.recalibrate`; 0 keeps the moving averages."""

    epochs: Count = 200
    seed: Annotated[int, Field(ge=0)] = 0
    batch_size: Count = 64
    accumulate: Count = 1
    time_chunk: Annotated[int, Field(ge=0)] = 0
    pack_spikes: bool = False
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    teacher_precision: Literal["same", "float32", "bfloat16", "float16", "int8"] = "same"
    ema_decay: Share = 0.0
    channels_last: bool = True
    save_minutes: Above0 = 10.0
    recalibrate_batches: Annotated[int, Field(ge=0)] = 0


class Network(_Section):
    """What to change of the checkpoint's network; nothing where None.

    ``readout``: see :class:`idsnn_convert.runtime.readout.Readout`; ``readout_decay`` is the membrane's, 1 without leak."""

    time_steps: Count | None = None
    encoder: Literal["direct", "poisson"] | None = None
    readout: Literal["mean", "membrane"] | None = None
    readout_decay: Annotated[float, Field(gt=0, le=1)] | None = None


class Neurons(_Section):
    """What to change of the checkpoint's neurons; nothing where None. See :class:`idsnn_convert.runtime.neurons.Neuron`.

    ``tau``: membrane time constant in time steps; ``decay = exp(-1 / tau)`` says the same. ``width``: the surrogate's, a
    number or each layer's own ``v_threshold``; ``damping``: a factor on its slope. ``learn``: which numbers each layer learns,
    starting from those it has.
    """

    kind: Literal["lif", "if"] | None = None
    tau: Above0 | None = None
    decay: Annotated[float, Field(gt=0, le=1)] | None = None
    v_threshold: Above0 | None = None
    reset: Literal["hard", "soft"] | None = None
    surrogate: Literal["rectangle", "triangle", "arctan", "sigmoid", "linear"] | None = None
    width: Above0 | Literal["v_threshold"] | None = None
    damping: Annotated[float, Field(gt=0, le=1)] | None = None
    learn: Annotated[tuple[Literal["decay", "v_threshold"], ...], Field(strict=False)] | None = None


class Optimizer(_Section):
    """See :mod:`idsnn_convert.runtime.optimizers`. ``momentum`` is Adam's beta1; ``beta2`` and ``eps`` are Adam's alone.
    ``grad_clip``: largest l2 norm of the gradient of all weights together; 0 leaves it alone.
    ``decay_norm_and_bias``: whether weight decay also reaches batch norms and biases (vectors)."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Above0 = 0.05
    momentum: Share = 0.9
    beta2: Share = 0.999
    eps: Above0 = 1e-8
    weight_decay: AtLeast0 = 1e-4
    decay_norm_and_bias: bool = True
    nesterov: bool = False
    grad_clip: AtLeast0 = 0.0


class Schedule(_Section):
    """See :mod:`idsnn_convert.runtime.schedule`. A milestone below 1 is a fraction of the epochs, so that it moves
    with their number; any other is an epoch. ``floor`` is the cosine's last lr as a fraction of the first."""

    kind: Literal["step", "cosine", "constant"] = "step"
    milestones: Annotated[tuple[Above0, ...], Field(strict=False)] = (0.3, 0.6, 0.8)
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    warmup_epochs: AtLeast0 = 0.0


class Loss(_Section):
    """See :mod:`idsnn_convert.runtime.losses`. A weight of 0 leaves a term out; ``alpha`` is that of the teacher's answers.

    ``ce``, ``kl``: whether the answer is judged, the readout of all steps, or each step on its own; ``kl = "windows"``: the
    mean of every ``window`` steps in a row, a spiking teacher's beside the student's.
    ``ensemble_weight``: of each step's distance from the answer; ``ensemble``: the answer of all steps, or of the right ones.
    ``tap_weight``: of the distance of feature maps from the teacher's (LaSNN's beta); ``tap``: see
    :mod:`idsnn_convert.runtime.taps`. ``taps``: which maps, those that the conversion ``recorded``; three ``levels`` of either
    network, see :mod:`idsnn_convert.passes.levels`; or pairs, ``["student's node = teacher's node", ...]``. ``tap_gamma``:
    how fast a spike is forgotten in the spike activation maps of ``tap = "gradient"``, per time step."""

    alpha: AtLeast0 = 0.3
    temperature: Above0 = 4.0
    ce: Literal["mean", "steps"] = "mean"
    kl: Literal["mean", "steps", "windows"] = "mean"
    window: Count = 4
    ensemble_weight: AtLeast0 = 0.0
    ensemble: Literal["all", "right"] = "all"
    tap_weight: AtLeast0 = 0.0
    tap: Literal["attention", "mse", "cosine", "gradient"] = "attention"
    taps: Literal["recorded", "levels"] | Annotated[tuple[str, ...], Field(strict=False)] = "recorded"
    tap_gamma: Above0 = 0.5
    label_smoothing: Share = 0.0
    normalise: bool = False

    @property
    def asks_teacher(self) -> str:
        """The settings that need a teacher, with their values; empty if none does."""
        weights = {"loss.alpha": self.alpha, "loss.tap_weight": self.tap_weight}
        return " and ".join(f"{key} = {value:g}" for key, value in weights.items() if value)


class Augment(_Section):
    """See :mod:`idsnn_convert.runtime.data.augment`; 0 leaves a thing out.

    ``crop_padding``: black pixels on each side before a random crop to the old size.
    ``resized_crop``: instead, a random crop of at least this share of the image's area, resized; 0.08 is usual.
    ``randaugment``: operations an image; ``randaugment_magnitude``: how strong, 0 to 30.
    ``cutout``: side in pixels of the square set to the mean.
    ``mixup``, ``cutmix``: alpha of the Beta distribution that images' shares are drawn from, batch by batch."""

    crop_padding: Annotated[int, Field(ge=0)] = 4
    flip: bool = True
    resized_crop: Share = 0.0
    randaugment: Annotated[int, Field(ge=0)] = 0
    randaugment_magnitude: Annotated[float, Field(ge=0, le=30)] = 9.0
    cutout: Annotated[int, Field(ge=0)] = 0
    mixup: AtLeast0 = 0.0
    cutmix: AtLeast0 = 0.0


class Initialisation(_Section):
    """``checkpoint`` starts from the checkpoint's tensors, ``fresh`` from new ones (for ablations).
    ``batch_norm_weight``, for ``fresh``: a number, or ``v_threshold`` for threshold-dependent batch norm."""

    source: Literal["checkpoint", "fresh"] = "checkpoint"
    batch_norm_weight: Above0 | Literal["v_threshold"] = 1.0


class Recipe(_Section):
    description: str = ""
    run: Run = Run()
    network: Network = Network()
    neuron: Neurons = Neurons()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    loss: Loss = Loss()
    augment: Augment = Augment()
    initialisation: Initialisation = Initialisation()

    def to_json(self) -> dict[str, Any]:
        """Every setting as JSON-native values."""
        return self.model_dump(mode="json")

    def to_toml(self) -> str:
        """Every setting as TOML, such as :func:`load_recipe` reads; settings that are None are left out."""
        lines = []
        for key, value in self.to_json().items():
            if isinstance(value, dict):
                lines += ["", f"[{key}]", *(_line(name, v) for name, v in value.items() if v is not None)]
            else:
                lines.append(_line(key, value))
        return "\n".join(lines) + "\n"


def _line(key: str, value: Any) -> str:
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"


def shipped() -> dict[str, Path]:
    """Name of each recipe that comes with the package -> its file."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A shipped recipe by its name, or the TOML file at a path, with ``section.key=value`` overrides applied in order.

    Values of overrides are read as TOML; what is no TOML is a string: ``schedule.kind=cosine``.

    Raises:
        UserError: on an unknown recipe or key, or a value out of range, naming the file or override and the way out.
    """
    path = _find(str(name_or_path))
    data = read_toml(path)
    recipe = _validated(data, f"recipe {path}")
    for override in overrides:
        _apply(data, override)
        recipe = _validated(data, f"override {override!r}")
    return recipe


def _find(name: str) -> Path:
    if name in shipped():
        return shipped()[name]
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.suffix == ".toml" or len(path.parts) > 1:
        raise UserError(f"recipe {name}: no such file", hint=f"Shipped recipes: {', '.join(shipped())}.")
    raise UserError(f"unknown recipe {name!r}", hint=_nearest(name, list(shipped())) + f"Known: {', '.join(shipped())}.")


def _apply(data: dict[str, Any], override: str) -> None:
    """Sets the override in ``data``; whether there is such a key is seen when all is validated."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts) or "\n" in text:
        raise UserError(f"override {override!r} is not of the form section.key=value", hint="Such as loss.alpha=0.5.")
    try:
        value = parsed_toml(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    *path, last = parts
    for part in path:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise UserError(f"override {override!r}: {part!r} holds no settings", hint="Such as loss.alpha=0.5.")
    data[last] = value


def _validated(data: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise _told(where, tuple(str(part) for part in first["loc"]), first) from error


def _told(where: str, loc: tuple[str, ...], error: Any) -> UserError:
    """What pydantic found, for people."""
    if error["type"] == "extra_forbidden":
        key, known = ".".join(loc), _keys()
        near = _nearest(key, [*known, *Recipe.model_fields]) or _nearest(loc[-1], [name.partition(".")[2] for name in known])
        settings = [name for name in known if name.startswith(f"{loc[0]}.")] or list(Recipe.model_fields)
        return UserError(f"{where}: unknown setting {key!r}", hint=f"{near}Settings here: {', '.join(settings)}.")
    wanted = error["msg"].removeprefix("Input should be ")
    return UserError(f"{where}: {'.'.join(loc[:2])} must be {wanted}, not {error['input']!r:.80}")


def _keys() -> list[str]:
    """Every setting as ``section.key``."""
    sections = {name: field.annotation for name, field in Recipe.model_fields.items()}
    return [f"{name}.{key}" for name, kind in sections.items() for key in getattr(kind, "model_fields", ())]


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]!r}? " if near else ""
