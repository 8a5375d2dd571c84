"""What can be asked of prepared data: rules for captions and pictures, limits for fetching, presets of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from t2icli.prepare.scores import Scoring

Count = Annotated[int, Meta(ge=0)]
Size = Annotated[int, Meta(ge=1)]


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which rows to keep, and how their pictures are stored. `-o rules.KEY=VALUE`."""

    max_length: Annotated[Count | None, Meta(description="longest caption, in characters")] = None
    min_length: Annotated[int, Meta(description="shortest caption, in characters", ge=0)] = 0
    forbidden: Annotated[str, Meta(description="no caption with any of these characters")] = ""
    digits: Annotated[bool, Meta(description="allow decimal digits of any script in captions")] = True
    longest_piece: Annotated[
        Count | None, Meta(description="longest run without a space, ASCII comma or semicolon")
    ] = None
    words: Annotated[str | None, Meta(description="a file of words, one a line: a caption must hold one of them")] = (
        None
    )
    languages: Annotated[
        tuple[str, ...], Meta(description="only captions in these, by script: zh, ja, ko, en, ...")
    ] = ()
    captions: Annotated[Literal["optional", "required"], Meta(description="require a caption for every picture")] = (
        "optional"
    )
    max_pixels: Annotated[
        int, Meta(description="largest number of pixels of an image, checked before decoding", ge=1)
    ] = 64_000_000
    max_aspect: Annotated[
        Annotated[float, Meta(ge=1)] | None, Meta(description="longest side over shortest, at most; never above 100")
    ] = None
    min_side: Annotated[int, Meta(description="shortest side in pixels, at least", ge=0)] = 0
    min_area: Annotated[int, Meta(description="width x height in pixels, at least", ge=0)] = 0
    area: Annotated[
        Literal["width-height", "width-width"],
        Meta(description="how min_area is computed; text2img's code squared the width"),
    ] = "width-height"
    measure: Annotated[
        Literal["original", "stored"], Meta(description="which size max_aspect, min_side and min_area look at")
    ] = "original"
    max_side: Annotated[Size | None, Meta(description="shrink so that no side is longer; never enlarges")] = None
    upright: Annotated[bool, Meta(description="rotate photos as their EXIF orientation says")] = True
    transparent: Annotated[
        Literal["white", "drop"], Meta(description="background of transparent pixels: white, or the hidden colour")
    ] = "white"
    store: Annotated[
        Literal["auto", "jpg", "png"],
        Meta(description="file format; auto keeps a good RGB file byte for byte and else picks by what it was"),
    ] = "auto"
    quality: Annotated[int, Meta(description="quality of JPEG files that have to be re-encoded", ge=1, le=100)] = 95
    duplicates: Annotated[
        Literal["keep", "exact", "similar"],
        Meta(description="exact: drop equal rows and equal image files; similar: also images that look alike"),
    ] = "exact"
    distance: Annotated[
        int, Meta(description="bits, of 64, in which the hashes of similar images may differ", ge=0, le=3)
    ] = 2


class FetchLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How images are fetched. `-o fetch.KEY=VALUE`."""

    concurrency: Annotated[int, Meta(description="addresses fetched at once", ge=1)] = 128
    per_host: Annotated[int, Meta(description="of these, largest number to one host", ge=1)] = 16
    timeout: Annotated[float, Meta(description="seconds for one try, from look-up to last byte", gt=0)] = 20.0
    tries: Annotated[
        int, Meta(description="tries for temporary failures: 429, 5xx, broken connections, time-outs", ge=1)
    ] = 3
    wait: Annotated[float, Meta(description="seconds before the second try, doubled each time", ge=0)] = 0.5
    max_wait: Annotated[float, Meta(description="longest wait in seconds, even if Retry-After asks for more", ge=0)] = (
        30.0
    )
    max_bytes: Annotated[int, Meta(description="largest response body in bytes", ge=1)] = 32 << 20
    redirects: Annotated[int, Meta(description="redirects to follow", ge=0)] = 5
    opt_out: Annotated[
        bool, Meta(description="respect X-Robots-Tag noai, noimageai, noindex, noimageindex and TDM")
    ] = True
    agent: Annotated[str, Meta(description="User-Agent header to send")] = "t2icli (prepares image-text data)"
    allow_private: Annotated[bool, Meta(description="also fetch from private and local addresses")] = False


PRESETS: Mapping[str, Mapping[str, Any]] = {
    # text2img's form_data/dealData_wukong.ipynb, slips included; its word list travels separately.
    "wukong-food": {
        "max_length": 32,
        "forbidden": '？【】《》:?<>"',
        "digits": False,
        "longest_piece": 18,
        "captions": "required",
        "max_side": 512,
        "max_aspect": 3.0,
        "min_area": 1001,
        "area": "width-width",
        "measure": "stored",
        "upright": False,
        "transparent": "drop",
        "store": "jpg",
        "quality": 75,
        "duplicates": "keep",
    },
}
NEEDS_WORDS = frozenset({"wukong-food"})


class PreparePlan(msgspec.Struct, frozen=True):
    """All settings that decide a row's status."""

    rules: Rules = Rules()
    limits: FetchLimits = FetchLimits()
    shard_rows: int = 5000
    scoring: Scoring | None = None
