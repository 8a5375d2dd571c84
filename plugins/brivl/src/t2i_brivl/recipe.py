"""What a BriVL is trained with. Light: the plugin's hooks import it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from t2i_brivl.shape import BrivlShape
from t2icli.contract.entries import Size
from t2icli.contract.fields import Start
from t2icli.training.settings import LoopSettings


class Objective(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The momentum-queue contrast; BriVL 1.0 had a queue of 9600 and no negatives from the batch."""

    queue: Annotated[int, Meta(description="length of the queue of negatives", ge=0)] = 2048
    momentum: Annotated[float, Meta(description="momentum of the momentum towers", ge=0, lt=1)] = 0.99
    temperature: Annotated[float, Meta(description="temperature of the contrastive loss", gt=0)] = 0.07
    in_batch: Annotated[bool, Meta(description="use the other pairs of the batch as negatives too")] = True
    duplicates: Annotated[
        Literal["ignore", "wrong"],
        Meta(description="whether a repeated picture or sentence is ignored or a negative"),
    ] = "ignore"


class RecipeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A small BriVL by default, which learns on a CPU; `shape` makes it any size."""

    shape: Annotated[BrivlShape, Meta(description="sizes of both towers; not with `start`")] = BrivlShape()
    objective: Annotated[Objective, Meta(description="the contrast")] = Objective()
    vocabulary: Annotated[str | None, Meta(description="vocab.txt of the `bert` text tower")] = None
    start: Annotated[Start, Meta(description="a BriVL model to continue from")] = None
    cnn_from: Annotated[int, Meta(description="first block of a timm network that is trained", ge=0)] = 0
    bert_from: Annotated[int, Meta(description="first layer of BERT that is trained", ge=0)] = 0
    crop: Annotated[float, Meta(description="smallest side of a random crop; 1 disables cropping", gt=0, le=1)] = 0.9
    loop: Annotated[LoopSettings, Meta(description="the training loop")] = LoopSettings(
        batch_size=128, lr=1e-3, weight_decay=0.01, clip=1.0, schedule="cosine", warmup=50
    )


SIZES: dict[Size, dict[str, Any]] = {
    "tiny": {"loop": {"batch_size": 64, "max_steps": 1500}},
    "small": {
        "shape": {"width": 160, "image_size": 96, "features": 256, "ngrams": {"longest": 2}},
        "objective": {"temperature": 0.04},
        "loop": {"max_steps": 6000},
    },
    "base": {
        "shape": {"width": 256, "image_size": 128, "features": 512},
        "objective": {"queue": 8192},
        "loop": {"batch_size": 256, "max_steps": 20_000},
    },
}
