"""How well a codec reconstructs pictures: PSNR, SSIM, use of its codes, pictures side by side."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from t2icli.nn.pixels import to_images
from t2icli.pictures.images import side_by_side


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, of pictures in [0, 1]: (b, 3, h, w) twice -> (b,). 100 for equal ones."""
    error = (images.float() - others.float()).square().mean((1, 2, 3))
    return (-10 * error.clamp(min=1e-10).log10()).float()


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004: Gaussian window of 11, sigma 1.5), mean over colours -> (b,)."""
    a, b = images.double(), others.double()
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a, var_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    together = _blurred(a * b) - mean_a * mean_b
    light = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    structure = (2 * together + 0.03**2) / (var_a + var_b + 0.03**2)
    return (light * structure).mean((1, 2, 3)).float()


def _blurred(x: Tensor) -> Tensor:
    """Where the window fits into the picture; a picture smaller than it gets a smaller window."""
    size = min(11, *x.shape[2:])
    at = torch.arange(size, dtype=x.dtype, device=x.device) - (size - 1) / 2
    window = (-(at**2) / (2 * 1.5**2)).exp()
    window = (window / window.sum()).expand(x.shape[1], 1, 1, size)
    across = F.conv2d(x, window, groups=x.shape[1])
    return F.conv2d(across, window.transpose(2, 3), groups=x.shape[1])


def usage(counts: Tensor) -> Mapping[str, float]:
    """Statistics of the codebook from the counts (n,) of its codes over many pictures."""
    share = counts.double() / counts.sum().clamp(min=1)
    return {
        "codes_used": float((counts > 0).sum()),
        "codes_used_share": float((counts > 0).double().mean()),
        "perplexity": float(torch.special.entr(share).sum().exp()),
    }


def count_codes(codes: Tensor, n: int) -> Tensor:
    """How often each of n codes is in a batch; counts of batches can be added."""
    return torch.bincount(codes.flatten(), minlength=n)


def pairs(images: Tensor, others: Tensor, columns: int = 4) -> Image.Image:
    """Originals with what came back below them, in one picture."""
    both = zip(to_images(images), to_images(others), strict=True)
    return side_by_side([side_by_side(pair, 1) for pair in both], columns, gap=2)
