from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from t2i_brivl.convert import convert, inferred, renamed
from t2i_brivl.model import Brivl
from t2i_brivl.shape import FULL
from t2icli.errors import T2IError
from t2icli.kinds import Upstream


def test_every_tensor_of_the_released_checkpoint_has_its_place(golden: Callable[[str], Path]) -> None:
    keys = json.loads(golden("brivl/full_checkpoint_keys.json").read_text())["keys"]
    with torch.device("meta"):
        state = renamed({name: torch.empty(about["shape"]) for name, about in keys.items()})
        assert inferred(state, {}) == FULL
        own = Brivl(FULL).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        name: tuple(value.shape) for name, value in own.items()
    }


def test_without_its_vocabulary_the_message_says_which(brivl: Path, tmp_path: Path) -> None:
    with pytest.raises(T2IError, match="one vocabulary") as error:
        convert(Upstream((brivl / "brivl_tiny.pth",), {}), tmp_path)
    assert "vocab.txt of hfl/chinese-roberta-wwm-ext" in str(error.value.hint)


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    torch.save({"learnable": {"weight": torch.zeros(2)}}, tmp_path / "x.pth")
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    with pytest.raises(T2IError, match="holds no BriVL"):
        convert(Upstream((tmp_path / "x.pth", tmp_path / "vocab.txt"), {}), tmp_path / "model")
