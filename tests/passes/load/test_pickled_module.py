from __future__ import annotations

import copyreg
import functools
import os
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.load.pickled_module import find_class, is_library_module
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.network import build
from tests.passes.load.hostile import Hostile
from tests.passes.replicas import lively


def chain() -> nn.Module:
    return lively(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)))


def saved(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def test_a_whole_model_of_library_layers_is_read(tmp_path: Path) -> None:
    module, images = chain().train(), torch.randn(2, 3, 8, 8)
    path = saved({"epoch": 3, "model": module, "teacher": nn.Linear(2, 2)}, tmp_path / "a.pth")
    teacher = load_teacher(path, input_size=8)
    assert (teacher.form, teacher.family) == ("pickled module", "torch.nn.modules.container.Sequential")
    assert {*teacher.keys.values(), *teacher.unread} == set(module.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(build(teacher.graph, teacher.tensors).eval()(images), module.eval()(images))


def spread(module: nn.Module) -> nn.Module:
    """The module as DataParallel holds it on a machine of two GPUs."""
    wrapper = nn.DataParallel(module)
    wrapper.device_ids, wrapper.output_device, wrapper.src_device_obj = [0, 1], 0, torch.device("cuda:0")
    return wrapper


def test_a_model_spread_over_devices_is_the_model_itself(tmp_path: Path) -> None:
    module = chain()
    for content in (spread(module), {"model": spread(module), "epoch": 3}):
        teacher = load_teacher(saved(content, tmp_path / "a.pth"), input_size=8)
        assert (teacher.form, teacher.family) == ("pickled module", "torch.nn.modules.container.Sequential")
        assert set(teacher.keys.values()) < set(module.state_dict())
        assert torch.equal(teacher.tensors["0.weight"], module[0].weight)


def test_a_wrapper_that_would_call_something_is_refused(tmp_path: Path) -> None:
    hooked = spread(chain())
    hooked.register_forward_hook(nn.Identity())
    with pytest.raises(UserError, match=r"the model has hooks \(_forward_hooks\).*Nothing was executed"):
        load_teacher(saved(hooked, tmp_path / "a.pth"))
    empty = spread(chain())
    del empty.module
    with pytest.raises(UserError, match="it is a DataParallel around nothing"):
        load_teacher(saved(empty, tmp_path / "a.pth"))


def test_a_whole_model_in_the_old_format_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(chain(), path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"holds a whole model object.*Nothing was executed") as told:
        load_teacher(path)
    assert "saved.state_dict()" in str(told.value.hint)
    assert "torch 1.6 or later saved them" in str(told.value.hint)


def test_a_guessed_size_is_told_when_tracing_fails(tmp_path: Path) -> None:
    path = saved(OrderedDict(net=chain()), tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a\.pth: Sequential cannot be traced with inputs \(3, 32, 32\)") as told:
        load_teacher(path)
    assert "The images are 32x32, as usual behind a 3x3 convolution of stride 1." in str(told.value)
    assert "given as the input size" in str(told.value)


@pytest.mark.parametrize("kind", ["hostile", "partial", "function"])
def test_a_model_with_anything_else_is_refused_and_not_run(kind: str, tmp_path: Path) -> None:
    module = chain()
    parts: dict[str, Any] = {"hostile": Hostile(tmp_path / "made"), "partial": functools.partial(nn.ReLU), "function": print}
    module.extra = parts[kind]
    path = saved(module, tmp_path / "a.pth")
    assert not is_library_module(path)
    with pytest.raises(
        UserError, match=r"asks Python for [^ ]*\b(posix\.mkdir|functools\.partial|print)\b.*Nothing was executed"
    ):
        load_teacher(path)
    assert not (tmp_path / "made").exists()


def test_hooks_are_refused(tmp_path: Path) -> None:
    module = chain()
    module[1].register_forward_hook(nn.Identity())
    with pytest.raises(UserError, match=r"its part '1' has hooks \(_forward_hooks\).*Nothing was executed"):
        load_teacher(saved(module, tmp_path / "a.pth"))


def test_a_replaced_method_is_refused(tmp_path: Path) -> None:
    module = chain()
    module.__dict__["forward"] = nn.Identity()
    with pytest.raises(UserError, match=r"the model has its method 'forward' replaced"):
        load_teacher(saved(module, tmp_path / "a.pth"))


def test_a_dict_must_say_which_module_it_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it holds 2 modules, none of them under a name such as 'model'"):
        load_teacher(saved({"a": chain(), "b": chain()}, tmp_path / "a.pth"))
    with pytest.raises(UserError, match="it holds 0 modules"):
        load_teacher(saved([chain()], tmp_path / "a.pth"))


def test_a_packed_description_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = saved(chain(), tmp_path / "a.pth")
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    with pytest.raises(UserError, match="is compressed"):
        is_library_module(path)


def test_a_class_is_found_by_its_own_name() -> None:
    assert find_class("torch.nn.modules.conv.Conv2d") is nn.Conv2d


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os.system", "which belongs to no library that is known"),
        ("torch.nn.modules.conv.os.system", "which is no class of modules"),
        ("torch.nn.modules.conv.F", "which is no class of modules"),
        ("torch.nn.modules.conv.Parameter", "which is no class of modules"),
        ("torch.nn.modules.container.Conv2d", "which is no class of modules"),
        ("torch.nn.modules.Conv2d", "which is no class of modules"),
        ("torch.nn.modules.nothing.Net", "which is no class of modules"),
        ("torch.nn.modules...Net", "which belongs to no library that is known"),
        ("torch.fx.graph_module.reduce_graph_module", "which belongs to no library that is known"),
    ],
)
def test_what_is_no_class_of_modules_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=f"it asks Python for {name}, {message}.*Nothing was executed"):
        find_class(name)


def test_a_traced_graph_module_is_refused(tmp_path: Path) -> None:
    path = saved(torch.fx.symbolic_trace(chain()), tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"reduce_graph_module.*Nothing was executed"):
        load_teacher(path)


def test_a_missing_library_is_told_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [os.fspath(Path(__file__).parent)])
    with pytest.raises(UserError, match=r"it is a whole model of timm, which is not installed\npip install timm, or save"):
        find_class("timm.models.resnet.ResNet")


def test_a_library_that_does_not_fit_torch_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.setattr(sys, "path", [os.fspath(tmp_path)])
    with pytest.raises(UserError, match="which cannot be imported: operator torchvision::nms does not exist"):
        find_class("torchvision.models.resnet.ResNet")


@pytest.mark.filterwarnings("ignore")
def test_a_torchvision_model_is_read(tmp_path: Path) -> None:
    try:
        from torchvision.models import resnet18
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    module = lively(resnet18(num_classes=7))
    teacher = load_teacher(saved(module, tmp_path / "a.pth"))
    assert (teacher.arch, teacher.family, teacher.input_shape) == (
        "resnet18",
        "torchvision.models.resnet.ResNet",
        (3, 224, 224),
    )
    assert teacher.classes == 7


NEW = vars(copyreg)["__newobj__"]


class Made:
    """Pickled, it asks for a layer in another way than a layer does."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps

    def __reduce__(self) -> tuple[Any, ...]:
        return self.steps


class Bare(Made):
    __class__ = property(lambda self: nn.Linear)  # type: ignore[assignment]  # pickle compares it with what is to be made


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (Made(nn.Linear, (60_000, 60_000)), "calls Linear instead of restoring one"),
        (Bare(NEW, (nn.Linear,)), "1 modules in it have no state"),
        (Bare(NEW, (nn.Linear,), [1]), "state of a Linear is no dict"),
        (Bare(NEW, (nn.Linear,), {"weight": 1}), "not put together as modules are"),
    ],
    ids=["a layer of 14 GB", "no state", "a list", "another state"],
)
def test_no_class_is_called_to_restore_a_module(tmp_path: Path, made: Any, told: str) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    vars(module)["_modules"]["1"] = made
    with pytest.raises(UserError, match=told):
        load_teacher(saved(module, tmp_path / "a.pt"), input_size=8)


def test_a_part_that_is_no_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    vars(module)["_modules"]["1"] = 5
    torch.save(module, path)
    with pytest.raises(UserError, match="not put together as modules are"):
        load_teacher(path, input_size=8)
