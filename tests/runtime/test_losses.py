"""Each term against its equation written out in float64, with plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime.losses import cross_entropy, distillation_loss, kl_divergence
from idsnn_convert.runtime.recipe import Loss

T, B, K = 3, 4, 5


def case() -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(T, B, K, generator=draw)
    return logits, torch.tensor([0, 4, 2, 2]), 3 * torch.randn(B, K, generator=draw)


def softmax(values: list[float]) -> list[float]:
    top = [math.exp(value - max(values)) for value in values]
    return [value / sum(top) for value in top]


def ce_by_hand(rows: Tensor, labels: list[int], smoothing: float = 0.0) -> float:
    total = 0.0
    for row, label in zip(rows.double().tolist(), labels, strict=True):
        chances = softmax(row)
        wanted = [(1 - smoothing) * (k == label) + smoothing / K for k in range(K)]
        total -= sum(q * math.log(p) for q, p in zip(wanted, chances, strict=True))
    return total / len(labels)


def kl_by_hand(rows: Tensor, teacher: Tensor, temperature: float) -> float:
    """KL(teacher || student), mean over rows."""
    total = 0.0
    for row, target in zip((rows.double() / temperature).tolist(), (teacher.double() / temperature).tolist(), strict=True):
        total += sum(p * (math.log(p) - math.log(q)) for p, q in zip(softmax(target), softmax(row), strict=True))
    return total / len(rows)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(smoothing: float) -> None:
    logits, labels, _ = case()
    found = cross_entropy(logits[0], labels, smoothing).item()
    assert found == pytest.approx(ce_by_hand(logits[0], labels.tolist(), smoothing), rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kl_divergence(temperature: float) -> None:
    logits, _, teacher = case()
    assert kl_divergence(logits[0], teacher, temperature).item() == pytest.approx(
        kl_by_hand(logits[0], teacher, temperature), rel=1e-5
    )


def test_kl_divergence_is_of_the_student_from_the_teacher() -> None:
    # teacher (3/4, 1/4), student (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2), not 1/2 ln(2/3) + 1/2 ln 2
    teacher = torch.tensor([[math.log(3.0), 0.0]])
    found = kl_divergence(torch.zeros(1, 2), teacher, 1.0).item()
    assert found == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_the_published_loss() -> None:
    logits, labels, teacher = case()
    terms = distillation_loss(logits, labels, teacher, Loss())
    mean = logits.double().mean(0)
    ce, kl = ce_by_hand(mean, labels.tolist()), kl_by_hand(mean, teacher, 4.0)
    assert terms.ce.item() == pytest.approx(ce, rel=1e-5)
    assert terms.kl.item() == pytest.approx(kl, rel=1e-5)
    assert terms.total.item() == pytest.approx(ce + 0.3 * 16 * kl, rel=1e-5)


def test_each_step_judged_on_its_own() -> None:
    logits, labels, teacher = case()
    terms = distillation_loss(logits, labels, teacher, Loss(ce="steps", kl="steps", label_smoothing=0.2))
    assert terms.ce.item() == pytest.approx(sum(ce_by_hand(row, labels.tolist(), 0.2) for row in logits) / T, rel=1e-5)
    assert terms.kl.item() == pytest.approx(sum(kl_by_hand(row, teacher, 4.0) for row in logits) / T, rel=1e-5)


def test_one_term_by_step_the_other_on_the_mean() -> None:
    logits, labels, teacher = case()
    terms = distillation_loss(logits, labels, teacher, Loss(ce="mean", kl="steps"))
    assert terms.ce.item() == pytest.approx(ce_by_hand(logits.mean(0), labels.tolist()), rel=1e-5)
    assert terms.kl.item() == pytest.approx(sum(kl_by_hand(row, teacher, 4.0) for row in logits) / T, rel=1e-5)


def test_normalised_total() -> None:
    logits, labels, teacher = case()
    plain = distillation_loss(logits, labels, teacher, Loss(alpha=0.5, temperature=2.0))
    scaled = distillation_loss(logits, labels, teacher, Loss(alpha=0.5, temperature=2.0, normalise=True))
    assert scaled.total.item() == pytest.approx(plain.total.item() / (1 + 0.5 * 4))


def test_alpha_zero_needs_no_teacher_and_uses_none() -> None:
    logits, labels, teacher = case()
    settings = Loss(alpha=0.0, normalise=True)
    for given in (None, teacher):
        terms = distillation_loss(logits, labels, given, settings)
        assert terms.total.item() == terms.ce.item() == pytest.approx(ce_by_hand(logits.mean(0), labels.tolist()), rel=1e-5)
        assert terms.kl.item() == 0


def test_distillation_without_a_teacher_is_an_error() -> None:
    logits, labels, _ = case()
    with pytest.raises(ValueError, match=r"alpha is 0\.3"):
        distillation_loss(logits, labels, None, Loss())


def test_the_gradient_reaches_every_step_alike() -> None:
    logits, labels, teacher = case()
    logits.requires_grad_()
    distillation_loss(logits, labels, teacher, Loss()).total.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad[0], logits.grad[2])
    assert logits.grad.abs().sum() > 0


def test_half_precision_logits_are_judged_in_float32() -> None:
    logits, labels, teacher = case()
    half = logits.bfloat16()
    found = distillation_loss(half, labels, teacher.bfloat16(), Loss())
    wanted = distillation_loss(half.float(), labels, teacher.bfloat16().float(), Loss())
    assert found.total.dtype == torch.float32
    assert found.total.item() == wanted.total.item()
