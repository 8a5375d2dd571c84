"""What `--grad-checkpointing` saves: peak memory and CPU seconds of a training step, without and with it.

    OMP_NUM_THREADS=1 python benchmarks/checkpointing.py

Each row is measured in a process of its own. Memory is what the step needs beside weights and Python, with gradients.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from table import record
from torch import Tensor, nn

from t2icli.backends.dalle.config import Config
from t2icli.backends.dalle.model import DallE
from t2icli.ground import memory
from t2icli.nn.gpt import Decoder, GptShape
from t2icli.training.batch import peak_memory
from t2icli.training.recompute import recompute

BATCH = 8
ABOUT = """\
Forward and backward of a batch of 8 in fp32, without and with `--grad-checkpointing`, each in a process of its own.
Memory is what the step takes beside weights and Python, gradients included. `dalle` is DALL-E's reference network,
8 layers of 512 over 337 positions; `gpt` is the blocks of a prior, 12 layers of 512 over 257 positions."""


def dalle() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    """DALL-E's reference network: 8 layers of 512, 80 words and 256 codes."""
    shape = {"dim": 512, "depth": 8, "heads": 8, "dim_head": 64, "text_length": 80, "grid": (16, 16)}
    model = DallE(Config(**shape, text_vocabulary=7800, codes=1024))
    text, codes = torch.randint(1, 7800, (BATCH, 80)), torch.randint(1024, (BATCH, 256))
    return model, lambda model: model.loss(text, codes)[0]


def gpt() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    """The blocks of a prior such as CLIP-GEN's, of a smaller size: 12 layers of 512 over 257 positions."""
    x = torch.randn(BATCH, 257, 512)
    return Decoder(GptShape(width=512, layers=12, heads=8)), lambda model: model(x).square().mean()


NETWORKS = {"dalle": dalle, "gpt": gpt}


def main() -> None:
    if len(sys.argv) == 3:
        print(json.dumps(measured(sys.argv[1], sys.argv[2] == "with")))
        return
    rows = [(name, how, *_apart(name, how)) for name in NETWORKS for how in ("without", "with")]
    torch.set_num_threads(1)
    record("Memory of a training step", ABOUT, ("network", "--grad-checkpointing", "MiB of a step", "CPU s"), rows)


def _apart(name: str, how: str) -> tuple[int, float]:
    words = [sys.executable, __file__, name, how]
    bytes_, seconds = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return round(bytes_ / 2**20), seconds


def measured(name: str, checkpoints: bool) -> tuple[int, float]:
    torch.set_num_threads(1)
    model, loss = NETWORKS[name]()
    if checkpoints:
        recompute(model)
    before, begun = memory.in_use() or 0, time.process_time()
    with peak_memory(torch.device("cpu")) as peak:
        loss(model).backward()
    return peak.bytes - before, time.process_time() - begun


if __name__ == "__main__":
    main()
