"""docs/models.md: its card opens and its code runs."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import torch

from t2icli.contract.entries import Upstream
from t2icli.ground import toml
from t2icli.store import models

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "models.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_card_of_the_page_is_a_card(tmp_path: Path) -> None:
    (card,) = blocks("toml")
    (tmp_path / models.CARD).write_text(card, encoding="utf-8")
    written = msgspec.to_builtins(models.open_model(tmp_path).card)
    assert {key: value for key, value in written.items() if value} == toml.read(tmp_path / models.CARD)


def test_the_code_of_the_page_saves_loads_and_converts(tmp_path: Path) -> None:
    here: dict[str, Any] = {"network": lambda config: torch.nn.Linear(config["width"], 1)}
    for block in blocks("python"):
        exec(block, here)
    module = here["network"]({"width": 8})
    torch.save({"model": module.state_dict()}, tmp_path / "upstream.pt")
    here["convert"](Upstream((tmp_path / "upstream.pt",), {}), tmp_path / "model")
    loaded = here["load"](SimpleNamespace(model=models.open_model(tmp_path / "model")))
    assert torch.equal(loaded.weight, module.weight)
