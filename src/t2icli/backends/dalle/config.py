"""The shape of a DALL-E network: what `model.toml` keeps under `config`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Attention = Literal["full", "axial_row", "axial_col", "conv_like"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What may be chosen about the network."""

    dim: Annotated[int, Meta(description="width of the network", ge=4)] = 512
    depth: Annotated[int, Meta(description="pairs of attention and feed-forward", ge=1)] = 2
    heads: Annotated[int, Meta(description="attention heads", ge=1)] = 8
    dim_head: Annotated[int, Meta(description="width of one head", ge=1)] = 64
    attention: Annotated[tuple[Attention, ...], Meta(description="kinds of attention, cycled over the depth")] = (
        "full",
    )
    rotary: Annotated[bool, Meta(description="rotary positions instead of learned ones")] = False
    shift_tokens: Annotated[bool, Meta(description="mix in features of the neighbours above and left")] = False
    sandwich_norm: Annotated[bool, Meta(description="a second norm after each sublayer")] = False
    stable: Annotated[bool, Meta(description="smaller gradients to the embeddings, output divided by its maximum")] = (
        False
    )
    reversible: Annotated[bool, Meta(description="two residual streams")] = False
    shared_attention: Annotated[
        tuple[str, ...], Meta(description="ids, cycled over the layers; equal ids share one attention")
    ] = ()
    shared_feed_forward: Annotated[
        tuple[str, ...], Meta(description="ids, cycled over the layers; equal ids share one feed-forward")
    ] = ()
    shared_embeddings: Annotated[bool, Meta(description="the output layer's weights embed the input too")] = False
    attention_dropout: Annotated[float, Meta(description="dropout after attention", ge=0, lt=1)] = 0.0
    feed_forward_dropout: Annotated[float, Meta(description="dropout inside the feed-forward", ge=0, lt=1)] = 0.0
    image_weight: Annotated[float, Meta(description="weight of the image loss; the text's is 1", ge=0)] = 7.0


class Config(Options, frozen=True, kw_only=True):
    """Everything that changes the network's output or its weights."""

    text_vocabulary: Annotated[int, Meta(description="ids of the tokenizer, 0 being padding", ge=1)]
    text_length: Annotated[int, Meta(description="tokens of text", ge=1)]
    codes: Annotated[int, Meta(description="how many different image codes there are", ge=1)]
    grid: Annotated[tuple[int, int], Meta(description="rows and columns of codes in an image")]

    @property
    def text_classes(self) -> int:
        """Every text position has a padding class of its own, so that padding has trained embeddings."""
        return self.text_vocabulary + self.text_length

    @property
    def image_length(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def about(self) -> str:
        """One line for lists of models."""
        return f"{self.depth} layers of {self.dim}, {self.grid[0]} x {self.grid[1]} of {self.codes} codes"
