"""How long, how fast and how carefully to train; the same for every recipe. Light: no torch."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class LoopSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Flags of `t2i train` set these: `--lr 1e-4` is `loop.lr`."""

    epochs: Annotated[float, Meta(description="passes over the data, unless max_steps is given", gt=0)] = 20.0
    max_steps: Annotated[int | None, Meta(description="total number of optimizer steps; overrides epochs")] = None
    batch_size: Annotated[int, Meta(description="samples in one step, over all devices and accumulation", ge=1)] = 32
    grad_accum: Annotated[int, Meta(description="micro-batches per device and step", ge=1)] = 1
    grad_checkpointing: Annotated[
        bool, Meta(description="recompute blocks in the backward pass instead of keeping them: less memory, more time")
    ] = False
    optimizer: Annotated[
        Literal["adam", "adamw", "muon"],
        Meta(description="algorithm; adamw decouples the weight decay, muon needs fewer steps for transformers"),
    ] = "adamw"
    lr: Annotated[float, Meta(description="peak learning rate, after warmup", gt=0)] = 3e-4
    betas: Annotated[tuple[float, float], Meta(description="Adam's averaging factors")] = (0.9, 0.999)
    eps: Annotated[float, Meta(description="Adam's guard against division by zero", gt=0)] = 1e-8
    weight_decay: Annotated[float, Meta(description="weight decay", ge=0)] = 0.0
    clip: Annotated[float, Meta(description="largest norm of a turn's gradient; 0 leaves it alone", ge=0)] = 0.0
    schedule: Annotated[
        Literal["constant", "cosine", "linear", "plateau", "exponential"],
        Meta(description="learning rate after warmup"),
    ] = "constant"
    warmup: Annotated[int, Meta(description="steps over which the learning rate rises from zero", ge=0)] = 0
    warmup_part: Annotated[
        float, Meta(description="fraction of all steps used for warmup, if warmup is 0", ge=0, lt=1)
    ] = 0.0
    min_lr: Annotated[float, Meta(description="learning rate that a schedule does not go below", ge=0)] = 0.0
    lr_decay: Annotated[float, Meta(description="factor of the exponential and plateau schedules", gt=0, le=1)] = 0.5
    lr_decay_every: Annotated[int, Meta(description="steps between the exponential schedule's factors", ge=1)] = 1000
    lr_patience: Annotated[int, Meta(description="evaluations without gain before the plateau factor", ge=0)] = 10
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        Meta(
            description="number format of the forward pass; auto is bf16 where the device has it; fp16 scales the loss"
        ),
    ] = "fp32"
    compile: Annotated[
        bool, Meta(description="compile the training step with torch.compile: takes a minute, then steps are faster")
    ] = False
    channels_last: Annotated[bool, Meta(description="keep image tensors channels-last; helps convolutions")] = False
    ema: Annotated[
        float, Meta(description="decay of the weights' moving average, which is what is saved; 0 is off", ge=0, lt=1)
    ] = 0.0
    seed: Annotated[int, Meta(description="random seed", ge=0)] = 0
    shuffle_window: Annotated[
        int,
        Meta(
            description="shuffle this many samples at a time, which are runs of neighbours; 0 shuffles all of them",
            ge=0,
        ),
    ] = 0
    similar: Annotated[
        int,
        Meta(
            description="how many samples with similar captions come together in a batch, so that clip and brivl learn "
            "finer differences; 1 shuffles all of them",
            ge=1,
        ),
    ] = 1
    workers: Annotated[int, Meta(description="processes that read data; 0 reads in the training process", ge=0)] = 0
    log_every: Annotated[int, Meta(description="steps between lines of log.jsonl", ge=1)] = 10
    eval_every: Annotated[int, Meta(description="steps between evaluations; 0 is only at the end", ge=0)] = 500
    eval_batches: Annotated[int, Meta(description="at most this many batches in an evaluation", ge=1)] = 50
    preview_every: Annotated[int, Meta(description="steps between previews; 0 is never", ge=0)] = 500
    save_every: Annotated[int, Meta(description="steps between checkpoints; 0 is only at the end", ge=0)] = 500
    save_in_background: Annotated[
        bool, Meta(description="train on while checkpoints of a sharded model are written; the model itself at the end")
    ] = False
    keep: Annotated[int, Meta(description="checkpoints to keep, the newest", ge=1)] = 2
    on_nan: Annotated[
        Literal["stop", "skip"], Meta(description="if the loss is NaN or infinite: stop, or skip the step")
    ] = "stop"
    on_bad_sample: Annotated[
        Literal["stop", "skip"], Meta(description="if a sample cannot be read: stop, or take the next one")
    ] = "stop"


FREE_TO_CHANGE = frozenset(
    "workers log_every eval_every eval_batches preview_every save_every keep on_nan on_bad_sample".split()
) | {"grad_checkpointing", "save_in_background"}
"""Settings a resumed run may change, for they do not touch the weights."""
