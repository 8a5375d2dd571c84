"""How much of a picture survives a codec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t2icli.contract.kinds import Codec, LatentCodec
from t2icli.pipelines.evaluate.pairs import EvaluationSet
from t2icli.registry.open import Opened

if TYPE_CHECKING:
    from PIL.Image import Image

SHOWN = 8
"""Pictures beside what came back of them."""


@dataclass(frozen=True)
class CodecResult:
    """What one codec gave back."""

    model: str
    pictures: int
    psnr: float
    """Mean over the pictures, in dB."""
    ssim: float
    codes: int
    """How many different codes there are; 0 for a codec of latents alone."""
    usage: dict[str, float]
    """Of the codes; empty where there are none."""
    shown: Image

    def table(self) -> dict[str, Any]:
        """As plain data."""
        figures = {"psnr": self.psnr, "ssim": self.ssim, "codes": self.codes, **self.usage}
        return {"model": self.model, "pictures": self.pictures, **figures}

    def row(self) -> list[Any]:
        """Name, PSNR, SSIM, codes used, perplexity."""
        if not self.codes:
            return [self.model, self.psnr, self.ssim, None, None]
        used = f"{self.usage['codes_used']:.0f} of {self.codes}"
        return [self.model, self.psnr, self.ssim, used, self.usage["perplexity"]]


def evaluate(
    source: Opened[Codec | LatentCodec],
    pairs: EvaluationSet,
    *,
    batch: int = 16,
    advance: Callable[[int], None] = lambda n: None,
) -> CodecResult:
    """Encode and decode every picture, cut to a square of the codec's own size."""
    import torch

    from t2icli.nn import fidelity
    from t2icli.nn.pixels import square, to_tensor

    codec = source.thing
    size = codec.size[1]
    psnr, ssim, shown = [], [], []
    kinds = codec.codes if isinstance(codec, Codec) else 0
    counts = torch.zeros(kinds, dtype=torch.int64)
    for start in range(0, len(pairs.pictures), batch):
        some = pairs.pictures[start : start + batch]
        images = torch.stack([to_tensor(square(picture.open(), size)) for picture in some])
        with torch.inference_mode():
            if isinstance(codec, Codec):
                codes = codec.encode(images)
                counts += fidelity.count_codes(codes.cpu(), kinds)
                back = codec.decode(codes).cpu()
            else:
                back = codec.decode_latents(codec.encode_latents(images)).cpu()
        psnr.append(fidelity.psnr(images, back))
        ssim.append(fidelity.ssim(images, back))
        if start < SHOWN:
            shown.append((images, back))
        advance(len(some))
    above, below = (torch.cat(side)[:SHOWN] for side in zip(*shown, strict=True))
    return CodecResult(
        source.name,
        len(pairs.pictures),
        float(torch.cat(psnr).mean()),
        float(torch.cat(ssim).mean()),
        kinds,
        dict(fidelity.usage(counts)) if kinds else {},
        fidelity.pairs(above, below),
    )
