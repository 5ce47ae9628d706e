from __future__ import annotations

import pytest

from idsnn_convert.runtime.energy import MODELS, EnergyModel


def test_macs_and_acs_are_weighed_and_given_in_joules() -> None:
    assert MODELS["horowitz-45nm-fp32"].joules(1e6, 2e6) == pytest.approx(4.6e-6 + 1.8e-6)
    assert MODELS["horowitz-45nm-fp32-sram"].joules(1, 0) == pytest.approx((4.6 + 50) * 1e-12)


def test_hardware_without_multipliers_has_no_figure_for_them() -> None:
    model = MODELS["loihi"]
    assert model.joules(5e6, 1e6) == pytest.approx(23.6e-6)
    assert model.joules(1, 0) is None


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_every_model_says_where_it_is_from_and_what_it_assumes(model: EnergyModel) -> None:
    assert any(character.isdigit() for character in model.source)
    assert model.assumes
    assert 0 < model.ac < (model.mac or model.ac + 1)
