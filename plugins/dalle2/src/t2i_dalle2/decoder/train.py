"""The decoder as a recipe: each unet has its turn; embeddings and small pictures or latents are computed once."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from t2i_dalle2 import folders
from t2i_dalle2.decoder.draw import Stage, draw, images
from t2i_dalle2.decoder.model import Decoder, Unet
from t2i_dalle2.diffusion import NoiseSchedule, way_back
from t2i_dalle2.layers import matrices
from t2i_dalle2.prior.inputs import padded, tokens
from t2i_dalle2.shapes import DecoderShape, UnetShape
from t2icli.contract.kinds import Embedder
from t2icli.contract.recipes import Figures, Frozen, Samples, Turn
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.nn.latents import measured, standard
from t2icli.nn.pixels import FullSize, Squares, from_full_size, side
from t2icli.registry import parts
from t2icli.training.captions import Captions

if TYPE_CHECKING:
    from t2i_dalle2 import DecoderRecipeSettings

Batch = Mapping[str, Tensor]


class DecoderRecipe:
    def __init__(self, settings: DecoderRecipeSettings) -> None:
        self.settings = settings
        self.embedder: Embedder = settings.embedder.load()
        self.codec = None if settings.codec.is_none else parts.load_latent_codec(settings.codec)
        unets = (settings.first, settings.second)[: settings.unets] if self.codec is None else (self._of_latents(),)
        for name, unet in zip(("first", "second"), unets, strict=False):
            check_sizes(name, unet)
        if len(unets) == 2 and unets[0].size >= unets[1].size:
            raise T2IError(f"the second unet's {unets[1].size} px are not larger than the first's", "set second.size")
        self.shape = DecoderShape(
            self.embedder.width,
            unets,
            settings.timesteps,
            settings.dropped,
            text=tokens(self.embedder, ["a"], 1).shape[-1] if settings.encodings else 0,
            text_length=settings.text_length if settings.encodings else 0,
            channels=3 if self.codec is None else self.codec.latent_shape[0],
        )
        if settings.encodings:
            self.without_caption = "learnt without words"
        steps = min(settings.preview_steps, settings.timesteps)
        self.ways = [way_back(NoiseSchedule(unet.betas, settings.timesteps), steps, "auto") for unet in unets]
        self.space = folders.space_of_part(settings.embedder, self.embedder.width)
        self.prior = folders.find_prior(settings.prior) if settings.prior is not None else None
        if self.prior is not None:
            folders.check_same(folders.space_of(self.prior), self.space)
        self.model = Decoder(self.shape)

    def _of_latents(self) -> UnetShape:
        """The first unet, of the latents' size."""
        assert self.codec is not None
        _, rows, columns = self.codec.latent_shape
        if rows != columns:
            raise T2IError(f"latents of {rows} x {columns} are not square", "choose another codec")
        return msgspec.structs.replace(self.settings.first, size=rows, learned_variance=False)

    def frozen(self) -> Sequence[Frozen]:
        identity, size = parts.identity(self.settings.embedder), self.shape.unets[-1].size
        # By the names that other recipes have for them, so that whichever comes second finds them in the cache.
        frozen = [Frozen("images", identity, FullSize, lambda batch: self.embedder.embed_images(from_full_size(batch)))]
        if self.codec is None:
            squares = partial(Squares, size=size)
            frozen.append(Frozen("pixels", f"{size} pixels", squares, lambda x: (x * 255).round().byte()))
        else:
            pixels, codec = side(self.codec.size), parts.identity(self.settings.codec)
            squares = partial(Squares, size=pixels)
            frozen.append(Frozen("latents", f"{codec} middle {pixels}", squares, self.encode_images))
        if length := self.shape.text_length:
            captions = partial(Captions, hint="train with -o encodings=no")
            frozen.append(Frozen("encodings", f"{identity} {length} tokens", captions, self.encode_texts))
        return frozen

    def encode_images(self, images: Tensor) -> Tensor:
        assert self.codec is not None
        return self.codec.encode_latents(images).half()

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return tokens(self.embedder, texts, self.shape.text_length).half()

    def dataset(self, data: PreparedDataset, split: str, encoded: Mapping[str, Tensor]) -> Samples[dict[str, Tensor]]:
        if split == "train" and self.codec is not None and not self.shape.mean:
            self.model.shape = self.shape = msgspec.structs.replace(self.shape, **measured(encoded["latents"]))
        return Pictures(data, encoded, at_random=split == "train")

    def turns(self) -> Sequence[Turn]:
        return [
            Turn(
                f"unet{number + 1}",
                weights.groups(unet.parameters(), matrices(unet.inner())),
                partial(self.loss, number),
            )
            for number, unet in enumerate(cast(Iterable[Unet], self.model.unets))
        ]

    def loss(self, number: int, batch: Batch, step: int) -> tuple[Tensor, Figures]:
        whole, embedding = self.clean(batch), batch["embedding"].float()
        clean = shrunk(whole, self.shape.unets[number].size)
        smaller = self.smaller(number, whole)
        times = torch.randint(self.shape.timesteps, (len(clean),), device=clean.device)
        dropped = self.shape.dropped if self.model.training else 0.0
        keep = torch.rand(len(clean), device=clean.device) >= dropped
        stage = Stage(self.model, number, embedding, smaller, text=self.text(batch, hide=self.model.training))
        simple, bound = losses(stage, clean, times, torch.randn_like(clean), keep)
        figures = {f"simple{number + 1}": simple.detach()}
        # Compiled, a sum with zero would be the figure itself and have no gradient.
        return (simple + self.settings.variance_weight * bound if stage.shape.learned_variance else simple), figures

    def clean(self, batch: Batch) -> Tensor:
        """What the last unet should draw."""
        return standard(batch["latents"], self.shape) if self.codec is not None else batch["pixels"].float() / 127.5 - 1

    def text(self, batch: Batch, *, hide: bool) -> Tensor | None:
        """Encodings, where the decoder reads them; those of some rows may be hidden."""
        if not self.shape.text:
            return None
        text = padded(batch["text"].float(), self.shape.text_length)
        if not hide:
            return text
        keep = torch.rand(len(text), 1, 1, device=text.device) >= self.settings.text_dropped
        return text * keep

    def smaller(self, number: int, pixels: Tensor) -> Tensor | None:
        """What the unet before might have drawn; blurred at times, for it will not draw it sharp."""
        if number == 0:
            return None
        small = shrunk(pixels, self.shape.unets[number - 1].size)
        blurs = torch.rand(len(small), device=small.device) < self.settings.blur
        return torch.where(blurs[:, None, None, None], blurred(small, self.settings.blur_sigma), small)

    def preview(self, batch: Batch, *, seed: int) -> Sequence[Image]:
        """Pictures for the held-out images' embeddings."""
        embedding, text = batch["embedding"].float(), self.text(batch, hide=False)
        seeds = list(range(seed, seed + len(embedding)))
        drawn = draw(self.model, embedding, seeds, self.ways, scale=1.0, precision="fp32", text=text)
        return images(drawn, self.codec)

    def save(self, folder: Path) -> None:
        weights.save(self.model, folder)
        own = parts.keep(self.settings.embedder, folder, "embedder")
        if self.codec is not None:
            own |= parts.keep(self.settings.codec, folder, "codec")
        if self.prior is not None:
            folders.keep_prior(self.prior, folder / "prior")
        about = "DALL-E 2's decoder, trained here" if self.prior is None else "DALL-E 2, trained here"
        folders.seal_decoder(folder, self.shape, self.space.embedder, own, about=about)


def check_sizes(name: str, shape: UnetShape) -> None:
    """What the network's layers could not be built with."""
    deepest = 2 ** (len(shape.multipliers) - 1)
    if shape.size % deepest:
        raise T2IError(
            f"{len(shape.multipliers)} levels cannot halve {shape.size} px",
            f"make {name}.size a multiple of {deepest}, or give fewer {name}.multipliers",
        )
    if shape.width % shape.groups:
        raise T2IError(f"{shape.groups} groups do not divide a width of {shape.width}", f"set {name}.groups")
    if len(shape.attends) != len(shape.multipliers):
        raise T2IError(f"{name}.attention is for {len(shape.attends)} levels, not {len(shape.multipliers)}")
    if any(kernel % 2 == 0 for kernel in shape.kernels):
        raise T2IError(f"{name}.kernels must be odd, so that pictures keep their size")


class Pictures(Dataset[dict[str, Tensor]]):
    """Each picture, as pixels or latents, with its embedding and the encodings of one of its captions."""

    def __init__(self, data: PreparedDataset, encoded: Mapping[str, Tensor], *, at_random: bool) -> None:
        self.kind = "latents" if "latents" in encoded else "pixels"
        self.pictures, self.embeddings = encoded[self.kind], encoded["images"]
        self.encodings, self.at_random = encoded.get("encodings"), at_random
        self.first = [0, *accumulate(len(data.captions(i)) for i in range(len(data)))]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        row = {self.kind: self.pictures[i], "embedding": self.embeddings[i]}
        return row if self.encodings is None else row | {"text": self.text(self.encodings, i)}

    def text(self, encodings: Tensor, i: int) -> Tensor:
        first, after = self.first[i : i + 2]
        if first == after:
            return torch.zeros_like(encodings[0])
        return encodings[random.randrange(first, after) if self.at_random else first]


def shrunk(pixels: Tensor, size: int) -> Tensor:
    return F.interpolate(pixels, size, mode="area") if pixels.shape[-1] != size else pixels


def blurred(pixels: Tensor, sigma: float) -> Tensor:
    """A gaussian over 3 x 3 pixels."""
    side = math.exp(-0.5 / sigma**2)
    line = torch.tensor([side, 1.0, side], device=pixels.device) / (1 + 2 * side)
    kernel = (line[:, None] * line).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(pixels, (1, 1, 1, 1), mode="reflect"), kernel, groups=3)


def losses(
    stage: Stage, clean: Tensor, times: Tensor, noise: Tensor, keep: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """How far off the unet's word is, and, where it learns its variance, the bound of improved DDPM."""
    schedule, shape = stage.schedule, stage.shape
    noisy = schedule.noised(clean, times, noise)
    output = stage.network(stage.number, noisy, times, stage.embedding, stage.smaller, keep, stage.text).float()
    word = output.chunk(2, dim=1)[0] if shape.learned_variance else output
    simple = F.mse_loss(word, schedule.target(clean, times, noise, shape.predicts))
    if not shape.learned_variance:
        return simple, simple.new_zeros(())
    estimate = stage.read(output, noisy, times, clamp=False)
    mean = schedule.mean(estimate.clean, noisy, times).detach()  # the bound teaches the variance alone
    return simple, bound(schedule, clean, noisy, times, mean, estimate.log_variance)


def bound(
    schedule: NoiseSchedule, clean: Tensor, noisy: Tensor, times: Tensor, mean: Tensor, log_variance: Tensor | None
) -> Tensor:
    """In bits a pixel: how unlike the true step back this one is; for the last, how unlikely the picture."""
    assert log_variance is not None
    true_mean, true_log = schedule.mean(clean, noisy, times), schedule.at(schedule.log_variance, times, clean)
    apart = (true_mean - mean) ** 2 * (-log_variance).exp()
    kl = 0.5 * (log_variance - true_log - 1 + (true_log - log_variance).exp() + apart)
    unlikely = -log_likelihood(clean, mean, 0.5 * log_variance)
    each = torch.where(times == 0, unlikely.flatten(1).mean(1), kl.flatten(1).mean(1))
    return each.mean() / math.log(2)


def log_likelihood(pixels: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Of pixels that are one of 256 values, under a gaussian; the outermost values reach to infinity."""
    narrow = (-log_scale).exp()
    upto = below((pixels - mean + 1 / 255) * narrow)
    before = below((pixels - mean - 1 / 255) * narrow)
    inside = torch.where(pixels > 0.999, 1 - before, upto - before)
    return torch.where(pixels < -0.999, upto, inside).clamp(min=1e-12).log()


def below(x: Tensor) -> Tensor:
    """The normal distribution's cumulative, nearly."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
