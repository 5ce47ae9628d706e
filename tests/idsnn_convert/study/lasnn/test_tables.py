from __future__ import annotations

from idsnn_convert.study.lasnn.tables import markdown
from tests.idsnn_convert.study.lasnn.made import result


def test_the_page() -> None:
    page = markdown(result(), ["lasnn.svg"])
    assert page.startswith("# LaSNN: spiking vgg5 on cifar10\n")
    assert (
        "- student: vgg5, 0.5 times as wide as the paper's, trained for 40 epochs, converted by threshold balancing\n" in page
    )
    assert "- T = 8, direct encoding, half normalisation\n" in page
    assert "- teacher vgg16: `vgg16.safetensors`, 70.00 %\n" in page
    assert "](lasnn.svg)" in page
    assert "| ANN | - | 61.00 ± 1.00 | 87.58 | - | 30.0 | - |\n" in page
    lasnn = "| activation attention (LaSNN) | densenet121 | 56.00 ± 1.00 | 86.66 | 2.62 ± 0.88 | 30.0 | 11.5 |\n"
    assert lasnn in page
    assert "| T | 1 | 2 | 4 |\n" in page
    assert "| top-1 | 10.00 ± 0.00 | 21.00 ± 1.00 | 40.00 ± 0.00 |\n" in page
    assert "| arm | teacher | if_1 | if_2 |\n" in page
    assert "| converted only | - | 4.00 ± 0.00 | 2.00 ± 0.00 |\n" in page
    assert "activation attention (LaSNN) is better than hybrid training | +3.00 ± 0.00 | 3 of 3 | holds |" in page


def test_a_student_of_the_papers_width_and_one_seed() -> None:
    page = markdown(result(seeds=1, student={"target": "vgg5", "width": 1.0, "time_steps": 8}))
    assert "- student: vgg5, trained for 40 epochs" in page
    assert "- seed 0\n" in page
    assert "| top-1 | 10.00 | 20.00 | 40.00 |\n" in page
