"""How much of a picture survives a codec."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from t2icli.contract.kinds import Codec, LatentCodec
from t2icli.engine.jobs import Job, Make
from t2icli.ground.batches import batched
from t2icli.pipelines.evaluate.pairs import CaptionedPicture, EvaluationSet
from t2icli.registry.open import Choice, Opened

if TYPE_CHECKING:
    from PIL.Image import Image

SHOWN = 8
"""Pictures beside what came back of them."""
SUFFIX = ".npz"
Figures = dict[str, Any]
"""Arrays: a row of each picture, and how often each code was used."""


@dataclass(frozen=True)
class CodecResult:
    """The reconstructions of one codec."""

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
    rows = _measured(source.thing, enumerate(pairs.pictures), batch, advance)
    return result(source.name, len(pairs.pictures), [rows])


def _measured(
    codec: Codec | LatentCodec,
    rows: Iterable[tuple[int, CaptionedPicture]],
    batch: int,
    advance: Callable[[int], None] = lambda n: None,
) -> Figures:
    """The figures of some pictures; of the first `SHOWN` of all also the pixels, before and after."""
    import torch

    from t2icli.nn import fidelity
    from t2icli.nn.pixels import square, to_tensor

    kinds = codec.codes if isinstance(codec, Codec) else 0
    counts = torch.zeros(kinds, dtype=torch.int64)
    psnr, ssim, before, after = [], [], [], []
    for some in batched(rows, batch):
        images = torch.stack([to_tensor(square(picture.open(), codec.size[1])) for _, picture in some])
        with torch.inference_mode():
            if isinstance(codec, Codec):
                codes = codec.encode(images)
                counts += fidelity.count_codes(codes.cpu(), kinds)
                back = codec.decode(codes).cpu()
            else:
                back = codec.decode_latents(codec.encode_latents(images)).cpu()
        psnr.append(fidelity.psnr(images, back))
        ssim.append(fidelity.ssim(images, back))
        shown = max(0, SHOWN - some[0][0])
        before.append(images[:shown])
        after.append(back[:shown])
        advance(len(some))
    kept = {"psnr": psnr, "ssim": ssim, "before": before, "after": after}
    return {"counts": counts.numpy(), **{name: torch.cat(each).numpy() for name, each in kept.items()}}


def result(name: str, pictures: int, measured: Sequence[Figures]) -> CodecResult:
    """What the figures of all pictures, in pieces, come to."""
    import torch

    from t2icli.nn import fidelity

    def column(name: str) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([figures[name] for figures in measured]))

    counts = torch.from_numpy(np.sum([figures["counts"] for figures in measured], axis=0))
    usage = dict(fidelity.usage(counts)) if len(counts) else {}
    shown = fidelity.pairs(column("before"), column("after"))
    return CodecResult(
        name, pictures, float(column("psnr").mean()), float(column("ssim").mean()), len(counts), usage, shown
    )


@dataclass(frozen=True)
class Measuring:
    """What every worker of a job is given."""

    codec: Choice
    batch: int = 16

    def __call__(self) -> Make:
        return partial(_write, self, self.codec.open().thing)


def job(pairs: EvaluationSet, data: Path, output: Path, how: Measuring, shard_rows: int) -> Job:
    """The job that encodes and decodes the pictures of `data`."""
    plan = {
        "job": "evaluate-codec",
        "pictures": len(pairs.pictures),
        "data": pairs.identity,
        "shard_rows": shard_rows,
        "codec": how.codec.plan,
    }
    return Job(output, plan, batched(enumerate(pairs.pictures), shard_rows), how, SUFFIX, (data.resolve(),))


def _write(
    how: Measuring, codec: Codec | LatentCodec, rows: Sequence[tuple[int, CaptionedPicture]], draft: Path
) -> None:
    """The shard of some pictures."""
    with draft.open("wb") as stream:
        np.savez(stream, **_measured(codec, rows, how.batch))


def joined(shards: Sequence[Path], how: Measuring, pairs: EvaluationSet) -> CodecResult:
    """The figures of all shards."""
    measured: list[Figures] = []
    for path in shards:
        with np.load(path) as figures:
            measured.append(dict(figures))
    return result(how.codec.name, len(pairs.pictures), measured)
