"""`vqa`: how sure a vision-language model is that a picture shows the prompt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import t2i_transformers
from t2icli import load
from t2icli.ground.errors import T2IError
from t2icli.testing import Runner, check_ranker
from t2icli.testing.contracts import pictures

Tiny = Callable[[str], Path]


@pytest.mark.parametrize("kind", ["qwen3_vl", "qwen2_vl", "internvl", "smolvlm"])
def test_it_keeps_the_promises_of_a_ranker(kind: str, tiny: Tiny) -> None:
    check_ranker(t2i_transformers.t2i_rankers()[0], source=tiny(kind), precision="fp32", device="cpu")


def ranker(folder: Path, **options: Any) -> Any:
    return load("ranker", "vqa", source=folder, precision="fp32", device="cpu", **options)


def test_the_score_is_the_probability_of_yes_among_yes_and_no(tiny: Tiny) -> None:
    folder, image = tiny("qwen3_vl"), pictures()[0]
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    text = (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Is this a plate?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    with torch.no_grad():
        logits = model(**processor(text=[text], images=[image], return_tensors="pt")).logits[0, -1]
    first = {word: processor.tokenizer(word)["input_ids"][0] for word in ("A", "B", "a", "b")}
    yes, no = (logits[[first[word], first[word.upper()]]].logsumexp(0) for word in ("a", "b"))
    expected = torch.sigmoid(yes - no).item()
    (score,) = ranker(folder, question="Is this {prompt}?", yes="a", no="b").score("a plate", [image])
    assert score == pytest.approx(expected, abs=1e-5)


def test_the_language_of_the_question_follows_the_prompt(tiny: Tiny) -> None:
    found = ranker(tiny("qwen3_vl"))
    assert found.form("红烧牛肉面").yes == "是" and "“{prompt}”" in found.form("红烧牛肉面").question
    assert found.form("beef noodles").yes == "yes"
    assert ranker(tiny("qwen3_vl"), language="zh").form("beef noodles").yes == "是"


def test_a_reranker_is_asked_as_it_was_trained(tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "Qwen3-VL-Reranker-2B"
    folder.symlink_to(tiny("qwen3_vl"))
    found = ranker(folder)
    assert found.form("红烧牛肉面").question.startswith("<Instruct>")
    assert found.score("红烧牛肉面", pictures()[:1]) != ranker(tiny("qwen3_vl")).score("红烧牛肉面", pictures()[:1])


def test_a_question_without_the_prompt_and_words_alike_are_refused(tiny: Tiny) -> None:
    with pytest.raises(T2IError, match="the question does not ask for the prompt"):
        ranker(tiny("qwen3_vl"), question="Is it good?").score("x", pictures()[:1])
    with pytest.raises(T2IError, match="'yes' and 'yeah' begin with the same token"):
        ranker(tiny("qwen3_vl"), no="yeah").score("x", pictures()[:1])
    with pytest.raises(T2IError, match="has no chat template"):
        ranker(tiny("blip")).score("x", pictures()[:1])


def test_it_ranks_through_the_command(t2i: Runner, tiny: Tiny) -> None:
    t2i.use(t2i_transformers)
    for index, image in enumerate(pictures()[:3]):
        image.save(f"{index}.png")
    source = ("-r", "vqa", "-o", f"source={tiny('qwen3_vl')}")
    page = t2i.ok("rerank", "红烧牛肉面", "0.png", "1.png", "2.png", *source, "--json").json()
    assert len(page["results"]) == 3 and all(0 <= row["score"] <= 1 for row in page["results"]), page
