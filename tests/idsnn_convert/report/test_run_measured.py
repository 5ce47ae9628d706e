from __future__ import annotations

from idsnn_convert.report.markup import joined
from idsnn_convert.report.run_measured import MOST_CLASSES, confusion_section, energy_of, energy_section, first_model
from tests.idsnn_convert.report.test_html import Reader
from tests.idsnn_convert.report.test_probed import made


def test_every_model_and_every_step() -> None:
    read = Reader(joined(energy_section(made())))
    for told in ("horowitz-45nm-fp32", "loihi", "Horowitz, ISSCC 2014", "0.50", "4 \u00b5J", "without spikes", "All 1 layers"):
        assert told in read.text
    assert "12 test images" in read.text


def test_the_first_model_that_both_networks_have_stands_for_all() -> None:
    energy = made().energy
    assert energy is not None
    assert (first_model(energy), energy_of(energy)) == ("horowitz-45nm-fp32", (2e-6, 4e-6))
    lone = energy.model_copy(update={"dense_joules": {"loihi": None}, "points": []})
    assert (first_model(lone), energy_of(lone)) == ("loihi", (None, None))


def test_few_classes_are_a_matrix_with_numbers() -> None:
    read = Reader(joined(confusion_section(made())))
    assert read.text.endswith("classdogcatdog42cat51classtaken forimagesofcatdog56dogcat26")
    assert "img" not in read.tags


def test_many_classes_are_a_picture_and_the_worst_mistakes() -> None:
    many = MOST_CLASSES + 1
    counts = [[9 if j == k else 0 for j in range(many)] for k in range(many)]
    counts[3][7], counts[5][2] = 4, 6
    read = Reader(joined(confusion_section(made(confusion=counts, class_names=[f"c{k}" for k in range(many)]))))
    assert read.tags.count("img") == 1
    assert read.text.endswith("classtaken forimagesofc5c2615c3c7413")


def test_without_numbers_nothing_is_shown() -> None:
    assert energy_section(made(energy=None)) == []
    assert confusion_section(made(confusion=[])) == []
