from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import torch

from idsnn_convert import machine as facts_of
from idsnn_convert.machine import OPTIONAL, machine
from idsnn_convert.runtime.allocator import can_keep_memory
from idsnn_convert.runtime.fixed_point import supported

ROOT = Path(__file__).resolve().parents[2]


def test_the_facts_are_plain_json_and_those_of_torch() -> None:
    facts = machine()
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["torch"], facts["threads"]) == (torch.__version__, torch.get_num_threads())
    assert len(facts["gpus"]) == torch.cuda.device_count()
    assert facts["compiled_kernels"]["cpu"] == (facts["cxx_compiler"] is not None)
    assert facts["keeps_memory"] == can_keep_memory()
    assert facts["integer_convolutions"] == supported()
    assert facts["winograd_convolutions"] == facts["compiled_kernels"]["cpu"]
    assert facts["cpus"] >= 1


def test_the_extra_named_for_a_package_installs_it() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, package in OPTIONAL.items():
        if package.extra:
            assert name in {line.partition(">")[0] for line in extras[package.extra]}


def test_two_onnx_runtimes_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_of, "_version", lambda package: "1.0" if package.startswith("onnxruntime") else None)
    (warning,) = machine()["warnings"]
    assert "remove both, install one" in warning


def test_more_threads_than_processors_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_of, "_version", lambda package: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4096)
    (warning,) = machine()["warnings"]
    assert "4096 threads" in warning
    assert "OMP_NUM_THREADS=" in warning
