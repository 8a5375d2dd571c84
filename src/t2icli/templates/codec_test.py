from __future__ import annotations

import t2i_sample
import torch

from t2icli.testing import check_codec


def test_it_keeps_the_promises_of_a_codec() -> None:
    (entry,) = t2i_sample.t2i_codecs()
    check_codec(entry, cells=4)


def test_every_code_survives_being_drawn() -> None:
    codec = t2i_sample.Mosaic(t2i_sample.Settings(cells=4, levels=3))
    codes = torch.arange(codec.codes)[:16][None]
    assert codec.encode(codec.decode(codes)).equal(codes)
