from __future__ import annotations

import re
from dataclasses import replace

import pytest

from idsnn_convert.passes.resnet.archs import ARCHS, arch_name, layers
from idsnn_convert.passes.targets import target_spec


@pytest.mark.parametrize("name", ARCHS)
def test_the_number_in_a_name_counts_the_layers(name: str) -> None:
    assert layers(ARCHS[name]) == int(re.findall(r"\d+", name)[0])


@pytest.mark.parametrize("name", ARCHS)
def test_a_network_is_called_by_its_name(name: str) -> None:
    assert arch_name(target_spec(name, input_shape=(3, 64, 64), classes=7)) == name


def test_names_of_preact_and_nameless_networks() -> None:
    spec = target_spec("resnet34", input_shape=(3, 32, 32), classes=10)
    assert arch_name(replace(spec, block="preact-basic", after_add="none")) == "preact_resnet34"
    assert arch_name(replace(spec, depths=(3, 4, 6, 2))) == "resnet(3-4-6-2 basic)"
    assert arch_name(replace(spec, widths=(64, 128, 256, 500))) == "resnet(3-4-6-3 basic)"
