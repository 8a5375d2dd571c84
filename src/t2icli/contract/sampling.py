"""The settings every generator that draws codes one after another offers, each defined once."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from t2icli.contract.fields import PER_PICTURE

Temperature = Annotated[
    float,
    Meta(
        description="below 1 is more conservative, above 1 more diverse; 0 takes the most likely code",
        ge=0,
        extra=PER_PICTURE,
    ),
]
TopK = Annotated[int, Meta(description="sample from this many of the most likely codes only", ge=1, extra=PER_PICTURE)]
TopP = Annotated[
    float,
    Meta(
        description="sample from the most likely codes whose probability adds up to this",
        gt=0,
        le=1,
        extra=PER_PICTURE,
    ),
]
CfgScale = Annotated[
    float, Meta(description="guidance: how far to push away from no prompt; 1 is none", ge=0, extra=PER_PICTURE)
]
Batch = Annotated[int, Meta(description="pictures drawn at once; does not change the result", ge=1)]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"], Meta(description="number format; auto is bf16 if the processor supports it")
]
CodePrecision = Annotated[
    Literal["auto", "fp32", "bf16", "int8"],
    Meta(description="number format; auto is bf16 if the processor supports it; int8 suits large networks on a CPU"),
]
"""Of networks that draw codes one after another: few rows at a time, so that the weights' size is what counts."""
Device = Annotated[str, Meta(description="auto, cpu, cuda, cuda:1, mps")]
