"""A network becomes a codec whatever the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from t2icli.nn.codec import NetworkCodec


class Average(nn.Module):
    """Each code is the grey of a patch of 4 x 4."""

    def to_codes(self, images: Tensor) -> Tensor:
        return (nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4)[:, 0] * 255).long()

    def to_images(self, codes: Tensor) -> Tensor:
        return (codes / 255).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].expand(-1, 3, -1, -1)


def codec(**changes: object) -> NetworkCodec:
    return NetworkCodec(Average(), codes=256, factor=4, size=(8, 12), **{"device": "cpu", **changes})


def test_an_image_does_not_depend_on_the_batch() -> None:
    images = torch.rand(7, 3, 8, 12)
    codes = codec(batch=2).encode(images)
    assert torch.equal(codes, codec(batch=16).encode(images)) and codes.shape == (7, 6)


def test_no_images_give_no_codes() -> None:
    assert codec().encode(torch.zeros(0, 3, 8, 12)).shape == (0, 6)
    assert codec().decode(torch.zeros(0, 6, dtype=torch.long)).shape == (0, 3, 8, 12)


def test_what_it_gives_can_be_trained_on() -> None:
    codes = codec().encode(torch.rand(2, 3, 8, 12))
    table = nn.Embedding(256, 2)
    table(codes).sum().backward()
    assert table.weight.grad is not None
