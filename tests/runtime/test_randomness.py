from __future__ import annotations

import torch

from idsnn_convert.runtime.randomness import own_randomness

CPU = torch.device("cpu")


def test_the_same_seed_draws_the_same_and_leaves_no_trace() -> None:
    before, drawn = torch.get_rng_state(), []
    for seed in (3, 3, 4):
        with own_randomness(CPU, seed):
            drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.get_rng_state(), before)
