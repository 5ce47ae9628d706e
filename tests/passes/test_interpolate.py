from __future__ import annotations

import pytest
import torch

from idsnn_convert.passes.interpolate import SCALES, equals_rule, interpolate, no_scale, preserve_scale, scaled, variance_scale

SHAPES = [
    ((4, 3, 3, 3), (4, 3, 3, 3)),
    ((4, 3, 3, 3), (9, 7, 3, 3)),
    ((9, 7, 3, 3), (4, 3, 3, 3)),
    ((4, 7, 1, 1), (6, 2, 1, 1)),
    ((5,), (12,)),
    ((5,), (3,)),
]


@pytest.mark.parametrize(("source_shape", "shape"), SHAPES)
def test_every_element_follows_the_index_rule(source_shape: tuple[int, ...], shape: tuple[int, ...]) -> None:
    source = torch.randn(source_shape)
    looped = interpolate(source, shape)
    assert looped.shape == shape
    for i in range(shape[0]):
        if len(shape) == 1:
            assert looped[i] == source[i % source_shape[0]]
            continue
        for j in range(shape[1]):
            assert torch.equal(looped[i, j], source[i % source_shape[0], j % source_shape[1]])
    assert equals_rule(looped, source)


def test_the_result_shares_no_memory_with_the_source() -> None:
    source = torch.randn(4, 3, 3, 3)
    looped = interpolate(source, (4, 3, 3, 3))
    looped.zero_()
    assert source.abs().sum() > 0


@pytest.mark.parametrize(("source_shape", "shape"), SHAPES)
def test_one_changed_value_breaks_the_rule(source_shape: tuple[int, ...], shape: tuple[int, ...]) -> None:
    source = torch.randn(source_shape)
    looped = interpolate(source, shape)
    looped.view(-1)[-1] += 1
    assert not equals_rule(looped, source)


def test_kernels_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be looped"):
        interpolate(torch.zeros(4, 3, 7, 7), (4, 3, 3, 3))
    with pytest.raises(ValueError, match="cannot be looped"):
        interpolate(torch.zeros(4, 3), (4,))


def test_scale_factors() -> None:
    assert no_scale((4, 3, 3, 3), (8, 6, 3, 3)) == 1
    assert variance_scale((4, 3, 3, 3), (8, 6, 3, 3)) == pytest.approx(0.5**0.5)
    assert variance_scale((8, 6, 3, 3), (4, 3, 3, 3)) == 1
    factor = preserve_scale((4, 3, 3, 3), (8, 5, 3, 3))
    assert isinstance(factor, torch.Tensor)
    assert factor.tolist() == [0.5, 0.5, 1.0, 0.5, 0.5]
    assert preserve_scale((4, 6, 3, 3), (8, 6, 3, 3)) == 1


@pytest.mark.parametrize("rule", SCALES)
def test_nothing_is_scaled_where_the_shape_stays(rule: str) -> None:  # the mapping's digests rely on it
    assert SCALES[rule]((4, 6, 3, 3), (4, 6, 3, 3)) == 1.0


def test_a_preserved_convolution_computes_the_same_function_on_repeated_channels() -> None:
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    wide = scaled(interpolate(weight, (10, 8, 3, 3)), preserve_scale((4, 3, 3, 3), (10, 8, 3, 3)))
    image = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    given = torch.nn.functional.conv2d(image[:, torch.arange(8) % 3], wide)
    wanted = torch.nn.functional.conv2d(image, weight)[:, torch.arange(10) % 4]
    torch.testing.assert_close(given, wanted, rtol=1e-6, atol=1e-6)


def test_scaled_weights_are_held_against_the_scaled_rule() -> None:
    source = torch.randn(4, 3, 3, 3)
    factor = preserve_scale((4, 3, 3, 3), (8, 5, 3, 3))
    wide = scaled(interpolate(source, (8, 5, 3, 3)), factor)
    assert equals_rule(wide, source, factor)
    assert not equals_rule(wide, source)
    assert equals_rule(scaled(interpolate(source, (8, 5, 3, 3)), 0.5), source, 0.5)
