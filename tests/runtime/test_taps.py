"""Each distance against its equation by hand and in float64 loops; where the pairs come from."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.taps import (
    TAP_LOSSES,
    TapPair,
    attention,
    attention_map,
    cosine,
    gradient,
    mean_squared,
    named_taps,
    read_taps,
    tap_loss,
)
from tests import graphs


def maps(channels: int, size: int, seed: int, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, channels, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def attention_by_hand(student: torch.Tensor, teacher: torch.Tensor) -> float:
    total = 0.0
    for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        flat = []
        for channels in (ours, theirs):
            height, width = len(channels[0]), len(channels[0][0])
            energy = [sum(c[i][j] ** 2 for c in channels) / len(channels) for i in range(height) for j in range(width)]
            norm = math.sqrt(sum(value**2 for value in energy))
            flat.append([value / norm for value in energy])
        total += math.sqrt(sum((a - b) ** 2 for a, b in zip(*flat, strict=True)))
    return total / len(student)


def test_an_attention_map_by_hand() -> None:
    # Two channels, two places: mean squares (9 + 0) / 2 and (16 + 20) / 2 are as 1 : 4.
    found = attention_map(torch.tensor([[[[3.0, 4.0]], [[0.0, math.sqrt(20)]]]]))
    assert found[0].tolist() == pytest.approx([1 / math.sqrt(17), 4 / math.sqrt(17)])


def test_attention_takes_unequal_channels() -> None:
    student, teacher = maps(4, 5, 0), maps(7, 5, 1)
    assert attention(student, teacher).item() == pytest.approx(attention_by_hand(student, teacher), rel=1e-12)


def test_maps_are_averaged_down_to_the_smaller_size() -> None:
    student, teacher = maps(4, 4, 0), maps(4, 8, 1)
    small = teacher.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5))
    assert attention(student, teacher).item() == pytest.approx(attention_by_hand(student, small), rel=1e-12)
    assert mean_squared(teacher, student).item() == pytest.approx((small - student).square().mean().item(), rel=1e-12)


def test_gradient_attention_by_hand() -> None:
    # The student's map is 3 : 4. The teacher's gradient, its magnitudes added over two channels: 1 + 3 = 4 and 2 + 1 = 3.
    student = torch.tensor([[[[0.3, 0.4]]]], dtype=torch.float64)
    teacher = torch.tensor([[[[-1.0, 2.0]], [[3.0, 1.0]]]], dtype=torch.float64)
    assert gradient(student, teacher).item() == pytest.approx(math.sqrt(2 * 0.2**2))


def test_cosine_by_hand_and_free_of_scale() -> None:
    student, teacher = torch.tensor([[[[1.0]], [[0.0]]]]), torch.tensor([[[[5.0]], [[5.0]]]])
    assert cosine(student, teacher).item() == pytest.approx(1 - 1 / math.sqrt(2))
    assert cosine(student, 3 * student).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", TAP_LOSSES)
def test_gradients(kind: str) -> None:
    teacher = maps(3, 4, 1, batch=2)
    assert torch.autograd.gradcheck(lambda x: TAP_LOSSES[kind](x, teacher), maps(3, 2, 0, batch=2).requires_grad_())


@pytest.mark.parametrize("kind", TAP_LOSSES)
def test_a_student_that_never_fires_has_a_finite_gradient(kind: str) -> None:
    silent = torch.zeros(2, 3, 4, 4, requires_grad=True)
    (grad,) = torch.autograd.grad(TAP_LOSSES[kind](silent, maps(3, 4, 1, batch=2).float()), silent)
    assert grad.isfinite().all()


def test_pairs_add_up_in_float32() -> None:
    ours, theirs = [maps(3, 4, s).bfloat16() for s in (0, 1)], [maps(3, 4, s).bfloat16() for s in (2, 3)]
    wanted = sum(attention(a.float(), b.float()) for a, b in zip(ours, theirs, strict=True))
    assert tap_loss(ours, theirs, "attention") == wanted


def test_networks_without_taps_are_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="build student and teacher with taps"):
        tap_loss([], [], "attention")


def row(student: Any = "layer1.0.act2", teacher: Any = "layer1.0.act2") -> dict[str, Any]:
    return {"place": "stage1.block0", "student": student, "teacher": teacher}


def test_pairs_are_read_from_the_mapping() -> None:
    found = read_taps({"taps": [row(), row("layer2.0.act2", "layer2.0.add")]}, graphs.spiking(), graphs.ann(), "mse")
    assert found == (TapPair("layer1.0.act2", "layer1.0.act2"), TapPair("layer2.0.act2", "layer2.0.add"))


def test_pairs_are_read_from_words() -> None:
    rows = named_taps(["layer1.0.act2 = act1", "layer2.0.act2=layer2.0.add"])
    found = read_taps({"taps": rows}, graphs.spiking(), graphs.ann(), "attention")
    assert found == (TapPair("layer1.0.act2", "act1"), TapPair("layer2.0.act2", "layer2.0.add"))


@pytest.mark.parametrize("words", ["layer1.0.act2", "= act1", "act1 =", ""])
def test_words_that_name_no_two_nodes(words: str) -> None:
    with pytest.raises(UserError, match=r"names no two nodes[\s\S]*Such as"):
        named_taps([words])


@pytest.mark.parametrize(
    ("rows", "kind", "told"),
    [
        (None, "attention", r"does not say which maps[\s\S]*Convert the teacher again"),
        ([], "attention", "does not say which maps"),
        ([row(teacher="layer9.0")], "attention", r"teacher has no map 'layer9\.0'[\s\S]*converted from"),
        ([row(student=3)], "attention", "student has no map 3"),
        (["layer1"], "attention", "student has no map None"),
        ([row(teacher="fc")], "attention", "teacher has no map 'fc'"),
        (
            [row(teacher="layer2.0.act2")],
            "cosine",
            "tap=cosine needs equal channels: .* has 4 channels, .* teacher 8",
        ),
    ],
)
def test_pairs_that_cannot_be_compared(rows: Any, kind: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        read_taps({} if rows is None else {"taps": rows}, graphs.spiking(), graphs.ann(), kind)
