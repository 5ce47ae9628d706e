"""Training a teacher: an architecture's name and a data set in; a run folder with a network that converts out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from idsnn_convert import __version__
from idsnn_convert.devices import device_named
from idsnn_convert.learn import Training, convolves_quickly, made_by
from idsnn_convert.normalised import asked_normalisation, usual_normalisation
from idsnn_convert.passes.targets import plain_target
from idsnn_convert.runtime.ann_file import AnnFile, save_ann
from idsnn_convert.runtime.data import Dataset, open_dataset
from idsnn_convert.runtime.distributed import joined, own_device
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.ops import tensor_shapes
from idsnn_convert.runtime.recipe import Network, Recipe, load_recipe
from idsnn_convert.runtime.trainer import Watcher, train


def teach(
    arch: str,
    data: str | Dataset,
    out: str | Path,
    *,
    recipe: str = "teacher",
    overrides: Sequence[str] = (),
    normalisation: str | None = None,
    stem: str = "auto",
    downsample: str = "auto",
    width: float = 1.0,
    limit_train: int | None = None,
    limit_test: int | None = None,
    resume: bool = False,
    device: str = "auto",
    watcher: Watcher | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> Training:
    """Trains the network ``arch`` without neurons, from fresh weights, into the run folder ``out``.

    Its checkpoints are :class:`idsnn_convert.runtime.ann_file.AnnFile`; every command reads them as teachers.

    Args:
        arch: a target's name, or a TOML file that describes one; classes, channels and image size are the data's.
        data: ``cifar10:DIR`` and the like, or a data set that is open.
        recipe: a shipped recipe's name or a TOML file; ``overrides`` are ``section.key=value``.
        normalisation: by default the data set's usual one, measured on its training images if it has none.
        stem, downsample, width: see :func:`idsnn_convert.passes.targets.plain_target`.
        limit_test: evaluate after each epoch on the first so many test images only.

    Raises:
        UserError: if architecture, data and recipe do not go together.
        Interrupted: on SIGINT, SIGTERM or SIGHUP, when the run can be resumed.
    """
    settings, dataset = load_recipe(recipe, overrides), open_dataset(data).with_test(limit_test)
    _check_recipe(settings, recipe)
    images = dataset.train.image_shape
    target = plain_target(arch, input_shape=images, classes=dataset.classes, stem=stem, downsample=downsample, width=width)
    chosen = asked_normalisation(normalisation, dataset) if normalisation else usual_normalisation(dataset)
    tensors = fresh_tensors(target.graph, settings.run.seed, settings.initialisation.batch_norm_weight)
    values = sum(tensor.numel() for tensor in tensors.values())
    told(f"{target.name} for images of {'x'.join(map(str, images))}, {dataset.classes} classes: {values:,} values")
    for line in chosen.lines():
        told(line)
    known = {"normalisation": chosen.normalisation.to_json(), "provenance": {"trainer": "idsnn teach", "version": __version__}}
    where = own_device(device_named(device))
    with joined(where) as world:
        result = train(
            build(target.graph, tensors, compiled=convolves_quickly(where, told)),
            dataset,
            settings,
            Path(out),
            normalisation=chosen.normalisation,
            save=lambda trained, place, record: save_ann(
                place,
                AnnFile(
                    target.name,
                    target.graph,
                    {name: trained.state_dict()[name].detach().cpu() for name in tensor_shapes(target.graph)},
                    training={**record, "target": dict(target.settings), "made_by": made_by()},
                    **known,
                ),
            ),
            watcher=watcher,
            limit_train=limit_train,
            resume=resume,
            device=where,
            world=world,
        )
    return Training(result, settings, chosen)


def _check_recipe(settings: Recipe, name: str) -> None:
    """Refuses what only a student can do."""
    if settings.loss.alpha:
        problem = f"recipe {name} distills (loss.alpha = {settings.loss.alpha:g}), but here the teacher itself is trained"
        raise UserError(problem, hint="Take recipe teacher, or --set loss.alpha=0.")
    if settings.network != Network():
        changed = ", ".join(settings.network.model_dump(exclude_defaults=True))
        raise UserError(f"recipe {name} sets network.{changed}, which a network without spikes does not have")
