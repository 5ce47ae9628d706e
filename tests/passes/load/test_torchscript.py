from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idsnn_convert.passes.load import load_teacher, torchscript, trial
from idsnn_convert.passes.load.torchscript import is_plain, read_script
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.network import build
from tests.passes.replicas import lively


class Block(nn.Module):
    """A block as torchvision writes it: one ReLU called twice, a shortcut that may be None."""

    def __init__(self, cin: int, cout: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(cin, cout, 3, 2, 1, bias=False), nn.BatchNorm2d(cout)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn1(self.conv1(self.relu(x)))
        if self.downsample is not None:
            x = self.downsample(x)
        out += x
        result: Tensor = self.relu(out)
        return result


class Saved(nn.Module):
    """It saves a tensor where it is told."""

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, "made")
        return x


class Restored(nn.Module):
    """It computes something when it is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.x = torch.ones(1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.x

    @torch.jit.export
    def __getstate__(self) -> Tensor:
        return self.x

    @torch.jit.export
    def __setstate__(self, state: Tensor) -> None:
        self.x = state * 2
        self.training = False


def residual() -> nn.Module:
    shortcut = nn.Sequential(nn.Conv2d(4, 8, 1, 2, bias=False), nn.BatchNorm2d(8))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    return lively(nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), Block(4, 8, shortcut), head))


def saved(module: nn.Module, path: Path, traced: Tensor | None = None) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript; its files remain
        script: Any = torch.jit.script(module) if traced is None else torch.jit.trace(module, traced)
        script.save(str(path))
    return path


@pytest.mark.parametrize("traced", [False, True], ids=["scripted", "traced"])
def test_a_module_is_read_with_its_own_graph(traced: bool, tmp_path: Path) -> None:
    module, images = residual(), torch.randn(2, 3, 32, 32)
    teacher = load_teacher(saved(module, tmp_path / "a.onnx", images if traced else None))
    assert (teacher.form, teacher.family, teacher.arch) == ("TorchScript", "TorchScript Sequential", "resnet(1)")
    assert teacher.assumptions == ("The images are 32x32, as usual behind a 3x3 convolution of stride 1.",)
    assert {*teacher.keys.values(), *teacher.unread} == set(module.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(build(teacher.graph, teacher.tensors).eval()(images), module(images))


def test_a_size_that_does_not_fit_is_told_with_the_way_out(tmp_path: Path) -> None:
    path = saved(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 5)), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"a\.pt: torch .* cannot convert its TorchScript for images \(3, 32, 32\)") as told:
        load_teacher(path)
    assert "give it as the input size" in str(told.value)
    assert f"torch.jit.load({str(path)!r}).state_dict()" in str(told.value)
    assert load_teacher(path, input_size=8).input_shape == (3, 8, 8)


def test_calls_that_are_no_tensor_operations_are_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(Saved(), tmp_path / "a.pt")
    with pytest.raises(UserError, match="its TorchScript calls aten::save, which have no canonical form"):
        load_teacher(path)
    assert not (tmp_path / "made").exists()


def test_a_method_that_runs_at_loading_is_refused(tmp_path: Path) -> None:
    path = saved(Restored(), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"holds a method that runs when it is loaded \(__setstate__\)\. Nothing was executed"):
        load_teacher(path)


def repacked(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(path) as archive:
        records = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in records:
            archive.writestr(info.filename, change(info.filename, data), info.compress_type)
    return path


@pytest.mark.parametrize(
    ("ending", "change", "message"),
    [
        ("data.pkl", lambda data: data.replace(b"__torch__.", b"__torch__.torch.classes.", 1), r"a C\+\+ object"),
        ("modules/container", lambda data: data[:80], "cannot read it"),
        ("constants.pkl", lambda data: b"", "cut short or damaged"),
        ("modules/container", lambda data: data + b"#" * (17 << 20), "bytes long; at most 16,777,216 are read"),
    ],
)
def test_a_damaged_or_foreign_record_is_refused(ending: str, change: Any, message: str, tmp_path: Path) -> None:
    path = saved(nn.Sequential(nn.Conv2d(3, 2, 3)), tmp_path / "a.pt")
    repacked(path, lambda name, data: change(data) if ending in name and not name.endswith("debug_pkl") else data)
    with pytest.raises(UserError, match=message):
        read_script(path)


def test_packed_weights_are_refused(tmp_path: Path) -> None:
    path = saved(nn.Sequential(nn.Conv2d(3, 2, 3)), tmp_path / "a.pt")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data/9", bytes(1000))
    with pytest.raises(UserError, match=r"^[^:]*: its record 'a/data/9' is compressed"):
        load_teacher(path)


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        ("aten::relu_", True),
        ("aten::__getitem__", True),
        ("prim::If", True),
        ("aten::save", False),
        ("aten::from_file", False),
        ("prim::Print", False),
        ("quantized::conv2d", False),
    ],
)
def test_plain_calls(kind: str, plain: bool) -> None:
    assert is_plain(kind) is plain


def laughs(levels: int) -> bytes:
    """Functions of which each calls the one before it twice: in each other's place, 2 to the power of ``levels`` calls."""
    made = ["def f0(x: Tensor) -> Tensor:\n  return torch.relu(x)\n"]
    for level in range(1, levels):
        inner = f"__torch__.f{level - 1}"
        made.append(f"def f{level}(x: Tensor) -> Tensor:\n  return {inner}({inner}(x))\n")
    return "".join(made).encode()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (lambda code: code.replace(b"return", b"x = " + b"(" * 60_000 + b"1" + b")" * 60_000 + b"\n    return", 1), "crashes"),
        (lambda code: code.replace(b"return", b"x = " + b"1+" * 60_000 + b"1\n    return", 1), "crashes its reader"),
        (lambda code: code.replace(b"return", b"x = __torch__.f30(input)\n    return", 1), "takes its reader"),
    ],
    ids=["nested too deeply", "too many operators", "calls within calls"],
)
def test_code_that_ends_its_compiler_is_told(code: Any, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SECONDS", 1)
    path = saved(nn.Conv2d(3, 2, 3), tmp_path / "a.pt")
    repacked(path, lambda name, data: code(data) if name.endswith(".py") else data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/code/__torch__.py", laughs(31))
    with pytest.raises(UserError, match=f"its code {told}.*tried in a process of its own"):
        load_teacher(path, input_size=8)


def test_code_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path) -> None:
    path = saved(nn.Conv2d(3, 2, 3), tmp_path / "a.pt")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/code/bomb.py", bytes(64 << 20))
    with pytest.raises(UserError, match=r"its code and descriptions are 67,1\d\d,\d{3} bytes long; at most 16,777,216"):
        load_teacher(path, input_size=8)


def test_a_graph_of_too_many_calls_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchscript, "MOST_CALLS", 5)
    with pytest.raises(UserError, match=r"it makes \d+ calls; at most 5"):
        load_teacher(saved(nn.Conv2d(3, 2, 3), tmp_path / "a.pt"), input_size=8)


def test_notes_for_debugging_are_not_read(tmp_path: Path) -> None:
    # A memo place that C++ would make a table of gigabytes for.
    path = saved(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5)), tmp_path / "a.pt")
    bomb = b"\x80\x02]r\xff\xff\xff\x7f."
    repacked(path, lambda name, data: bomb if name.endswith(".debug_pkl") else data)
    assert load_teacher(path, input_size=8).form == "TorchScript"
