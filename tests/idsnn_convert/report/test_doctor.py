from __future__ import annotations

import pytest

from idsnn_convert.examine import Diagnosis, Problem
from idsnn_convert.passes.cautions import Caution
from idsnn_convert.report.doctor import print_diagnosis, print_machine
from idsnn_convert.runtime.fingerprint import LayerFit, NormalisationChoice, NormalisationFit
from idsnn_convert.runtime.normalisation import KNOWN


def said(found: Diagnosis, capsys: pytest.CaptureFixture[str]) -> str:
    print_diagnosis(found)
    return " ".join(capsys.readouterr().out.split())


def test_problems_and_cautions_with_their_places(capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem("no form", "leave it out", "layer1.fft", "net.py:7")
    out = said(Diagnosis(None, (problem,), (Caution("3 of 9 are silu", advice="train longer"),)), capsys)
    assert "would not convert: layer1.fft at net.py:7: no form leave it out" in out
    assert "be careful: 3 of 9 are silu train longer" in out
    assert "It would convert" not in out


def test_what_the_batch_norms_remember(capsys: pytest.CaptureFixture[str]) -> None:
    choice = NormalisationChoice((NormalisationFit(KNOWN["cifar10"], 0.02, 4), NormalisationFit(KNOWN["half"], 1.5, 4)), True)
    right = Diagnosis(None, choice=choice, layers=(LayerFit("bn1", 0.02, 0.1), LayerFit("bn2", 0.04, 0.1)))
    assert "All 2 batch norms remember these images (off by at most 0.040, at bn2)" in said(right, capsys)
    wrong = Diagnosis(
        None, choice=choice, layers=(LayerFit("bn1", 0.02, 0.1), LayerFit("bn2", 0.8, 0.1), LayerFit("bn3", 2.0, 1.0))
    )
    assert "bn2 is the first batch norm that disagrees: its variances are off by 0.80" in said(wrong, capsys)
    none = Diagnosis(None, choice=NormalisationChoice((), False))
    assert "cannot be told" in said(none, capsys)


def test_a_machine(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {
        "python": "3.11",
        "torch": "2.13",
        "threads": 2,
        "gpus": [],
        "compiled_kernels": False,
        "optional_packages": {"onnx": True},
    }
    print_machine(facts)
    out = capsys.readouterr().out
    assert "GPUs: none" in out
    assert "compiled kernels: no" in out
