from __future__ import annotations

import json
from pathlib import Path

from tests.idsnn_convert import files
from tests.idsnn_convert.files import assert_told, run


def test_exit_codes_and_what_is_said(tmp_path: Path) -> None:
    teacher = files.teacher(tmp_path / "net.pth")
    good = run("doctor", teacher, "--target", "resnet8")
    assert (good.exit_code, good.stderr) == (0, "")
    assert "It would convert." in good.stdout
    bad = run("doctor", teacher, "--target", "resnet9")
    assert bad.exit_code == 1
    assert "would not convert" in bad.stdout
    assert "resnet9" in bad.stdout


def test_json(tmp_path: Path) -> None:
    teacher = files.teacher(tmp_path / "net.pth")
    facts = json.loads(run("doctor", teacher, "--data", files.data(tmp_path / "data", train=100), "--json").stdout)
    assert facts["converts"] is True
    assert facts["first_disagreeing_batch_norm"] == "bn1"
    assert len(facts["normalisations"]) == 3
    assert len(facts["batch_norms"]) == 13 + 2
    bad = run("doctor", teacher, "--target", "resnet9", "--json")
    assert (bad.exit_code, json.loads(bad.stdout)["converts"]) == (1, False)


def test_it_agrees_with_convert(tmp_path: Path) -> None:
    """What doctor passes converts, and what it refuses does not."""
    for case, path in {**files.wrong_files(tmp_path), "good": files.teacher(tmp_path / "good.pth")}.items():
        convert = run("convert", path, "--target", "resnet8", "-o", tmp_path / f"{case}.out")
        assert (run("doctor", path, "--target", "resnet8").exit_code == 0) == (convert.exit_code == 0), case


def test_mistakes(tmp_path: Path) -> None:
    assert_told(run("doctor", tmp_path / "gone.pth"), "gone.pth")
    assert_told(run("doctor", files.teacher(tmp_path / "net.pth"), "--data", "cifar10:nowhere"), "nowhere")
    assert run("doctor").exit_code == 2


def test_machine() -> None:
    assert "compiled kernels" in run("doctor", "--machine").stdout
    assert "torch" in json.loads(run("doctor", "--machine", "--json").stdout)
