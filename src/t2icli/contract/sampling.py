"""The settings every generator that draws codes one after another offers, each said once."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

Temperature = Annotated[float, Meta(description="below 1 plays safe, above 1 dares; 0 takes the likeliest", ge=0)]
TopK = Annotated[int, Meta(description="draw from this many of the likeliest only", ge=1)]
TopP = Annotated[float, Meta(description="draw from the likeliest that make up this much probability", gt=0, le=1)]
CfgScale = Annotated[float, Meta(description="guidance: how far to push away from no prompt; 1 is none", ge=0)]
Batch = Annotated[int, Meta(description="how many are drawn at once; does not change them", ge=1)]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"], Meta(description="number format; auto is bf16 where the processor has it")
]
CodePrecision = Annotated[
    Literal["auto", "fp32", "bf16", "int8"],
    Meta(description="number format; auto is bf16 where the processor has it; int8 suits large networks on a CPU"),
]
"""Of networks that draw codes one after another: few rows at a time, so that the weights' size is what counts."""
Device = Annotated[str, Meta(description="auto, cpu, cuda, cuda:1, mps")]
