"""DALL-E as a generator: words -> codes -> pictures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch
from PIL.Image import Image
from torch import Tensor

from t2icli.backends.dalle.config import Config
from t2icli.backends.dalle.model import DallE
from t2icli.contract.kinds import Codec, Tokenizer
from t2icli.ground.errors import T2IError
from t2icli.nn import decode, devices, weights
from t2icli.nn.pixels import square, to_images, to_tensor
from t2icli.pictures import images

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
        precision: str = "fp32",
    ) -> None:
        self.model, self.tokenizer, self.codec = model, tokenizer, codec
        self.sampling, self.batch, self.strict = sampling, batch, strict
        self.beginning = torch.zeros(0, dtype=torch.long) if beginning is None else beginning
        """The codes (m,) every image begins with."""
        self.precision = precision
        self.on_step: decode.OnStep | None = None

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        return self.draw(self.read(prompt), n, seed=seed)

    def draw(self, text: Tensor, n: int, *, seed: int) -> Iterator[Image]:
        """n images for the ids (1, text_length) of a prompt."""
        condition = self._condition(text)
        length = self.model.config.image_length - len(self.beginning)
        seeds = range(seed, seed + n)
        drawn = decode.sample(
            self.model, condition, seeds, length, self.sampling, batch=self.batch, on_step=self.on_step
        )
        while some := list(islice(drawn, self.batch)):
            codes = torch.stack([torch.cat([self.beginning, own.cpu()]) for own in some])
            yield from to_images(self.codec.decode(codes))

    def read(self, prompt: str) -> Tensor:
        """The prompt's ids, (1, text_length); a text that is too long is cut with a warning, or refused."""
        encode = partial(self.tokenizer.encode, [prompt], self.model.config.text_length)
        text = _unless_it_warns(encode) if self.strict else encode()
        return text.masked_fill(text == self.tokenizer.padding, 0)

    def _condition(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """With guidance a second row, the prompt of which is all padding."""
        if self.sampling.cfg_scale != 1:
            text = torch.cat([text, torch.zeros_like(text)])
        device = self.model.head.weight.device
        return text.to(device), self.beginning.expand(len(text), -1).to(device)


def _unless_it_warns(encode: Callable[[], Tensor]) -> Tensor:
    """Tokenizers warn of a text that they have to cut."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            return encode()
        except UserWarning as told:
            raise T2IError(f"the prompt does not fit: {told}", "shorten it, or leave out strict") from told


def load(settings: Settings) -> DallEGenerator:
    model = msgspec.convert(settings.model.card.config, Config)
    tokenizer, codec = settings.tokenizer.load(), settings.codec.load()
    check_fit(model, tokenizer, codec, settings)
    network = weights.load(DallE(model), settings.model)
    precision = devices.place(network, settings.precision, settings.device)
    sampling = decode.Sampling(settings.temperature, settings.top_k, settings.top_p, settings.cfg_scale)
    return DallEGenerator(
        network,
        tokenizer,
        codec,
        sampling,
        batch=settings.batch,
        strict=settings.strict,
        beginning=begin_with(settings.prime, settings.prime_rows, codec) if settings.prime else None,
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


def begin_with(path: Path, rows: int | None, codec: Codec) -> Tensor:
    """The codes of the upper rows of a picture."""
    rows = rows or max(1, int(0.4375 * codec.grid[0]))
    if rows >= codec.grid[0]:
        raise T2IError(
            f"prime_rows is {rows}, but an image has {codec.grid[0]} rows in all", "leave some rows to be drawn"
        )
    blank = codec.decode(torch.zeros(1, codec.grid[0] * codec.grid[1], dtype=torch.long))
    try:
        pixels = to_tensor(square(images.open_image(path), blank.shape[-1]))
    except T2IError as error:
        raise T2IError(f"cannot read the image to begin with: {error.message}", error.hint) from error
    return codec.encode(pixels[None])[0, : rows * codec.grid[1]].cpu()
