"""Every check passes an honest entry and catches each way of breaking the promise."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import msgspec
import pytest
import torch
from msgspec import Meta
from PIL import Image

from t2icli import testing
from t2icli.contract.entries import Entry


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    batch: Annotated[int, Meta(description="images at once", ge=1)] = 2


def entry(thing: type, about: str = "for this test", settings: type = Settings) -> Entry[Any]:
    return Entry("sample", about, settings, thing)


class HonestTokenizer:
    vocabulary, padding = 70_000, 0

    def __init__(self, settings: Settings) -> None: ...

    def encode(self, texts: Sequence[str], length: int) -> torch.Tensor:
        if any(len(text) > length for text in texts):
            warnings.warn("a text was cut", UserWarning, stacklevel=2)
        return torch.tensor([[ord(c) for c in text[:length].ljust(length, "\0")] for text in texts])

    def decode(self, tokens: torch.Tensor) -> list[str]:
        return ["".join(map(chr, row)).rstrip("\0") for row in tokens.tolist()]


class TokenizerOfFloats(HonestTokenizer):
    def encode(self, texts: Sequence[str], length: int) -> torch.Tensor:
        return super().encode(texts, length).float()


class TokenizerWithoutPadding(HonestTokenizer):
    def encode(self, texts: Sequence[str], length: int) -> torch.Tensor:
        tokens = super().encode(texts, length)
        return torch.where(tokens == 0, 1, tokens)


class TokenizerOfAnyLength(HonestTokenizer):
    def encode(self, texts: Sequence[str], length: int) -> torch.Tensor:
        return super().encode(texts, length + 1)


class TokenizerOutOfRange(HonestTokenizer):
    vocabulary = 100


class TokenizerPaddedOutOfRange(HonestTokenizer):
    padding = -1


class TokenizerThatForgets(HonestTokenizer):
    def decode(self, tokens: torch.Tensor) -> list[str]:
        return [text[1:] for text in super().decode(tokens)]


class TokenizerThatCutsInSilence(HonestTokenizer):
    def encode(self, texts: Sequence[str], length: int) -> torch.Tensor:
        with warnings.catch_warnings(record=True):
            return super().encode(texts, length)


class HonestEmbedder:
    width = 3

    def __init__(self, settings: Settings) -> None: ...

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        return _unit([[len(text), text.count("a"), 1.0] for text in texts])

    def embed_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        return _unit([list(map(float, image.convert("RGB").resize((1, 1)).getpixel((0, 0)))) for image in images])


def _unit(rows: list[list[float]]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows), dim=1)


class EmbedderOfLongVectors(HonestEmbedder):
    def embed_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        return 2 * super().embed_images(images)


class EmbedderOfAnotherWidth(HonestEmbedder):
    width = 4


class EmbedderThatLooksAround(HonestEmbedder):
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        return _unit([[len(text), max(map(len, texts)), 1.0] for text in texts])


class HonestCodec:
    codes, grid, size = 256, (2, 3), (8, 12)

    def __init__(self, settings: Settings) -> None: ...

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return (images[:, 0, ::4, ::4] * 255).round().long().flatten(1)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        grey = (codes / 255).view(-1, 1, *self.grid).repeat_interleave(4, 2).repeat_interleave(4, 3)
        return grey.expand(-1, 3, -1, -1)


class CodecOutOfRange(HonestCodec):
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return super().encode(images) + 1_000


class CodecBeyondWhite(HonestCodec):
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        return super().decode(codes) * 2 - 1


class CodecOfBytes(HonestCodec):
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        return (super().decode(codes) * 255).byte()


class CodecOfAnotherGrid(HonestCodec):
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return super().encode(images)[:, :-1]


class CodecThatLooksAround(HonestCodec):
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return super().encode(images / (images.mean() + 1)).clamp(0, 255) + images.shape[0] - 1


class HonestLatentCodec:
    """Without codes."""

    size, latent_shape = (8, 12), (3, 2, 3)

    def __init__(self, settings: Settings) -> None: ...

    def encode_latents(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :, ::4, ::4] * 9 - 4

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        return ((latents + 4) / 9).clamp(0, 1).repeat_interleave(4, 2).repeat_interleave(4, 3)


class LatentsOfAnotherShape(HonestLatentCodec):
    latent_shape = (4, 2, 3)


class LatentsOfBytes(HonestLatentCodec):
    def encode_latents(self, images: torch.Tensor) -> torch.Tensor:
        return super().encode_latents(images).char()


class LatentsBeyondWhite(HonestLatentCodec):
    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        return super().decode_latents(latents) + 1


class LatentsThatLookAround(HonestLatentCodec):
    def encode_latents(self, images: torch.Tensor) -> torch.Tensor:
        return super().encode_latents(images) - images.mean()


class HonestGenerator:
    def __init__(self, settings: Settings) -> None:
        self.batch = settings.batch

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        for i in range(n):
            yield Image.new("RGB", (4, 4), random.Random(seed + i).randbytes(3)[0])


class GeneratorOfOneMore(HonestGenerator):
    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        return super().generate(prompt, n + 1, seed=seed)


class GeneratorWithoutSeed(HonestGenerator):
    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        return super().generate(prompt, n, seed=random.getrandbits(32))


class GeneratorWithOneSeedForAll(HonestGenerator):
    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        stream = random.Random(seed)
        for _ in range(n):
            yield Image.new("RGB", (4, 4), stream.randbytes(3)[0])


class GeneratorOfItsBatch(HonestGenerator):
    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        for i in range(n):
            yield Image.new("RGB", (4, 4), 20 * self.batch + (seed + i) % 10)


class GeneratorOfArrays(HonestGenerator):
    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Any]:
        return (torch.zeros(3, 4, 4) for _ in range(n))


class GeneratorOfSomethingAlways(HonestGenerator):
    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        return super().generate(prompt, max(n, 1), seed=seed)


class HonestRanker:
    def __init__(self, settings: Settings) -> None: ...

    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        return [float(image.width) for image in images]


class RankerOfRanks(HonestRanker):
    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        return [float(i) for i, _ in enumerate(images)]


class RankerThatCompares(HonestRanker):
    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        return [image.width / max(other.width for other in images) for image in images]


class RankerOfNothing(HonestRanker):
    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        return [float("nan") for _ in images]


class RankerOfTensors(HonestRanker):
    def score(self, prompt: str, images: Sequence[Image.Image]) -> Any:
        return [torch.tensor(1.0) for _ in images]


class RankerOfTheFirst(HonestRanker):
    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        return super().score(prompt, images)[:1]


class RankerThatNeedsAnImage(HonestRanker):
    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        return super().score(prompt, images) or [0.0]


class RankerThatPaints(HonestRanker):
    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        for image in images:
            image.paste((1, 2, 3), (0, 0, 1, 1))
        return super().score(prompt, images)


class HonestCaptioner:
    def __init__(self, settings: Settings) -> None: ...

    def caption(self, images: Sequence[Image.Image], n: int, *, seed: int) -> list[list[str]]:
        return [[f"{image.width} pixels wide"] * n for image in images]


class CaptionerOfOne(HonestCaptioner):
    def caption(self, images: Sequence[Image.Image], n: int, *, seed: int) -> list[list[str]]:
        return super().caption(images, 1, seed=seed)


class CaptionerOfPoems(HonestCaptioner):
    def caption(self, images: Sequence[Image.Image], n: int, *, seed: int) -> list[list[str]]:
        return [["roses\nare red"] * n for _ in images]


class CaptionerWithoutSeed(HonestCaptioner):
    def caption(self, images: Sequence[Image.Image], n: int, *, seed: int) -> list[list[str]]:
        return [[str(random.random())] * n for _ in images]


class CaptionerOfTheFirst(HonestCaptioner):
    def caption(self, images: Sequence[Image.Image], n: int, *, seed: int) -> list[list[str]]:
        return super().caption(images, n, seed=seed)[:1]


class HonestMetric:
    name = "mean"

    def __init__(self, settings: Settings) -> None: ...

    def distance(self, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return (images - others).square().mean((1, 2, 3))


class MetricOfTheBatch(HonestMetric):
    def distance(self, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return super().distance(images, others) / len(images)


class MetricOfLikeness(HonestMetric):
    def distance(self, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return 1 / (1 + super().distance(images, others))


class MetricWithoutSlope(HonestMetric):
    def distance(self, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return super().distance(images, others).sign() * 0 + super().distance(images, others.detach())


HONEST: list[tuple[Callable[..., None], type]] = [
    (testing.check_tokenizer, HonestTokenizer),
    (testing.check_embedder, HonestEmbedder),
    (testing.check_codec, HonestCodec),
    (testing.check_codec, HonestLatentCodec),
    (testing.check_generator, HonestGenerator),
    (testing.check_ranker, HonestRanker),
    (testing.check_captioner, HonestCaptioner),
    (testing.check_metric, HonestMetric),
]


@pytest.mark.parametrize(("check", "thing"), HONEST)
def test_an_honest_entry_passes(check: Callable[..., None], thing: type) -> None:
    check(entry(thing))


BROKEN: list[tuple[Callable[..., None], type, str]] = [
    (testing.check_tokenizer, TokenizerOfFloats, "must be int64"),
    (testing.check_tokenizer, TokenizerWithoutPadding, "padded at its end"),
    (testing.check_tokenizer, TokenizerOfAnyLength, r"must be \(2, 64\)"),
    (testing.check_tokenizer, TokenizerOutOfRange, r"must lie in \[0, 100\)"),
    (testing.check_tokenizer, TokenizerPaddedOutOfRange, "padding must be one of the ids"),
    (testing.check_tokenizer, TokenizerThatForgets, "gave ' red apple'"),
    (testing.check_tokenizer, TokenizerThatCutsInSilence, "must be warned of"),
    (testing.check_embedder, EmbedderOfLongVectors, "must have length 1"),
    (testing.check_embedder, EmbedderOfAnotherWidth, r"must be \(2, 4\)"),
    (testing.check_embedder, EmbedderThatLooksAround, "not depend on its neighbours"),
    (testing.check_codec, CodecOutOfRange, r"must lie in \[0, 256\)"),
    (testing.check_codec, CodecBeyondWhite, r"must lie in \[0, 1\]"),
    (testing.check_codec, CodecOfBytes, "must be float32"),
    (testing.check_codec, CodecOfAnotherGrid, r"must be \(2, 6\)"),
    (testing.check_codec, CodecThatLooksAround, "not depend on its neighbours"),
    (testing.check_codec, LatentsOfAnotherShape, r"must be \(2, 4, 2, 3\)"),
    (testing.check_codec, LatentsOfBytes, "latents must be float32"),
    (testing.check_codec, LatentsBeyondWhite, r"must lie in \[0, 1\]"),
    (testing.check_codec, LatentsThatLookAround, "not depend on its neighbours"),
    (testing.check_generator, GeneratorOfOneMore, "asked for 3 images, it gave 4"),
    (testing.check_generator, GeneratorWithoutSeed, "the same seed must give the same"),
    (testing.check_generator, GeneratorWithOneSeedForAll, "whatever n is"),
    (testing.check_generator, GeneratorOfItsBatch, "must not depend on batch"),
    (testing.check_generator, GeneratorOfArrays, "must be PIL images"),
    (testing.check_generator, GeneratorOfSomethingAlways, "asked for no image"),
    (testing.check_ranker, RankerOfRanks, "must not depend on the images' order"),
    (testing.check_ranker, RankerThatCompares, "must not depend on the others"),
    (testing.check_ranker, RankerOfNothing, "must be finite"),
    (testing.check_ranker, RankerOfTensors, "must be plain floats"),
    (testing.check_ranker, RankerOfTheFirst, "5 images must have as many scores"),
    (testing.check_ranker, RankerThatNeedsAnImage, "no images must have no scores"),
    (testing.check_ranker, RankerThatPaints, "must leave the images as they are"),
    (testing.check_captioner, CaptionerOfOne, "asked for 2 captions"),
    (testing.check_captioner, CaptionerOfPoems, "must be one line"),
    (testing.check_captioner, CaptionerWithoutSeed, "must give the same captions"),
    (testing.check_captioner, CaptionerOfTheFirst, "must have as many lists"),
    (testing.check_metric, MetricOfTheBatch, "must not depend on the other pairs"),
    (testing.check_metric, MetricOfLikeness, "equal pictures must have distance 0"),
    (testing.check_metric, MetricWithoutSlope, "must be differentiable"),
]


@pytest.mark.parametrize(("check", "thing", "reason"), BROKEN, ids=lambda case: getattr(case, "__name__", None))
def test_a_broken_promise_is_caught(check: Callable[..., None], thing: type, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        check(entry(thing))


class Unexplained(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: int = 3


class Changeable(msgspec.Struct, forbid_unknown_fields=True):
    size: Annotated[int, Meta(description="how wide")] = 3


class Nothing:
    def __init__(self, settings: object) -> None: ...


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (entry(HonestRanker, about=""), "described in one line"),
        (entry(HonestRanker, settings=Unexplained), "needs a line of help"),
        (entry(HonestRanker, settings=Changeable), "must be frozen"),
        (entry(Nothing), r"lacks score \(Ranker\)"),
        (HonestRanker, "expected an Entry"),
    ],
)
def test_what_is_announced_is_checked_too(wrong: Any, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        testing.check_ranker(wrong)
