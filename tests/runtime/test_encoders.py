from __future__ import annotations

import torch

from idsnn_convert.runtime.encoders import ENCODERS, Poisson, direct


def test_direct_hands_the_image_through_without_a_time_axis() -> None:
    image = torch.rand(2, 1, 3, 3)
    assert direct(image, 7) is image
    assert ENCODERS["direct"].constant
    assert not ENCODERS["poisson"].constant


def test_poisson_rate_and_sign_follow_the_pixel() -> None:
    image = torch.tensor([0.0, 0.3, -0.7, 1.5, -2.0]).view(1, 1, 1, 5)
    spikes = Poisson(torch.Generator().manual_seed(0))(image, 4000)
    assert spikes.shape == (4000, 1, 1, 5)
    assert set(spikes.unique().tolist()) == {-1.0, 0.0, 1.0}
    torch.testing.assert_close(spikes.mean(0).flatten(), torch.tensor([0.0, 0.3, -0.7, 1.0, -1.0]), atol=0.03, rtol=0)


def test_poisson_is_seeded_and_fresh_at_every_call() -> None:
    image = torch.full((1, 1, 8, 8), 0.5)
    first, again = Poisson(torch.Generator().manual_seed(3)), Poisson(torch.Generator().manual_seed(3))
    once = first(image, 4)
    assert torch.equal(once, again(image, 4))
    assert not torch.equal(once, first(image, 4))


def test_poisson_is_time_major() -> None:
    images = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    spikes = Poisson()(images, 3).unflatten(0, (3, 2))
    assert spikes[:, 0].sum() == 0
    assert spikes[:, 1].mean() == 1
