"""Shapes of shared networks as settings. Light: no torch, so that settings can hold them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from t2icli.ground.errors import T2IError


class VqganShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of a VQGAN, in the words of taming-transformers' configuration.

    The defaults are its f16 networks of 256 px. A small one that trains on a CPU cuts the pixels into
    patches first and leaves attention out: see docs/codecs.md.
    """

    resolution: Annotated[int, Meta(description="pixels of a side; also says where attention is", ge=1)] = 256
    ch: Annotated[int, Meta(description="width that ch_mult multiplies", ge=1)] = 128
    ch_mult: Annotated[tuple[int, ...], Meta(description="width of each level; every level after the first halves")] = (
        1,
        1,
        2,
        2,
        4,
    )
    num_res_blocks: Annotated[int, Meta(description="residual blocks of a level; the decoder has one more", ge=1)] = 2
    attn_resolutions: Annotated[tuple[int, ...], Meta(description="sides of the feature maps that get attention")] = (
        16,
    )
    z_channels: Annotated[int, Meta(description="width of the latent before it is quantised", ge=1)] = 256
    embed_dim: Annotated[int, Meta(description="width of a code's vector", ge=1)] = 256
    n_embed: Annotated[int, Meta(description="how many codes there are", ge=2)] = 1024
    dropout: Annotated[float, Meta(description="fraction of features dropped in training", ge=0, lt=1)] = 0.0
    quantizer: Annotated[
        Literal["vq", "gumbel", "cosine"],
        Meta(description="nearest code, likeliest code of a classifier, or nearest direction"),
    ] = "vq"
    patch: Annotated[int, Meta(description="side of the pixel patches the first layer takes; 1 is none", ge=1)] = 1
    finish: Annotated[
        int,
        Meta(
            description="features per pixel that a last convolution mixes, across the edges of patches; 0 is none",
            ge=0,
        ),
    ] = 0
    groups: Annotated[
        int, Meta(description="of the group norms; few channels in a group lose the picture's colours", ge=1)
    ] = 32
    eps: Annotated[float, Meta(description="added to the variance in the group norms", gt=0)] = 1e-6
    middle_attention: Annotated[bool, Meta(description="attention at the smallest size, as taming has it")] = True
    apart: Annotated[
        bool, Meta(description="each code sees only its own pixels: codes that small generators predict more easily")
    ] = False

    transformer: Annotated[
        int,
        Meta(
            description="layers of a transformer over all codes, ch wide, that draws each as one patch; 0 is none", ge=0
        ),
    ] = 0
    coefficients: Annotated[
        int, Meta(description="how many cosine waves such a patch is made of, at most 3 * patch * patch", ge=1)
    ] = 384

    def __post_init__(self) -> None:
        if self.transformer and (len(self.ch_mult) > 1 or not self.apart or self.finish or self.ch % 64):
            raise T2IError("a transformer needs shape.ch_mult=1, shape.apart=yes, no finish, and ch in multiples of 64")

    @property
    def factor(self) -> int:
        """Side, in pixels, of the square that one code represents."""
        return int(self.patch * 2 ** (len(self.ch_mult) - 1))

    @property
    def widths(self) -> tuple[int, ...]:
        """Width of each level, the finest first."""
        return tuple(self.ch * mult for mult in self.ch_mult)

    @property
    def attends(self) -> tuple[bool, ...]:
        """Which levels have attention, the finest first. The size seen at run time does not matter."""
        return tuple(
            self.resolution // self.patch // 2**level in self.attn_resolutions for level in range(len(self.ch_mult))
        )
