"""A teacher's logits on disk: when it is asked, what is given instead, and files that are not as they should be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idsnn_convert.runtime import teacher_cache, winograd
from idsnn_convert.runtime.convolution import Convolution
from idsnn_convert.runtime.eight_bit import in_eight_bits
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fixed_point import supported
from idsnn_convert.runtime.recipe import Run
from idsnn_convert.runtime.sealed_file import read_sealed, write_sealed
from idsnn_convert.runtime.teacher_cache import KEY, RememberingTeacher, TeacherCache
from tests import graphs
from tests.runtime import toy
from tests.runtime.toy import Killed, killed

IMAGES = torch.rand(3, 6, 3, 8, 8, generator=torch.Generator().manual_seed(0))  # three batches
CPU = torch.device("cpu")


class Teacher(nn.Module):
    """Counts the batches it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.asked = toy.ann().eval(), 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked += 1
        logits: Tensor = self.network(images)
        return logits


def opened(folder: Path, teacher: nn.Module, **settings: Any) -> RememberingTeacher:
    """As a new process would find it."""
    made = TeacherCache(folder, "graph", **settings).of(teacher, Run(), CPU)
    made.begin_epoch()
    return made


def answered(folder: Path, *batches: Tensor) -> Path:
    """The file that the answers to ``batches`` are kept in."""
    before = set(files(folder))
    made = opened(folder, Teacher())
    with torch.no_grad():
        for batch in batches or IMAGES:
            made(batch)
    made.publish()
    (file,) = set(files(folder)) - before
    return file


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def asked(folder: Path, *batches: Tensor, **settings: Any) -> int:
    """How many of ``batches`` the teacher is asked; all logits are what it gives."""
    teacher = Teacher()
    made = opened(folder, teacher, **settings)
    with torch.no_grad():
        for batch in batches or IMAGES:
            assert torch.equal(made(batch), teacher.network(batch))
    return teacher.asked


def test_what_was_answered_before_is_not_asked_again(tmp_path: Path) -> None:
    assert asked(tmp_path) == 3
    answered(tmp_path)
    assert asked(tmp_path) == 0


def test_nor_twice_in_one_run(tmp_path: Path) -> None:
    assert asked(tmp_path, IMAGES[0], IMAGES[1], IMAGES[0]) == 2


@pytest.mark.parametrize(
    "changed",
    [
        IMAGES[0] + torch.zeros(6, 3, 8, 8).index_fill(0, torch.tensor(5), 2.0**-20),
        IMAGES[0].flip(0),
        IMAGES[0][:5],
        IMAGES[0].repeat(2, 1, 1, 1),
        IMAGES[0].reshape(6, 3, 4, 16),
        IMAGES[0].contiguous(memory_format=torch.channels_last),
    ],
    ids=["pixel", "order", "fewer", "more", "shape", "layout"],
)
def test_another_batch_is_asked(tmp_path: Path, changed: Tensor) -> None:
    answered(tmp_path)
    assert asked(tmp_path, changed) == 1


def other_weights(cache: TeacherCache, teacher: Teacher) -> RememberingTeacher:
    next(teacher.network.parameters()).data.view(-1)[0] += 1
    return cache.of(teacher, Run(), CPU)


@pytest.mark.parametrize(
    "other",
    [
        other_weights,
        lambda cache, teacher: replace(cache, graph="another").of(teacher, Run(), CPU),
        lambda cache, teacher: cache.of(teacher, Run(teacher_precision="bfloat16"), CPU),
        lambda cache, teacher: cache.of(teacher, Run(precision="bfloat16"), CPU),
        lambda cache, teacher: cache.of(teacher, Run(channels_last=False), CPU),
    ],
    ids=["weights", "graph", "teacher's precision", "precision", "layout"],
)
def test_what_the_answer_depends_on_besides(
    tmp_path: Path, other: Callable[[TeacherCache, Teacher], RememberingTeacher]
) -> None:
    answered(tmp_path)
    teacher = Teacher()
    made = other(TeacherCache(tmp_path, "graph"), teacher)
    made.begin_epoch()
    made(IMAGES[0])
    assert teacher.asked == 1


def test_who_convolves_is_part_of_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_cache, "_quick", lambda teacher: True)
    for there, asked in ((True, 3), (True, 0), (False, 3), (False, 0)):
        monkeypatch.setattr(winograd, "available", lambda there=there: there)
        teacher = Teacher()
        made = opened(tmp_path, teacher)
        for batch in IMAGES:
            made(batch)
        made.publish()
        assert teacher.asked == asked


@pytest.mark.skipif(not supported(), reason="this processor does not multiply bytes (AVX-512 VNNI)")
def test_so_are_the_scales_of_its_maps(tmp_path: Path) -> None:
    graph = graphs.ann()
    tensors, run = graphs.random_tensors(graph), Run(teacher_precision="int8")
    for shown in (IMAGES[0], IMAGES[0], IMAGES[1]):
        TeacherCache(tmp_path, "graph").of(in_eight_bits(graph, tensors, shown), run, CPU)
    assert len(list(tmp_path.iterdir())) == 2


def test_only_convolutions_that_are_computed_otherwise_count() -> None:
    conv = nn.Conv2d(32, 32, 3, padding=1)
    assert teacher_cache._quick(nn.Sequential(Convolution(conv, quick=True)))
    assert not teacher_cache._quick(nn.Sequential(conv, Convolution(conv, pack=True)))


@pytest.mark.parametrize("what", ["threads", "torch", "processor"])
def test_where_it_was_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    answered(tmp_path)
    changes: dict[str, Callable[[], None]] = {
        "threads": lambda: monkeypatch.setattr(torch, "get_num_threads", lambda: 99),
        "torch": lambda: monkeypatch.setattr(torch, "__version__", "99"),
        "processor": lambda: monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "RISC"),
    }
    changes[what]()
    assert asked(tmp_path) == 3


def test_the_precision_is_what_the_teacher_runs_in(tmp_path: Path) -> None:
    cache = TeacherCache(tmp_path, "graph")
    for run in (Run(precision="bfloat16"), Run(teacher_precision="bfloat16")):
        cache.of(Teacher(), run, CPU)
    assert len(list(tmp_path.iterdir())) == 1


def test_half_precision_is_kept_as_it_is(tmp_path: Path) -> None:
    for expected in (1, 1):
        teacher = Teacher()
        made = opened(tmp_path, teacher)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            logits = made(IMAGES[0])
            assert torch.equal(logits, teacher.network(IMAGES[0]))
        made.publish()
        assert (logits.dtype, len(files(tmp_path))) == (torch.bfloat16, expected)
    assert teacher.asked == 0


def test_what_is_not_written_is_lost_and_nothing_else(tmp_path: Path) -> None:
    answered(tmp_path, IMAGES[0])
    made = opened(tmp_path, Teacher())
    made(IMAGES[1])
    assert asked(tmp_path) == 2
    made.publish()
    made.publish()
    assert (asked(tmp_path), len(files(tmp_path))) == (1, 2)


def test_a_run_that_dies_while_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idsnn_convert.runtime.files.publish", lambda part, path: killed())
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(Killed):
        answered(tmp_path)
    monkeypatch.undo()
    assert [path.parent.suffix for path in files(tmp_path)] == [".part"]
    assert asked(tmp_path) == 3
    answered(tmp_path)
    assert (len(files(tmp_path)), asked(tmp_path)) == (1, 0)


def test_much_is_written_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_cache, "AT_ONCE", 2 * 6 * toy.CLASSES * 4)
    made = opened(tmp_path, Teacher())
    for batch in IMAGES:
        made(batch)
    assert [len(read_sealed(path, KEY)[0]) for path in files(tmp_path)] == [2]


def test_few_files_are_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for batch in IMAGES:
        answered(tmp_path, batch)
    read: list[Path] = []

    def noted(path: Path, key: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        read.append(path)
        return read_sealed(path, key)

    monkeypatch.setattr(teacher_cache, "read_sealed", noted)
    assert asked(tmp_path, *IMAGES, IMAGES[2], IMAGES[0]) == 0
    assert len(read) == 4


def test_two_runs_write_at_once_and_find_each_others(tmp_path: Path) -> None:
    teachers = [Teacher(), Teacher()]
    one, other = (opened(tmp_path, teacher) for teacher in teachers)
    for made, batches in ((one, IMAGES[:2]), (other, IMAGES[1:])):
        for batch in batches:
            made(batch)
        made.publish()
    one.begin_epoch()
    one(IMAGES[2])
    assert [teacher.asked for teacher in teachers] == [2, 2]
    assert asked(tmp_path) == 0


def test_the_same_written_twice_is_one_file(tmp_path: Path) -> None:
    one, other = opened(tmp_path, Teacher()), opened(tmp_path, Teacher())
    for made in (one, other):
        made(IMAGES[0])
        made.publish()
    assert len(files(tmp_path)) == 1


def test_it_grows_to_its_limit_and_says_so_once(tmp_path: Path) -> None:
    file = answered(tmp_path, IMAGES[0])
    told: list[str] = []
    made = opened(tmp_path, Teacher(), limit=file.stat().st_size + 6 * toy.CLASSES * 4 - 1, told=told.append)
    for batch in IMAGES[1:]:
        made(batch)
        made.publish()
    assert files(tmp_path) == [file]
    (line,) = told
    assert line.startswith(f"teacher cache: no more logits are kept: {tmp_path} has reached its limit of ")
    assert line.endswith(" GiB; remove it, or raise the limit")
    assert asked(tmp_path) == 2


def test_all_teachers_share_the_limit(tmp_path: Path) -> None:
    size = answered(tmp_path, IMAGES[0]).stat().st_size
    told: list[str] = []
    made = TeacherCache(tmp_path, "another graph", size, told.append).of(Teacher(), Run(), CPU)
    made(IMAGES[0])
    made.publish()
    assert len(told) == len(files(tmp_path)) == 1


def test_where_it_cannot_write_the_run_goes_on(tmp_path: Path) -> None:
    told: list[str] = []
    teacher = Teacher()
    made = opened(tmp_path / "cache", teacher, told=told.append)
    shutil.rmtree(tmp_path / "cache")
    for batch in IMAGES:
        made(batch)
        made.publish()
    assert teacher.asked == 3
    (line,) = told
    assert line.startswith("teacher cache: no more logits are kept: cannot write ")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file.cache.*: Not a directory"):
        opened(tmp_path / "file" / "cache", Teacher())


def turned(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("damaged", [turned, lambda data: data[:-1], lambda data: b"", lambda data: b"\xff" * 99])
def test_a_damaged_file_is_told_once_and_passed_over(tmp_path: Path, damaged: Callable[[bytes], bytes]) -> None:
    file, told = answered(tmp_path), list[str]()
    file.write_bytes(damaged(file.read_bytes()))
    assert asked(tmp_path, *IMAGES, *IMAGES, told=told.append) == 3
    (line,) = told
    assert line.startswith(f"teacher cache: {file} cannot be read: ")
    assert line.endswith("; the teacher is asked instead, and the file may be removed")


def test_what_was_damaged_is_found_elsewhere(tmp_path: Path) -> None:
    answered(tmp_path, *IMAGES[:2])
    made = opened(tmp_path / "other", Teacher())
    for batch in IMAGES[1:]:
        made(batch)
    made.publish()
    (second,) = files(tmp_path / "other")
    for name in ("0.safetensors", "z.safetensors"):  # before the sound one and after it
        place = files(tmp_path)[0].with_name(name)
        place.write_bytes(turned(second.read_bytes()))
    shutil.rmtree(tmp_path / "other")
    assert asked(tmp_path) == 1


def test_a_file_that_vanishes_is_told(tmp_path: Path) -> None:
    file, told, teacher = answered(tmp_path), list[str](), Teacher()
    made = opened(tmp_path, teacher, told=told.append)
    file.unlink()
    made(IMAGES[0])
    assert teacher.asked == len(told) == 1


@pytest.mark.parametrize("facts", [{"format_version": 1, "of": "another"}, {"format_version": 2}, {}])
def test_logits_of_another_teacher_are_passed_over(tmp_path: Path, facts: dict[str, Any]) -> None:
    file, told = answered(tmp_path), list[str]()
    tensors, there = read_sealed(file, KEY)
    write_sealed(file, KEY, tensors, {"of": there["of"], **facts} if facts else {})
    assert asked(tmp_path, told=told.append) == 3
    assert len(told) == 1
    assert f"{file} holds the logits of another teacher, precision or processor" in told[0]


@pytest.mark.parametrize("logits", [torch.zeros(5, toy.CLASSES), torch.zeros(6, 2, toy.CLASSES), torch.tensor(0.0)])
def test_logits_of_another_number_of_images_are_none(tmp_path: Path, logits: Tensor) -> None:
    file = answered(tmp_path, IMAGES[0])
    tensors, facts = read_sealed(file, KEY)
    write_sealed(file, KEY, dict.fromkeys(tensors, logits), facts)
    assert asked(tmp_path, IMAGES[0]) == 1


def test_how_many_were_found(tmp_path: Path) -> None:
    answered(tmp_path, IMAGES[0])
    made = opened(tmp_path, Teacher())
    assert made.found_percent() == 0
    made(IMAGES[0])
    made(IMAGES[1][:2])
    assert made.found_percent() == 75
    made.begin_epoch()
    made(IMAGES[2])
    assert made.found_percent() == 0


@pytest.mark.parametrize("given", [(torch.zeros(6, 4), torch.zeros(6, 4, 2, 2)), torch.zeros(2, 6, 4)], ids=["maps", "steps"])
def test_more_than_logits_is_not_kept(tmp_path: Path, given: object) -> None:
    teacher = nn.Module()
    teacher.forward = lambda images: given  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        opened(tmp_path, teacher)(IMAGES[0])
