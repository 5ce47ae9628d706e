from __future__ import annotations

from xml.etree import ElementTree

from idsnn_convert.report import summary
from idsnn_convert.report.balanced import accuracy, balance_section
from idsnn_convert.report.html import mapping_page
from idsnn_convert.report.markdown import markdown
from idsnn_convert.report.record import Balance, Curve, Record

CURVE = Curve(images=500, ann_top1=71.5, steps=[1, 10, 100, 250], top1=[10.0, 55.0, 70.25, 71.0])
BALANCE = Balance.model_validate(
    {
        "rule": "max",
        "steps": 100,
        "encoder": "direct",
        "images": 256,
        "images_sha256": "0" * 64,
        "data": "cifar10",
        "seed": 0,
        "thresholds": [
            {"neuron": "if_1", "v_threshold": 7.25, "unit": 7.25},
            {"neuron": "if_2", "v_threshold": 2.0, "unit": 14.5},
        ],
        "scaled": [],
        "curve": CURVE,
    }
)


def test_the_accuracy_is_drawn_against_the_steps_and_the_network_without_spikes() -> None:
    figure = ElementTree.fromstring(accuracy(CURVE))
    assert [title.text for title in figure.iter("title")][-1] == "student, 250: 71"
    across = [float(str(dot.get("cx")).rstrip("%")) for dot in figure.iter("circle")]
    assert round(across[1] - across[0], 2) == round(across[2] - across[1], 2)  # 1 to 10 is as far as 10 to 100
    assert "without spikes 71.5" in str(next(figure.iter("svg")).get("aria-label"))


def test_each_threshold_is_told_and_the_curve_only_if_it_was_measured() -> None:
    text = "".join(ElementTree.fromstring(balance_section(BALANCE)).itertext())
    assert "if_214.5" not in text
    assert "if_2214.5" in text
    bare = balance_section(BALANCE.model_copy(update={"curve": None}))
    assert "svg" not in bare
    assert "if_1" in bare


def test_in_few_words() -> None:
    told = "max of the currents that 256 training images of cifar10 give, direct encoding, 100 steps: thresholds 2 to 7.25"
    assert summary.balance_told(BALANCE) == told
    words = "71.50 % without spikes; T=1 10.00, T=10 55.00, T=100 70.25, T=250 71.00, of 500 test images"
    assert summary.curve_told(CURVE) == words


def test_as_markdown(record: Record) -> None:
    lines = markdown(record.model_copy(update={"balance": BALANCE})).splitlines()
    assert "| `if_2` | 2 | 14.5 |" in lines
    assert "| 250 | 71.00 |" in lines
    assert "## Balanced thresholds" not in markdown(record)


def test_the_page_brings_the_styles_of_its_chart(record: Record) -> None:
    page = mapping_page(record.model_copy(update={"balance": BALANCE}))
    assert "Top-1 of 500 test images" in page
    assert all(f".{name} {{" in page for name in ("line", "level", "look0"))
    assert "Balanced thresholds" not in mapping_page(record)
