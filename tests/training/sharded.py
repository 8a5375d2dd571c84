"""What one of two processes does that share a model; see test_recompute.py."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from t2icli.nn.gpt import Decoder, GptShape
from t2icli.training.devices import World, full_state, shard
from t2icli.training.recompute import recompute


def compare(rank: int, folder: Path) -> None:
    """Fails unless the gradients of sharded blocks are the same with --grad-checkpointing."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    plain, less = (gradients(checkpoints) for checkpoints in (False, True))
    assert len(plain) > 20 and all(a.equal(b) for a, b in zip(plain, less, strict=True))
    dist.destroy_process_group()
    (folder / f"equal{rank}").touch()


def gradients(checkpoints: bool) -> list[Tensor]:
    torch.manual_seed(0)
    model = Decoder(GptShape(width=16, layers=2, heads=2))
    if checkpoints:
        recompute(model)
    shard(model, World(torch.device("cpu"), dist.get_rank(), 2))
    model(torch.ones(1, 3, 16).cumsum(1)).square().mean().backward()
    return [full_state(parameter.grad) for parameter in model.parameters()]
