from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from idsnn_convert import identify
from idsnn_convert.api import converted
from idsnn_convert.identify import Identification, identified, remembered
from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.families.recognise import assumptions
from idsnn_convert.passes.families.variants import graph_of
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.resnet.spec import ResNetSpec
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.data import Dataset, Split, open_dataset
from idsnn_convert.runtime.data.batches import train_batches
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.normalisation import KNOWN, Normalisation
from idsnn_convert.runtime.ranking import Reading, rank_readings
from idsnn_convert.runtime.recipe import Augment
from tests.idsnn_convert import files
from tests.passes.made import spec, teacher
from tests.runtime.trained import photographs, trained

READ = spec(depths=(2, 2), shortcut="pad", input_size=16)
POOLED = replace(READ, stem=replace(READ.stem, pool=True))
TWICE = replace(POOLED, stride_at="last")
PREACT = spec(depths=(1, 1), block="preact-basic", after_add="none", final_norm=True, input_size=16)


def of_classes(split: Split, classes: int) -> Split:
    return Split(split.images, split.labels, classes)


def photos(count: int = 300) -> Dataset:
    split = of_classes(photographs(count), 5)
    return Dataset("photos", 5, (), Path(), lambda which: split)


def taught(dataset: Dataset, true: ResNetSpec, normalisation: Normalisation, padding: int = 4) -> dict[str, Tensor]:
    """The tensors of a network of ``true`` that has seen these images; by another seed than the identification's."""
    split = dataset.train
    batches = train_batches(
        split, len(split), seed=9, epoch=9, normalisation=normalisation, augment=Augment(crop_padding=padding)
    )
    return trained(graph_of(true), next(iter(batches))[0])


def as_read(read: ResNetSpec, tensors: dict[str, Tensor]) -> Teacher:
    return replace(teacher(read, spec=read, assumptions=assumptions(read, told_size=False)), tensors=tensors)


def look(true: ResNetSpec, read: ResNetSpec = READ, name: str = "cifar10", padding: int = 4) -> tuple[Teacher, Identification]:
    dataset = photos()
    return identified(as_read(read, taught(dataset, true, KNOWN[name], padding)), dataset)


def test_the_likeliest_reading_is_confirmed() -> None:
    found, told = look(READ)
    assert (told.verdict, told.changed, told.alike) == ("same", (), ())
    assert found.spec == READ
    assert found.assumptions == (
        "The images are 16x16.",
        "The head averages over the whole map.",
        "Batch norm adds 1e-05 to the variance.",
    )
    assert "There is a ReLU after every block's add (He et al. 2015)." in found.evidence["established"]
    assert told.choice.best is not None
    assert (told.choice.best.normalisation.name, told.choice.best.crop_padding, told.choice.clear) == ("cifar10", 4, True)
    assert len(told.ranking) > 5
    assert all(other.fit.first_wrong is not None for other in told.ranking[1:])


@pytest.mark.parametrize(("true", "changes"), [(POOLED, 1), (TWICE, 2)])
def test_another_network_of_the_same_tensors_is_found(true: ResNetSpec, changes: int) -> None:
    found, told = look(true)
    assert found.spec == true
    assert found.graph == graph_of(true)
    assert told.verdict == "same"
    assert len(told.changed) == changes
    assert told.ranking[0].differs == ()
    likeliest = next(other for other in told.ranking[1:] if len(other.differs) == 1 and "no pool" in other.differs[0])
    assert likeliest.fit.first_wrong is not None
    assert likeliest.fit.first_wrong.node == "layer1.0.bn1"


def test_what_no_batch_norm_follows_is_told_to_fit_as_well() -> None:
    """The padding of the last block's shortcut, if that block is the first of its stage; random labels tell nothing."""
    short = replace(READ, depths=(2, 1))
    _, told = look(short, short)
    assert (told.verdict, told.changed) == ("same", ())
    assert [other.differs[0].partition(" pad ")[0] for other in told.alike] == [
        "Shortcuts that change shape skip pixels and",
        "Shortcuts that change shape average pixels and",
    ]


def test_images_it_was_not_trained_on_do_not_change_how_it_is_read() -> None:
    strange = Normalisation("strange", (0.1,), (0.9,))
    dataset = photos()
    given = as_read(READ, taught(dataset, READ, strange))
    given = replace(given, tensors={k: v * 3 if k.endswith("running_var") else v for k, v in given.tensors.items()})
    found, told = identified(given, dataset)
    assert found.spec == READ
    assert (told.verdict, told.changed) == ("other", ())
    assert told.first_wrong is not None
    assert found.assumptions == given.assumptions
    assert len(told.layers) == len(READ.depths) * 4 + 1, "all batch norms of the reading that is kept"
    (caution, *_) = converted(found, "resnet8", Settings()).mapping["cautions"]
    assert caution["node"] == told.first_wrong.node
    assert "do not agree with 300 images of photos" in caution["reason"]


def test_a_network_that_normalises_before_it_convolves_is_run_under_every_normalisation() -> None:
    true = replace(PREACT, stem=replace(PREACT.stem, pool=True))
    _, told = look(true, true, name="imagenet", padding=0)
    assert told.choice.best is not None
    assert (told.choice.best.normalisation.name, told.choice.best.crop_padding) == ("imagenet", 0)
    assert told.verdict == "same"


def test_a_known_normalisation_is_not_doubted() -> None:
    dataset = photos()
    odd = Normalisation("odd", (0.3,), (0.6,))
    _, told = identified(as_read(READ, taught(dataset, READ, odd)), dataset, odd)
    assert told.verdict == "same"
    assert [fit.normalisation for fit in told.choice.fits] == [odd]
    assert told.choice.clear


def test_a_file_with_its_own_graph_is_judged_but_not_read_anew() -> None:
    dataset = photos()
    tensors = taught(dataset, POOLED, KNOWN["cifar10"])
    own = replace(as_read(POOLED, tensors), spec=None)
    assert identified(own, dataset)[1].verdict == "same"
    wrong = replace(as_read(READ, tensors), spec=None)
    found, told = identified(wrong, dataset)
    assert found.graph == wrong.graph
    assert (told.verdict, len(told.ranking)) == ("other", 1)


def test_without_batch_norms_nothing_is_told() -> None:
    found = as_read(READ, taught(photos(), READ, KNOWN["none"]))
    norms = {node.name: replace(node, op="dropout", attrs={"p": 0.0}) for node in found.graph.of("batch_norm")}
    found, told = identified(replace(found, graph=found.graph.with_nodes(norms)), photos())
    assert (told.verdict, told.ranking, told.choice.best) == ("unknown", (), None)
    assert found.evidence["established"] == []


def test_a_data_set_of_other_classes_is_refused() -> None:
    split = of_classes(photographs(20), 7)
    with pytest.raises(UserError, match="tells 5 classes apart, the data has 7"):
        identified(teacher(READ), Dataset("photos", 7, (), Path(), lambda which: split))


def test_large_maps_take_fewer_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identify, "MOST_VALUES", 100 * 4 * 16 * 16)
    assert look(READ)[1].images == 100


def test_the_record_is_plain_json_and_reaches_the_checkpoint() -> None:
    found, told = look(POOLED)
    assert json.loads(json.dumps(found.evidence, allow_nan=False)) == found.evidence
    checkpoint = converted(found, "resnet8", Settings())
    assert checkpoint.teacher["evidence"] == found.evidence
    assert checkpoint.normalisation == KNOWN["cifar10"].to_json()
    assert checkpoint.teacher["evidence"]["changed"] == list(told.changed)
    unasked = converted(teacher(READ, assumptions=("The images are 16x16.",)), "resnet8", Settings())
    assert unasked.teacher["evidence"] == {}
    assert unasked.teacher["assumptions"] == ["The images are 16x16."]
    assert unasked.normalisation is None


def test_lines_for_who_waits() -> None:
    _, told = look(POOLED)
    assert list(told.lines()) == [
        "network: 9 of 9 batch norms agree with 300 images",
        f"  read otherwise than usual: {told.changed[0]}",
    ]


def test_the_test_images_do_where_the_training_images_are_missing(tmp_path: Path) -> None:
    spec = files.data(tmp_path / "data")
    split, which = remembered(open_dataset(spec))
    assert (len(split), which) == (40, "train")
    for path in (tmp_path / "data").glob("train-*"):
        path.unlink()
    split, which = remembered(open_dataset(spec))
    assert (len(split), which) == (20, "test")


REAL = {
    "resnet20-12fca82f.th": "cifar10",
    "resnet32-d509ac18.th": "cifar10",
    "resnet8_cifar10.pth": "cifar10",
    "resnet8_cifar100.pth": "cifar100",
}


def edited(graph: Graph, name: str, **changes: object) -> Graph:
    return graph.with_nodes({name: replace(graph[name], **changes)})  # type: ignore[arg-type]


def lost(graph: Graph, site: str) -> Graph:
    """``graph`` without the activation ``site``."""
    return edited(graph, site, attrs={"kind": "leaky_relu", "slope": 1.0})


@pytest.mark.parametrize("name", REAL)
def test_wrong_readings_of_real_teachers_come_behind_the_right_one(
    teachers_dir: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A stride moved, a pool too many, a ReLU too few inside, a last ReLU less, another normalisation or padding."""
    monkeypatch.setattr(identify, "IMAGES", 100)  # to be quick
    monkeypatch.setattr(identify, "STEM_IMAGES", 500)
    data = REAL[name]
    dataset = open_dataset(f"{data}:{request.getfixturevalue(f'{data}_dir')}")
    test = dataset.test  # as telling as the training images, and quicker to read
    dataset = replace(dataset, read=lambda which: test)
    found, told = identified(load_teacher(teachers_dir / name), dataset)
    assert (told.verdict, told.changed, told.alike) == ("same", (), ())
    firsts = {" ".join(r.differs): r.fit.first_wrong.node for r in told.ranking[1:] if r.fit.first_wrong is not None}
    assert len(firsts) == len(told.ranking) - 1, "every other reading fits worse somewhere"
    pool = "The first convolution has stride 1 and padding 1, and a 3x3 max pool of stride 2 follows."
    assert firsts[pool] == "layer1.0.bn1"
    assert firsts["Blocks stride in their last convolution."] in ("layer2.0.bn1", "layer2.0.bn2")
    assert firsts["The stages begin with strides 1, 2, 1."].startswith("layer3.0.")
    if found.spec is not None and found.spec.shortcut == "pad":
        assert firsts["Shortcuts that change shape skip pixels and pad with zero channels behind."] == "layer2.1.bn1"

    best = told.ranking[0].preparation
    sample, unseen = test.sample(100, seed=1), test.sample(300, seed=2)
    images, answered = identify._prepared(sample, best), best.normalisation(unseen.images)
    other = next(fit for fit in told.choice.fits if fit.normalisation != best.normalisation)
    wrongly = identify._prepared(sample, other)
    sites = [site.name for site in found.graph.of("activation")]
    norms = [node.name for node in found.graph.of("batch_norm")]
    *nodes, output = found.graph.nodes
    added = Node("last_relu", "activation", output.inputs, {"kind": "relu"}, output.shape)
    readings = [
        Reading(lost(found.graph, sites[-1]), images, answered),
        Reading(Graph((*nodes, added, replace(output, inputs=("last_relu",)))), images, answered),
        Reading(lost(found.graph, "layer2.0.relu1"), images, answered),
        Reading(found.graph, wrongly, answered),
        Reading(found.graph, images, answered),
    ]
    ranked = rank_readings(readings, found.tensors, unseen.labels)
    assert [fit.index for fit in ranked] == [4, 0, 1, 2, 3]
    added_by = "loss" if name == "resnet8_cifar100.pth" else "logits"
    assert [fit.told_by for fit in ranked] == ["", "loss", added_by, "batch norm", "batch norm"]
    assert [fit.first_wrong and fit.first_wrong.node for fit in ranked[3:]] == ["layer2.0.bn2", norms[0]]
