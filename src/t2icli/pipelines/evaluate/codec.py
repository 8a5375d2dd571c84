"""How much of a picture survives a codec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t2icli.contract.kinds import Codec
from t2icli.pipelines.evaluate.pairs import Pairs
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
    """How many different codes there are."""
    usage: dict[str, float]
    shown: Image

    def table(self) -> dict[str, Any]:
        """As plain data."""
        figures = {"psnr": self.psnr, "ssim": self.ssim, "codes": self.codes, **self.usage}
        return {"model": self.model, "pictures": self.pictures, **figures}


def evaluate(
    source: Opened[Codec], pairs: Pairs, *, batch: int = 16, advance: Callable[[int], None] = lambda n: None
) -> CodecResult:
    """Encode and decode every picture, cut to a square of the codec's own size."""
    import torch

    from t2icli.nn import fidelity
    from t2icli.nn.pixels import square, to_tensor

    codec = source.thing
    size = codec.size[1]
    psnr, ssim, shown = [], [], []
    counts = torch.zeros(codec.codes, dtype=torch.int64)
    for start in range(0, len(pairs.pictures), batch):
        some = pairs.pictures[start : start + batch]
        images = torch.stack([to_tensor(square(picture.open(), size)) for picture in some])
        with torch.inference_mode():
            codes = codec.encode(images)
            back = codec.decode(codes).cpu()
        psnr.append(fidelity.psnr(images, back))
        ssim.append(fidelity.ssim(images, back))
        counts += fidelity.count_codes(codes.cpu(), codec.codes)
        if start < SHOWN:
            shown.append((images, back))
        advance(len(some))
    above, below = (torch.cat(side)[:SHOWN] for side in zip(*shown, strict=True))
    return CodecResult(
        source.name,
        len(pairs.pictures),
        float(torch.cat(psnr).mean()),
        float(torch.cat(ssim).mean()),
        codec.codes,
        dict(fidelity.usage(counts)),
        fidelity.pairs(above, below),
    )
