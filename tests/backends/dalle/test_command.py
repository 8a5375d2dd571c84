"""DALL-E through the front door: a model with its codec inside is drawn with, configured again, and replayed."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2icli.backends.dalle import convert
from t2icli.contract.entries import Upstream
from t2icli.ground import toml
from t2icli.pictures import images
from t2icli.testing import Runner

pytestmark = pytest.mark.filterwarnings("ignore:the text was cut")


@pytest.fixture
def model(golden, letters: type, t2i: Runner) -> str:
    folder = t2i.home / "models/dalle/tiny"
    folder.mkdir(parents=True)
    with pytest.warns(UserWarning, match="no known tokenizer"):
        convert.convert(Upstream((golden("dalle/mixed_attn_rotary_shift/dalle.pt"),), {}), folder)
    return "dalle/tiny"


def test_the_settings_of_a_run_name_the_codec_inside_the_model(t2i: Runner, model: str) -> None:
    words = ("-n", 2, "--seed", 4, "-m", model, "-o", "tokenizer=letters", "-o", "top_k=5", "--batch-size", 2)
    t2i.ok("generate", "面", *words, "--output", "a")
    assert toml.read(Path("a/settings.toml"))["option"]["codec"]["model"] == "dalle/tiny:codec"
    t2i.ok("generate", "--config", "a/settings.toml", "--output", "b")
    for number in range(2):
        first, second = (images.read_record(Path(folder, f"{number:03d}.png")) for folder in "ab")
        assert first == second
        assert first["sha256"] and first["versions"]["torch"] and first["device"] == "cpu"


def test_a_picture_is_made_again_alone_and_agrees(t2i: Runner, model: str) -> None:
    words = ("-n", 2, "--seed", 4, "-m", model, "-o", "tokenizer=letters", "-o", "batch=2")
    t2i.ok("generate", "面", *words, "--output", "a")
    assert t2i.ok("replay", "a/001.png", "--json").json()["differences"] == []
