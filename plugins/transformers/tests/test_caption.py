"""`vlm`: captions that depend on their picture and seed alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import t2i_transformers
from t2i_transformers.caption import GumbelNoise, filtered
from t2icli import load
from t2icli.ground.errors import T2IError
from t2icli.testing import Runner, check_captioner
from t2icli.testing.contracts import pictures

Tiny = Callable[[str], Path]
KINDS = ["qwen3_vl", "qwen2_vl", "internvl", "smolvlm", "florence2", "blip"]


def captioner(folder: Path, **options: Any) -> Any:
    return load("captioner", "vlm", source=folder, max_tokens=6, precision="fp32", device="cpu", **options)


@pytest.mark.parametrize("kind", KINDS)
def test_it_keeps_the_promises_of_a_captioner(kind: str, tiny: Tiny) -> None:
    entry = t2i_transformers.t2i_captioners()[0]
    check_captioner(entry, source=tiny(kind), max_tokens="6", precision="fp32", device="cpu")


@pytest.mark.parametrize("kind", ["qwen3_vl", "qwen2_vl", "internvl", "smolvlm", "blip"])
def test_the_picture_the_seed_and_the_question_decide(kind: str, tiny: Tiny) -> None:
    one = pictures()[0]
    found = captioner(tiny(kind), temperature=1.0, top_p=1.0)
    ((first, second),) = found.caption([one], 2, seed=7)
    assert first != second and found.caption([one], 1, seed=7) == [[first]]
    greedy = captioner(tiny(kind), temperature=0)
    assert greedy.caption([one], 1, seed=1) == greedy.caption([one], 1, seed=2)
    if kind in ("qwen3_vl", "qwen2_vl"):  # the others are too small to care, or are not asked
        asked = captioner(tiny(kind), temperature=0, question="What colour is it?")
        assert asked.caption([one], 1, seed=1) != greedy.caption([one], 1, seed=1)


def test_rows_of_a_full_batch_are_those_drawn_alone_but_for_rounding(tiny: Tiny) -> None:
    """As on a GPU, where several captions of a picture are drawn at once, always as many."""
    one, found = pictures()[0], captioner(tiny("qwen3_vl"))
    alone = found.caption([one], 3, seed=7)
    found.batch = 4
    assert found.caption([one], 3, seed=7) == alone


def test_a_package_that_a_processor_needs_is_named(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.smolvlm import processing_smolvlm

    folder = tiny("smolvlm")
    monkeypatch.setattr(processing_smolvlm, "num2words", None)
    with pytest.raises(T2IError, match="Package `num2words` is required") as caught:
        captioner(folder)
    assert caught.value.hint == "run: t2i install num2words"


def test_gumbel_noise_samples_the_distribution() -> None:
    settings = t2i_transformers.VlmSettings(temperature=1.0, top_p=None)
    wanted = torch.tensor([0.5, 0.3, 0.2])
    rows = 4000
    scores = wanted.log().expand(rows, -1)
    drawn = GumbelNoise(range(rows), settings)(torch.empty(rows, 0), scores).argmax(-1)
    found = torch.bincount(drawn, minlength=3) / rows
    assert torch.allclose(found, wanted, atol=0.03)


def test_top_k_and_top_p_leave_the_likeliest() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert filtered(logits, 2, None).isfinite().tolist() == [[True, True, False, False]]
    assert filtered(logits, None, 0.6).isfinite().tolist() == [[True, True, False, False]]
    assert filtered(logits, None, 0.9).isfinite().tolist() == [[True, True, True, False]]


def test_chinese_users_are_answered_in_chinese(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_LANG", "zh")
    assert captioner(tiny("qwen3_vl")).question == "请用一句话描述这张图片。"
    assert captioner(tiny("qwen3_vl"), language="en").question == "Describe this picture in one sentence."


def test_it_captions_through_the_command(t2i: Runner, tiny: Tiny) -> None:
    t2i.use(t2i_transformers)
    pictures()[0].save("0.png")
    model = ("-m", "vlm", "-o", f"source={tiny('qwen3_vl')}", "-o", "max_tokens=6", "-o", "precision=fp32")
    once, again = (t2i.ok("caption", "0.png", *model, "-n", 2, "--seed", 7, "--json").json() for _ in range(2))
    assert once == again and len(once["results"][0]["captions"]) == 2
