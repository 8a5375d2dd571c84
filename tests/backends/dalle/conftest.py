from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from t2icli.backends.dalle import convert
from t2icli.backends.dalle.model import DallE
from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.nn import weights
from t2icli.store import upstream
from t2icli.testing import Runner

CASES = [
    "full_axial",
    "rotary_shift",
    "mixed_attn",
    "mixed_attn_rotary_shift",
    "stable_shared",
    "text2img_fork_dvae",
    "vqgan_full_axial",
]


@dataclass(frozen=True)
class Original:
    """One of DALLE-pytorch's own checkpoints, and what DALLE-pytorch computed with it."""

    folder: Path

    @cached_property
    def meta(self) -> dict[str, Any]:
        return json.loads((self.folder / "meta.json").read_text())

    @cached_property
    def expected(self) -> dict[str, Tensor]:
        return {name: torch.from_numpy(value) for name, value in np.load(self.folder / "expected.npz").items()}

    @property
    def file(self) -> Path:
        return self.folder / "dalle.pt"

    @cached_property
    def model(self) -> DallE:
        data = upstream.read(self.file).data
        config = convert.shape(data["hparams"], data["weights"], self.file)
        model = DallE(config)
        weights.fill(model, convert.network(data["weights"], config), str(self.file))
        return model.eval()


@pytest.fixture(scope="session", params=CASES)
def original(request: pytest.FixtureRequest, golden: Callable[[str], Path]) -> Original:
    return Original(golden(f"dalle/{request.param}"))


class NoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Letters:
    """A tokenizer of 60 ids, as many as the golden models read."""

    vocabulary = 60
    padding = 0

    def encode(self, texts: Sequence[str], length: int) -> Tensor:
        if any(len(text) > length for text in texts):
            warnings.warn(f"the text was cut to {length} letters", UserWarning, 2)
        ids = [[1 + ord(letter) % 59 for letter in text[:length]] for text in texts]
        return torch.tensor([row + [0] * (length - len(row)) for row in ids])

    def decode(self, tokens: Tensor) -> list[str]:
        raise NotImplementedError("letters are not needed back")


class LettersPlugin:
    @hookimpl
    def t2i_tokenizers(self) -> list[Entry]:
        return [Entry("letters", "60 ids, one a letter", NoSettings, lambda _: Letters())]


@pytest.fixture
def letters(t2i: Runner) -> type[Letters]:
    """That tokenizer, installed under the name `letters`."""
    t2i.use(LettersPlugin())
    return Letters
