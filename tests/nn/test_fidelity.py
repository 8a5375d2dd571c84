"""What pictures lost is measured as the literature measures it."""

from __future__ import annotations

import pytest
import torch

from t2icli.nn.fidelity import count_codes, pairs, psnr, ssim, usage


def test_psnr_of_a_known_error() -> None:
    images = torch.full((2, 3, 8, 8), 0.5)
    assert torch.allclose(psnr(images, images + 0.1), torch.full((2,), 20.0), atol=1e-3)
    assert torch.equal(psnr(images, images), torch.full((2,), 100.0))


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(ssim(images, images), torch.ones(2))
    little, much = (ssim(images, images + s * torch.randn_like(images)) for s in (0.05, 0.5))
    assert (1 > little).all() and (little > much).all()


def test_ssim_of_two_flat_pictures_is_its_formula() -> None:
    a, b = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.6)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert float(ssim(a, b)) == pytest.approx(expected, abs=1e-5)


def test_ssim_works_on_pictures_smaller_than_its_window() -> None:
    assert ssim(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)).isfinite().all()


def test_usage_counts_codes() -> None:
    counts = count_codes(torch.tensor([[0, 0, 1], [1, 2, 2]]), 6)
    found = usage(counts)
    assert found["codes_used"] == 3 and found["codes_used_share"] == 0.5
    assert found["perplexity"] == pytest.approx(3.0)


def test_pairs_show_each_original_above_what_came_back() -> None:
    sheet = pairs(torch.zeros(3, 3, 8, 8), torch.ones(3, 3, 8, 8), columns=2)
    assert sheet.size == (18, 34)
    assert sheet.getpixel((0, 0)) == (0, 0, 0) and sheet.getpixel((0, 8)) == (255, 255, 255)
    assert sheet.getpixel((0, 20)) == (0, 0, 0)
