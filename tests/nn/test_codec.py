"""A network becomes a codec whatever the batch and however little memory there is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from t2icli.errors import T2IError
from t2icli.nn.codec import NetworkCodec


class Average(nn.Module):
    """Each code is the grey of a patch of 4 x 4; it runs out of memory above `room` images."""

    room = 3

    def to_codes(self, images: Tensor) -> Tensor:
        self._fit(images)
        return (nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4)[:, 0] * 255).long()

    def to_images(self, codes: Tensor) -> Tensor:
        self._fit(codes)
        return (codes / 255).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].expand(-1, 3, -1, -1)

    def _fit(self, batch: Tensor) -> None:
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("too many")


def codec(**changes: object) -> NetworkCodec:
    return NetworkCodec(Average(), codes=256, factor=4, size=(8, 12), **{"device": "cpu", **changes})


def test_out_of_memory_halves_the_batch_and_changes_nothing() -> None:
    images = torch.rand(7, 3, 8, 12)
    roomy, tight = codec(batch=2), codec(batch=16)
    codes = tight.encode(images)
    assert torch.equal(codes, roomy.encode(images)) and codes.shape == (7, 6)
    assert torch.equal(tight.decode(codes), roomy.decode(codes))


def test_too_little_memory_for_one_image_is_said() -> None:
    none = codec(batch=4)
    none.model.room = 0
    with pytest.raises(T2IError, match="not enough memory for a single image"):
        none.encode(torch.rand(2, 3, 8, 12))


def test_no_images_give_no_codes() -> None:
    assert codec().encode(torch.zeros(0, 3, 8, 12)).shape == (0, 6)


def test_what_it_gives_can_be_trained_on() -> None:
    codes = codec().encode(torch.rand(2, 3, 8, 12))
    table = nn.Embedding(256, 2)
    table(codes).sum().backward()
    assert table.weight.grad is not None
