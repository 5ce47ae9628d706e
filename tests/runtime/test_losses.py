"""Each term against its equation written out in float64, with plain loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime.losses import cross_entropy, kl_divergence, over_windows, right_steps, total_loss
from idsnn_convert.runtime.readout import Readout
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
    terms = total_loss(logits, labels, teacher, Loss())
    mean = logits.double().mean(0)
    ce, kl = ce_by_hand(mean, labels.tolist()), kl_by_hand(mean, teacher, 4.0)
    assert terms.ce.item() == pytest.approx(ce, rel=1e-5)
    assert terms.kl.item() == pytest.approx(kl, rel=1e-5)
    assert terms.total.item() == pytest.approx(ce + 0.3 * 16 * kl, rel=1e-5)


def test_soft_labels_and_their_smoothing() -> None:
    logits, _, _ = case()
    soft = torch.softmax(torch.randn(B, K, generator=torch.Generator().manual_seed(2)), 1)
    for smoothing in (0.0, 0.1):
        wanted = 0.0
        for row, shares in zip(logits[0].double().tolist(), soft.double().tolist(), strict=True):
            chances = softmax(row)
            wanted -= sum(((1 - smoothing) * q + smoothing / K) * math.log(p) for q, p in zip(shares, chances, strict=True))
        assert cross_entropy(logits[0], soft, smoothing).item() == pytest.approx(wanted / B, rel=1e-5)


@pytest.mark.parametrize("ce", ["mean", "steps"])
def test_hard_labels_written_as_soft_ones_give_the_same(ce: str) -> None:
    logits, labels, teacher = case()
    settings = Loss(ce=ce, kl="steps", ensemble_weight=0.5, ensemble="right", label_smoothing=0.1)
    hard_terms = total_loss(logits, labels, teacher, settings)
    soft_terms = total_loss(logits, torch.nn.functional.one_hot(labels, K).float(), teacher, settings)
    torch.testing.assert_close(hard_terms.row(), soft_terms.row())


def test_each_step_follows_the_answer_of_all() -> None:
    logits, labels, teacher = case()
    terms = total_loss(logits, labels, teacher, Loss(ce="steps", kl="steps", alpha=0.2, ensemble_weight=0.5, temperature=3.0))
    ensemble = sum(kl_by_hand(row, logits.double().mean(0), 3.0) for row in logits) / T
    assert terms.ensemble.item() == pytest.approx(ensemble, rel=1e-5)
    total = terms.ce.item() + 9 * (0.2 * terms.kl.item() + 0.5 * ensemble)
    assert terms.total.item() == pytest.approx(total, rel=1e-5)


def test_the_ensemble_needs_no_teacher_and_is_no_way_for_gradients() -> None:
    # Two steps (0, 0) and (2, 0), ensemble (1, 0): dKL/dz = (softmax(z) - softmax(ensemble)) / 2 rows of steps.
    logits = torch.tensor([[[0.0, 0.0]], [[2.0, 0.0]]], requires_grad=True)
    settings = Loss(alpha=0.0, ensemble_weight=1.0, temperature=1.0)
    terms = total_loss(logits, torch.tensor([0]), None, settings)
    bare = total_loss(logits, torch.tensor([0]), None, Loss(alpha=0.0))
    (grad,) = torch.autograd.grad(terms.total - bare.total, logits)
    half, one, two = (1 / (1 + math.exp(-z)) for z in (0.0, 1.0, 2.0))
    assert grad[:, 0, 0].tolist() == pytest.approx([(half - one) / 2, (two - one) / 2])


def test_the_ensemble_of_the_right_steps_by_hand() -> None:
    logits = torch.tensor([[[3.0, 0.0], [1.0, 0.0]], [[0.0, 2.0], [5.0, 1.0]], [[1.0, 0.0], [2.0, 0.0]]])
    # Image 0 is right at steps 0 and 2: mean (2, 0). Image 1 never is: no opinion.
    assert right_steps(logits, torch.tensor([0, 1])).tolist() == [[2, 0], [0, 0]]
    settings = Loss(alpha=0.0, ensemble_weight=1.0, ensemble="right", temperature=2.0)
    terms = total_loss(logits, torch.tensor([0, 1]), None, settings)
    target = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    assert terms.ensemble.item() == pytest.approx(sum(kl_by_hand(row, target, 2.0) for row in logits) / T, rel=1e-5)


def test_a_leaking_readout_is_what_is_judged() -> None:
    logits, labels, teacher = case()
    readout = Readout("membrane", 0.5)
    terms = total_loss(logits, labels, teacher, Loss(), readout)
    answer = readout.after_each_step(logits.double())[-1]
    assert terms.ce.item() == pytest.approx(ce_by_hand(answer, labels.tolist()), rel=1e-5)
    assert terms.kl.item() == pytest.approx(kl_by_hand(answer, teacher, 4.0), rel=1e-5)
    assert terms.right.item() == (answer.argmax(1) == labels).double().mean().item()


def test_the_taps_term_is_added_with_its_weight() -> None:
    logits, labels, _ = case()
    plain = total_loss(logits, labels, None, Loss(alpha=0.0))
    terms = total_loss(logits, labels, None, Loss(alpha=0.0, tap_weight=3.0), tap=torch.tensor(0.25))
    assert terms.total.item() == pytest.approx(plain.total.item() + 0.75)
    assert (plain.tap.item(), terms.tap.item()) == (0, 0.25)
    with pytest.raises(ValueError, match="no feature maps"):
        total_loss(logits, labels, None, Loss(alpha=0.0, tap_weight=3.0))


ALL_TERMS = Loss(ce="steps", kl="steps", alpha=0.2, ensemble_weight=0.5, temperature=3.0, label_smoothing=0.1, normalise=True)


@pytest.mark.parametrize("change", [{}, {"ce": "mean"}, {"kl": "mean"}, {"normalise": False}], ids=str)
def test_gradients_are_those_of_the_terms(change: dict[str, Any]) -> None:
    settings = ALL_TERMS.model_copy(update=change)
    logits, labels, teacher = case()
    fixed = logits.double().mean(0)  # what the ensemble's target is: a constant

    def value(z: Tensor) -> Tensor:
        weight = settings.temperature**2
        rows = {"steps": z.flatten(0, 1), "mean": z.mean(0)}
        ce = cross_entropy(rows[settings.ce], labels.repeat(len(rows[settings.ce]) // B), 0.1)
        kl = kl_divergence(rows[settings.kl], teacher.double().repeat(len(rows[settings.kl]) // B, 1), 3.0)
        ensemble = kl_divergence(rows["steps"], fixed.repeat(T, 1), 3.0)
        return (ce + weight * (0.2 * kl + 0.5 * ensemble)) / (1 + weight * 0.7 if settings.normalise else 1)

    wide = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(value, wide)
    (wanted,) = torch.autograd.grad(value(wide), wide)
    given = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(total_loss(given, labels, teacher, settings).total, given)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-6)


def test_each_step_judged_on_its_own() -> None:
    logits, labels, teacher = case()
    terms = total_loss(logits, labels, teacher, Loss(ce="steps", kl="steps", label_smoothing=0.2))
    assert terms.ce.item() == pytest.approx(sum(ce_by_hand(row, labels.tolist(), 0.2) for row in logits) / T, rel=1e-5)
    assert terms.kl.item() == pytest.approx(sum(kl_by_hand(row, teacher, 4.0) for row in logits) / T, rel=1e-5)


def test_windows_slide_over_the_steps() -> None:
    logits, labels, teacher = case()
    found = over_windows(logits, 2)
    torch.testing.assert_close(found, torch.stack([(logits[0] + logits[1]) / 2, (logits[1] + logits[2]) / 2]))
    torch.testing.assert_close(over_windows(logits, 9), logits.mean(0, keepdim=True))
    settings = Loss(alpha=1.0, kl="windows", window=2)
    timed = torch.stack([teacher, -teacher, 2 * teacher])  # a spiking teacher's three steps
    wanted = kl_by_hand(found.flatten(0, 1), over_windows(timed, 2).flatten(0, 1), settings.temperature)
    assert total_loss(logits, labels, timed, settings).kl.item() == pytest.approx(wanted, rel=1e-5)
    wanted = kl_by_hand(found.flatten(0, 1), teacher.repeat(2, 1), settings.temperature)
    assert total_loss(logits, labels, teacher, settings).kl.item() == pytest.approx(wanted, rel=1e-5)


def test_a_spiking_teacher_judges_step_by_step() -> None:
    logits, labels, teacher = case()
    timed = torch.stack([teacher, -teacher, 2 * teacher])
    found = total_loss(logits, labels, timed, Loss(alpha=1.0, kl="steps")).kl.item()
    assert found == pytest.approx(kl_by_hand(logits.flatten(0, 1), timed.flatten(0, 1), 4.0), rel=1e-5)


def test_one_term_by_step_the_other_on_the_mean() -> None:
    logits, labels, teacher = case()
    terms = total_loss(logits, labels, teacher, Loss(ce="mean", kl="steps"))
    assert terms.ce.item() == pytest.approx(ce_by_hand(logits.mean(0), labels.tolist()), rel=1e-5)
    assert terms.kl.item() == pytest.approx(sum(kl_by_hand(row, teacher, 4.0) for row in logits) / T, rel=1e-5)


def test_normalised_total() -> None:
    logits, labels, teacher = case()
    plain = total_loss(logits, labels, teacher, Loss(alpha=0.5, temperature=2.0))
    scaled = total_loss(logits, labels, teacher, Loss(alpha=0.5, temperature=2.0, normalise=True))
    assert scaled.total.item() == pytest.approx(plain.total.item() / (1 + 0.5 * 4))


def test_alpha_zero_needs_no_teacher_and_uses_none() -> None:
    logits, labels, teacher = case()
    settings = Loss(alpha=0.0, normalise=True)
    for given in (None, teacher):
        terms = total_loss(logits, labels, given, settings)
        assert terms.total.item() == terms.ce.item() == pytest.approx(ce_by_hand(logits.mean(0), labels.tolist()), rel=1e-5)
        assert terms.kl.item() == 0


def test_distillation_without_a_teacher_is_an_error() -> None:
    logits, labels, _ = case()
    with pytest.raises(ValueError, match=r"alpha is 0\.3"):
        total_loss(logits, labels, None, Loss())


def test_the_gradient_reaches_every_step_alike() -> None:
    logits, labels, teacher = case()
    logits.requires_grad_()
    total_loss(logits, labels, teacher, Loss()).total.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad[0], logits.grad[2])
    assert logits.grad.abs().sum() > 0


def test_half_precision_logits_are_judged_in_float32() -> None:
    logits, labels, teacher = case()
    half = logits.bfloat16()
    found = total_loss(half, labels, teacher.bfloat16(), Loss())
    wanted = total_loss(half.float(), labels, teacher.bfloat16().float(), Loss())
    assert found.total.dtype == torch.float32
    assert found.total.item() == wanted.total.item()
