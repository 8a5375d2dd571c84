"""How large a BriVL is: the `config` of its model card. Light, for settings nest it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Bert(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The text tower of BriVL 1.0: BERT, a transformer over its tokens, and their mean."""

    vocabulary: Annotated[int, Meta(description="lines of vocab.txt", ge=103)] = 21128
    width: Annotated[int, Meta(description="of BERT's hidden states", ge=1)] = 768
    layers: Annotated[int, Meta(description="of BERT", ge=1)] = 12
    heads: Annotated[int, Meta(description="of BERT; divides its width", ge=1)] = 12
    inner: Annotated[int, Meta(description="width of BERT's feed-forward layers", ge=1)] = 3072
    positions: Annotated[int, Meta(description="longest text BERT has positions for", ge=1)] = 512
    top_layers: Annotated[int, Meta(description="transformer layers over BERT's tokens", ge=1)] = 4
    top_heads: Annotated[int, Meta(description="heads of those layers", ge=1)] = 4
    length: Annotated[int, Meta(description="tokens of a text, padding included; changes the embedding", ge=3)] = 80


class Ngrams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A small text tower that needs no vocabulary and learns fast: a bag of hashed character and word n-grams."""

    buckets: Annotated[int, Meta(description="different hashes of n-grams", ge=2)] = 8192
    width: Annotated[int, Meta(description="of an n-gram's vector", ge=1)] = 160
    longest: Annotated[int, Meta(description="most characters or words in an n-gram", ge=1)] = 3
    length: Annotated[int, Meta(description="n-grams of a text that are read", ge=1)] = 96


class BrivlShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Both towers. The defaults are a small one; `FULL` is BriVL 1.0."""

    width: Annotated[int, Meta(description="of the embedding", ge=1)] = 128
    image: Annotated[str, Meta(description="image network: `conv`, or a name timm knows")] = "conv"
    image_size: Annotated[int, Meta(description="pixels that images are resized to, both ways", ge=8)] = 64
    features: Annotated[int, Meta(description="channels of the image network's last map", ge=1)] = 192
    grid: Annotated[int, Meta(description="points a box is sampled at, each way", ge=1)] = 4
    boxes: Annotated[int, Meta(description="most boxes of an image, the whole image included", ge=1)] = 1
    top_layers: Annotated[int, Meta(description="transformer layers over an image's boxes", ge=0)] = 0
    top_heads: Annotated[int, Meta(description="heads of those layers", ge=1)] = 4
    text: Annotated[Literal["ngrams", "bert"], Meta(description="which text tower")] = "ngrams"
    bert: Annotated[Bert, Meta(description="the `bert` text tower")] = Bert()
    ngrams: Annotated[Ngrams, Meta(description="the `ngrams` text tower")] = Ngrams()


FULL = BrivlShape(
    width=2048,
    image="tf_efficientnet_b5",
    image_size=380,
    features=2048,
    boxes=37,
    top_layers=4,
    text="bert",
)
"""BriVL 1.0 as released: 380 pixels since September 2021, 456 before that."""
