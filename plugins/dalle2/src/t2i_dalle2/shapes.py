"""The networks' sizes, as stored in recipes' settings and in model cards. Light: no torch."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Betas = Literal["cosine", "linear", "quadratic", "jsd", "sigmoid"]
Target = Literal["x0", "noise", "v"]

SCHEDULE = "how the noise grows over the timesteps"
TARGET = "what the network predicts: the clean thing, the noise in it, or a mix of both"


class PriorShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A diffusion prior: a causal transformer that turns a text's embedding into an image's."""

    width: Annotated[int, Meta(description="numbers in an embedding, and in every token", ge=2)] = 512
    encodings: Annotated[int, Meta(description="numbers of one text encoding; 0 reads no encodings", ge=0)] = 512
    text_length: Annotated[int, Meta(description="places for text encodings", ge=0)] = 256
    layers: Annotated[int, Meta(description="of attention and feed-forward", ge=1)] = 6
    heads: Annotated[int, Meta(description="of queries; keys and values have one", ge=1)] = 8
    head_width: Annotated[int, Meta(description="numbers of one head, even", ge=2, multiple_of=2)] = 64
    text_tokens: Annotated[int, Meta(description="tokens made of a text's embedding", ge=1)] = 1
    time_tokens: Annotated[int, Meta(description="tokens made of the timestep", ge=1)] = 1
    image_tokens: Annotated[int, Meta(description="tokens made of a noisy embedding", ge=1)] = 1
    self_cond: Annotated[bool, Meta(description="read what the step before took for the clean embedding")] = False
    timesteps: Annotated[int, Meta(description="steps between an embedding and noise", ge=1)] = 100
    time_table: Annotated[bool, Meta(description="a learned vector for each timestep, instead of sine waves")] = False
    betas: Annotated[Betas, Meta(description=SCHEDULE)] = "cosine"
    predicts: Annotated[Target, Meta(description=TARGET)] = "x0"
    scale: Annotated[float | None, Meta(description="length embeddings are brought to; none is √width")] = None
    clamp: Annotated[bool, Meta(description="normalise every estimate to that length while sampling")] = False
    dropped: Annotated[
        float, Meta(description="probability of dropping the condition in training; 0 rules out guidance", ge=0, lt=1)
    ] = 0.2

    @property
    def length(self) -> float:
        """How long the vectors are that are noised and denoised."""
        return self.width**0.5 if self.scale is None else self.scale


class UnetShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One network of a decoder: the first draws from an image embedding, the others enlarge."""

    size: Annotated[int, Meta(description="pixels of an image's side", ge=1)] = 128
    width: Annotated[int, Meta(description="channels at full size, a multiple of `groups`", ge=1)] = 128
    multipliers: Annotated[
        tuple[int, ...], Meta(description="of the width at each level; each but the last halves the size", min_length=1)
    ] = (1, 2, 4, 8)
    blocks: Annotated[int, Meta(description="residual blocks of a level, after its first", ge=1)] = 2
    groups: Annotated[int, Meta(description="of the group norms", ge=1)] = 8
    kernels: Annotated[tuple[int, ...], Meta(description="of the first convolutions, side by side")] = (3, 7, 15)
    condition: Annotated[int, Meta(description="numbers of a token that cross attention reads", ge=1)] = 128
    image_tokens: Annotated[int, Meta(description="tokens made of an image embedding", ge=1)] = 4
    time_tokens: Annotated[int, Meta(description="tokens made of the timestep", ge=1)] = 2
    heads: Annotated[int, Meta(description="of self attention", ge=1)] = 16
    head_width: Annotated[int, Meta(description="numbers of one of them", ge=1)] = 32
    cross_heads: Annotated[int, Meta(description="of cross attention", ge=1)] = 8
    cross_head_width: Annotated[int, Meta(description="numbers of one of them", ge=1)] = 64
    attention: Annotated[
        tuple[bool, ...], Meta(description="which levels attend to themselves; none is none of them")
    ] = ()
    learned_variance: Annotated[bool, Meta(description="also predict the variance")] = True
    betas: Annotated[Betas, Meta(description=SCHEDULE)] = "cosine"
    predicts: Annotated[Target, Meta(description=TARGET)] = "noise"

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels before the first level, then after each."""
        return (self.width, *(self.width * m for m in self.multipliers))

    @property
    def attends(self) -> tuple[bool, ...]:
        return self.attention or (False,) * len(self.multipliers)


FIRST = UnetShape()
UPSAMPLER = UnetShape(
    size=256, width=16, multipliers=(1, 2, 4, 8, 16), condition=128, learned_variance=False, betas="linear"
)


class DecoderShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cascade of unets, as stored in a model's card."""

    embedding: int
    """Numbers in the image embedding that the first unet draws from."""
    unets: tuple[UnetShape, ...]
    timesteps: int = 100
    dropped: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    """How often the embedding was hidden in training."""
    text: int = 0
    """Numbers of a token's encoding that the first unet reads; 0 reads none."""
    text_length: int = 0
    """Places for them."""
    channels: int = 3
    """Of pixels; a codec's latents have others."""
    mean: tuple[float, ...] = ()
    """Of each channel of the latents it was trained on; none where it draws pixels."""
    deviation: tuple[float, ...] = ()
    """Standard deviations of the same."""
