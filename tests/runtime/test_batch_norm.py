"""Batch norm over a batch that lies in two processes; alone it is torch's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from idsnn_convert.runtime.batch_norm import BatchNorm2d, synchronise
from idsnn_convert.runtime.distributed import ALONE, World
from tests.runtime import together


@pytest.mark.parametrize("kind", ["plain", "fused"])
def test_two_processes_find_what_one_finds(pair: Path, kind: str) -> None:
    """Results, gradients and running statistics, to float32's rounding."""
    alone = together.learnt(together.layers()[kind], ALONE)
    for rank in range(2):
        found = torch.load(pair / f"{kind}{rank}.pt")
        assert found.keys() == alone.keys()
        for name, tensor in found.items():
            expected = alone[name][rank::2] if name in ("found", "rows") else alone[name]
            assert torch.allclose(tensor, expected, rtol=1e-5, atol=1e-5), name


def test_both_processes_hold_the_same_bits(pair: Path) -> None:
    for kind in ("plain", "fused"):
        one, other = (torch.load(pair / f"{kind}{rank}.pt") for rank in range(2))
        assert all(torch.equal(one[name], other[name]) for name in one.keys() - {"found", "rows"})


def test_alone_it_is_torchs() -> None:
    ours, theirs = BatchNorm2d(3, 1e-5, 0.1, True), nn.BatchNorm2d(3)
    results = [norm(together.BATCH) for norm in (ours, theirs)]
    assert torch.equal(*results)
    assert torch.equal(ours.running_var, theirs.running_var)
    assert ours.state_dict().keys() == theirs.state_dict().keys() - {"num_batches_tracked"}


def test_a_foreign_norm_cannot_be_shared() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    synchronise(network, ALONE)
    with pytest.raises(ValueError, match="1 is a BatchNorm2d, which cannot share its batch among processes"):
        synchronise(network, World(0, 2))
