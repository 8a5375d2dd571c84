"""DALL-E as a generator: words -> codes -> pictures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch
from PIL.Image import Image
from torch import Tensor

from t2icli.backends.dalle.config import Config
from t2icli.backends.dalle.model import DallE
from t2icli.contract.kinds import Codec, Tokenizer
from t2icli.contract.requests import Abilities, Readings, Request, numbered
from t2icli.ground.batches import batched
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch, unwatched
from t2icli.nn import decode, devices, weights
from t2icli.nn.pixels import square, to_images, to_tensor
from t2icli.pictures import images
from t2icli.registry import parts

if TYPE_CHECKING:
    from t2icli.backends.dalle import Settings


class DallEGenerator:
    """Draws codes with the transformer and paints them with the codec."""

    def __init__(
        self,
        model: DallE,
        tokenizer: Tokenizer,
        codec: Codec,
        sampling: decode.Sampling,
        *,
        batch: int = 32,
        strict: bool = False,
        beginning: Tensor | None = None,
        rows: int | None = None,
        precision: str = "fp32",
    ) -> None:
        self.model, self.tokenizer, self.codec = model, tokenizer, codec
        self.sampling, self.batch, self.strict = sampling, batch, strict
        self.beginning = torch.zeros(0, dtype=torch.long) if beginning is None else beginning
        """The codes (m,) every image begins with that has no source."""
        self.rows = rows
        """Rows of codes kept of a source."""
        self.precision = precision
        height, width = codec.size
        self.abilities = Abilities(frozenset({"source"}), ((width, height),))

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        return self.draw(numbered(Request(prompt, seed), n))

    def draw(self, requests: Iterable[Request], watch: Watch = unwatched) -> Iterator[Image]:
        return self.paint(self._rows(requests), watch)

    def paint(self, rows: Iterable[decode.Row], watch: Watch = unwatched) -> Iterator[Image]:
        """One picture for each row."""
        rows, again = tee(rows)
        drawn = zip(decode.sample_rows(self.model, rows, batch=self.batch, watch=watch), again, strict=False)
        for some in batched(drawn, self.batch):
            yield from to_images(self.codec.decode(torch.stack([_whole(row.condition, codes) for codes, row in some])))

    def _rows(self, requests: Iterable[Request]) -> Iterator[decode.Row]:
        nulls = Readings(lambda request: self.null(request.source))
        texts = Readings(lambda request: self.after(self.read(request.prompt), *nulls([replace(request, prompt="")])))
        for block in batched(requests, self.batch):
            for request, (own, null) in zip(block, texts(block), strict=True):
                yield self.row(own, null, request.seed, replace(self.sampling, **request.settings))

    def row(
        self, own: decode.Condition, null: decode.Condition, seed: int, sampling: decode.Sampling | None = None
    ) -> decode.Row:
        return decode.Row(own, seed, sampling or self.sampling, null, partial(self._so_far, own))

    def null(self, source: Image | None = None) -> decode.Condition:
        """What guidance compares with: a text that is all padding, and the codes an image begins with."""
        beginning = self.beginning if source is None else begin_with(source, self.rows, self.codec)
        text = torch.zeros(1, self.model.config.text_length, dtype=torch.long)
        row = (text.to(self._device), beginning[None].to(self._device))
        return decode.Condition(row, self.model.config.image_length - len(beginning))

    def after(self, text: Tensor, null: decode.Condition) -> tuple[decode.Condition, decode.Condition]:
        """The condition of the ids (1, text_length), and what guidance compares it with."""
        return decode.Condition((text.to(self._device), null.row[1]), null.length), null

    def read(self, prompt: str) -> Tensor:
        """The prompt's ids, (1, text_length); a text that is too long is cut with a warning, or refused."""
        encode = partial(self.tokenizer.encode, [prompt], self.model.config.text_length)
        text = _unless_it_warns(encode) if self.strict else encode()
        return text.masked_fill(text == self.tokenizer.padding, 0)

    @property
    def _device(self) -> torch.device:
        return self.model.head.weight.device

    def _so_far(self, condition: decode.Condition, codes: Tensor) -> Image:
        """The codes so far, painted; the rest is grey."""
        done = _whole(condition, codes)
        cells = self.codec.grid[0] * self.codec.grid[1]
        painted = self.codec.decode(torch.cat([done, done[-1:].expand(cells - len(done))])[None])
        is_done = (torch.arange(cells) < len(done)).view(self.codec.grid)
        for axis, pixels in enumerate(self.codec.size):
            is_done = is_done.repeat_interleave(pixels // self.codec.grid[axis], axis)
        return to_images(painted.where(is_done, 0.5))[0]


def _whole(condition: decode.Condition, codes: Tensor) -> Tensor:
    """The codes that were drawn, behind those the image begins with."""
    return torch.cat([condition.row[1][0], codes]).cpu()


def _unless_it_warns(encode: Callable[[], Tensor]) -> Tensor:
    """Tokenizers warn of a text that they have to cut."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            return encode()
        except UserWarning as warning:
            raise T2IError(f"the prompt does not fit: {warning}", "shorten it, or leave out strict") from warning


def load(settings: Settings) -> DallEGenerator:
    model = msgspec.convert(settings.model.card.config, Config)
    tokenizer, codec = settings.tokenizer.load(), parts.load_codec(settings.codec)
    check_fit(model, tokenizer, codec, settings)
    network = weights.load(weights.unfilled(DallE, model), settings.model)
    precision = devices.place(network, settings.precision, settings.device)
    sampling = decode.Sampling(settings.temperature, settings.top_k, settings.top_p, settings.cfg_scale)
    rows = settings.prime_rows
    return DallEGenerator(
        network,
        tokenizer,
        codec,
        sampling,
        batch=settings.batch,
        strict=settings.strict,
        beginning=begin_with(open_prime(settings.prime), rows, codec) if settings.prime else None,
        rows=rows,
        precision=precision,
    )


def check_fit(config: Config, tokenizer: Tokenizer, codec: Codec, settings: Settings) -> None:
    """The parts must be of the sizes the network was trained for."""
    name = settings.model.name
    if tokenizer.vocabulary != config.text_vocabulary:
        raise T2IError(
            f"model {name!r} reads {config.text_vocabulary} different ids, "
            f"but tokenizer {settings.tokenizer.name!r} gives {tokenizer.vocabulary}",
            "choose the one it was trained with: -o tokenizer=NAME",
        )
    check_codec(config, codec, f"model {name!r}", f"codec {settings.codec.name!r}")


def check_codec(config: Config, codec: Codec, model_name: str, codec_name: str) -> None:
    if (codec.codes, tuple(codec.grid)) != (config.codes, tuple(config.grid)):
        rows, columns = config.grid
        raise T2IError(
            f"{model_name} draws {rows} x {columns} of {config.codes} codes, "
            f"but {codec_name} has {codec.grid[0]} x {codec.grid[1]} of {codec.codes}",
            "omit the codec to use the model's own, or import the model with --part codec=FILE",
        )


def begin_with(image: Image, rows: int | None, codec: Codec) -> Tensor:
    """The codes of the upper rows of a picture."""
    rows = rows or max(1, int(0.4375 * codec.grid[0]))
    if rows >= codec.grid[0]:
        raise T2IError(
            f"prime_rows is {rows}, but an image has {codec.grid[0]} rows in all", "leave some rows to be drawn"
        )
    pixels = to_tensor(square(image, codec.size[1]))
    return codec.encode(pixels[None])[0, : rows * codec.grid[1]].cpu()


def open_prime(path: Path) -> Image:
    try:
        return images.open_image(path)
    except T2IError as error:
        raise T2IError(f"cannot read the image to begin with: {error.message}", error.hint) from error
