from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from idsnn_convert.examine import Diagnosis, Problem
from idsnn_convert.identify import Identification, Ranked
from idsnn_convert.machine import OPTIONAL
from idsnn_convert.passes.cautions import Caution
from idsnn_convert.report.doctor import print_diagnosis, print_machine
from idsnn_convert.runtime.fingerprint import LayerFit, NormalisationChoice, NormalisationFit
from idsnn_convert.runtime.normalisation import KNOWN
from idsnn_convert.runtime.ranking import ReadingFit, disagrees
from tests.idsnn_convert.files import columns, unwrapped

CHOICE = NormalisationChoice((NormalisationFit(KNOWN["cifar10"], 0.02, 4), NormalisationFit(KNOWN["half"], 1.5, 4)), True)
MACHINE: dict[str, Any] = {
    "idsnn_convert": "1.0",
    "python": "3.11",
    "torch": "2.13",
    "platform": "Linux",
    "cpus": 2,
    "threads": 4,
    "gpus": [],
    "cxx_compiler": None,
    "compiled_kernels": {"cpu": False, "cuda": False},
    "integer_convolutions": False,
    "winograd_convolutions": False,
    "keeps_memory": False,
    "packages": {"timm": "1.0"},
    "warnings": ["PyTorch uses 4 threads on 2 processors: set OMP_NUM_THREADS=2"],
}


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def said(found: Diagnosis, capsys: pytest.CaptureFixture[str]) -> str:
    print_diagnosis(found, Path("net.pth"))
    out = capsys.readouterr().out
    assert columns(out) <= 80
    return unwrapped(out)


def identified(*layers: LayerFit, others: tuple[Ranked, ...] = (), **more: Any) -> Diagnosis:
    wrong = next((layer for layer in layers if disagrees(layer)), None)
    best = Ranked((), CHOICE.fits[0], ReadingFit(0, layers, True, wrong))
    found = Identification("cifar10", "train", 300, CHOICE, ranking=(best, *others), **more)
    return Diagnosis("resnet8", None, None, identification=found)


def test_problems_and_cautions_with_their_places(capsys: pytest.CaptureFixture[str]) -> None:
    problems = (Problem("no form", "leave it out", "layer1.fft", "net.py:7"), Problem("two\n  lines"), Problem("x", node="fc"))
    cautions = (Caution("3 of 9 are silu: act1, ...", "act1", "net.py:9", "train longer"), Caution("gates stay"))
    out = said(Diagnosis("resnet8", None, None, problems, cautions), capsys)
    assert out.startswith("net.pth does not convert. What keeps it from converting: ")
    assert "- layer1.fft (net.py:7): no form -> leave it out - two lines - fc: x" in out
    assert "To be careful of: - 3 of 9 are silu: act1, ... -> train longer - gates stay" in out


def test_batch_norms_that_agree(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(identified(LayerFit("bn1", 0.02, 0.01), LayerFit("bn2", 0.04, 0.01)), capsys)
    assert "It is the network that was trained: all 2 batch norms agree with 300 images of cifar10 (train), bn2 least" in out
    assert "Its images were normalised by cifar10, from random crops with a border of 4." in out
    assert "cifar10 0.02 half 1.50" in out
    assert "as taken -" in out
    assert "variances off by" not in out


def test_batch_norms_that_disagree(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = LayerFit("bn2", 0.05, 0.3, seen=1.5, stored=0.25)
    out = said(identified(LayerFit("bn1", 0.02, 0.01), wrong, LayerFit("bn3", 2.0, 1.0)), capsys)
    assert "It is not the network that was trained, or not on such images: 1 of 3 batch norms agree" in out
    assert "The first that does not is bn2: a variance of 0.25 is stored and 1.5 seen, mean over its channels." in out
    assert "bn1 0.02 0.01 bn2 0.05 0.30 bn3 2.00 1.00" in out


def test_readings_that_were_tried(capsys: pytest.CaptureFixture[str]) -> None:
    layers = (LayerFit("bn1", 0.02, 0.01), LayerFit("bn2", 0.04, 0.01))
    pooled = ReadingFit(1, (layers[0], LayerFit("bn2", 0.7, 0.1)), False, LayerFit("bn2", 0.7, 0.1))
    others = (
        Ranked(("Padded otherwise.",), CHOICE.fits[0], ReadingFit(2, layers, True)),
        Ranked(("A pool follows.",), CHOICE.fits[0], pooled),
        Ranked((), CHOICE.fits[1], ReadingFit(3, layers[:1], False, LayerFit("bn1", 0.9, 0.1))),
    )
    out = said(identified(*layers, others=others, changed=("Blocks stride in their last convolution.",)), capsys)
    assert "read otherwise than its names and shapes suggest: Blocks stride in their last convolution." in out
    assert "fits as well: Padded otherwise." in out
    assert "A pool follows. bn2 0.70 0.04" in out
    assert "the same Normalised by half. bn1 0.90 0.02" in out


def test_without_batch_norms_nothing_can_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = Identification("cifar10", "train", 300, NormalisationChoice((), False))
    out = said(Diagnosis("resnet8", None, None, identification=nothing), capsys)
    assert "Whether it is the network that was trained cannot be told from 300 images of cifar10 (train)" in out


def test_a_machine_with_little(capsys: pytest.CaptureFixture[str]) -> None:
    print_machine({**MACHINE, "packages": dict.fromkeys(OPTIONAL)})
    out = capsys.readouterr().out
    assert columns(out) <= 80
    for words in (
        "GPUs none that PyTorch can use",
        "plain PyTorch; a C++ compiler would make them faster; C++ compiler: none",
        "warning PyTorch uses 4 threads on 2 processors",
        "float32 3x3 convolutions on the CPU directly; a C++ compiler would halve their time",
        "integers multiplied as bytes: no, the processor has no AVX-512 VNNI",
        "timm - whole models of timm, timm:MODEL@FILE zoo",
        "pip install 'idsnn-convert[EXTRA]'",
    ):
        assert words in unwrapped(out)


def test_a_machine_with_much(capsys: pytest.CaptureFixture[str]) -> None:
    gpus = [{"name": "H200", "memory_gib": 139.8}]
    kernels = {"cpu": True, "cuda": True}
    packages = dict.fromkeys(OPTIONAL, "1.2.3")
    facts = {"gpus": gpus, "compiled_kernels": kernels, "cxx_compiler": "g++", "keeps_memory": True, "packages": packages}
    print_machine({**MACHINE, **facts, "integer_convolutions": True, "winograd_convolutions": True})
    out = unwrapped(capsys.readouterr().out)
    assert "GPUs H200 (139.8 GiB)" in out
    assert "freed memory is kept for reuse" in out
    assert "compiled on CPU and CUDA; C++ compiler: g++" in out
    assert "float32 3x3 convolutions on the CPU by Winograd's algorithm" in out
    assert "integers multiplied as bytes: yes, evaluate --weight-bits and run.teacher_precision=int8" in out
    assert "timm 1.2.3" in out
