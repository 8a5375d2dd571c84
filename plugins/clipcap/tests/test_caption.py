from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from t2i_clipcap.words import as_text, open_words
from t2icli import load
from t2icli.ground.errors import T2IError
from t2icli.nn import int8, weights
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.testing import check_captioner

IMAGES = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]


@pytest.mark.usefixtures("fake")
def test_clipcap_keeps_a_captioners_promises(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "LEAST", 0)
    entry = discovery.find("captioner", "clipcap")
    check_captioner(entry, model=tiny_model, embedder="fake", max_tokens=8)
    check_captioner(entry, model=tiny_model, embedder="fake", max_tokens=8, beams=3)
    if int8.is_possible():
        check_captioner(entry, model=tiny_model, embedder="fake", max_tokens=8, precision="int8")


@pytest.mark.usefixtures("fake")
def test_captions_depend_on_image_and_seed_alone(tiny_model: Path) -> None:
    one = load("captioner", "clipcap", model=tiny_model, embedder="fake", max_tokens=8, batch=1)
    all_at_once = load("captioner", "clipcap", model=tiny_model, embedder="fake", max_tokens=8, batch=3)
    captions = all_at_once.caption(IMAGES, 3, seed=5)
    assert one.caption(IMAGES, 3, seed=5) == captions
    assert [of_image[:1] for of_image in captions] == all_at_once.caption(IMAGES, 1, seed=5)
    assert captions[1:] == all_at_once.caption(IMAGES[1:], 3, seed=6)
    assert captions[0] != captions[1]


@pytest.mark.usefixtures("fake")
def test_states_fit_to_be_replayed_give_the_same_captions(
    tiny_model: Path, fix_states: Callable[[], list[Any]]
) -> None:
    captioner = load("captioner", "clipcap", model=tiny_model, embedder="fake", max_tokens=8)
    expected = captioner.caption(IMAGES, 3, seed=5)
    states = fix_states()
    assert captioner.caption(IMAGES, 3, seed=5) == expected
    assert states


@pytest.mark.usefixtures("fake")
def test_the_captions_of_an_image_are_drawn_apart(tiny_model: Path) -> None:
    captioner = load("captioner", "clipcap", model=tiny_model, embedder="fake", max_tokens=8, temperature=2.0)
    for captions in captioner.caption(IMAGES, 4, seed=5):
        assert len(set(captions)) > 1


@pytest.mark.usefixtures("fake")
def test_of_several_candidates_those_that_fit_their_image_best_are_given(tiny_model: Path) -> None:
    parts = {"model": tiny_model, "embedder": "fake", "max_tokens": 8, "temperature": 2.0}
    all_twelve = load("captioner", "clipcap", **parts)
    chooser = load("captioner", "clipcap", candidates=6, **parts)
    embedder = chooser.embedder
    images = embedder.embed_images(IMAGES)
    drawn, chosen = all_twelve.caption(IMAGES, 12, seed=5), chooser.caption(IMAGES, 2, seed=5)
    for image, candidates, best in zip(images, drawn, chosen, strict=True):
        nearness = (embedder.embed_texts(candidates) @ image).tolist()
        ranked = sorted(set(candidates), key=lambda caption: -nearness[candidates.index(caption)])
        assert best == ranked[:2]
    check_captioner(discovery.find("captioner", "clipcap"), candidates=3, **parts)


@pytest.mark.usefixtures("fake")
def test_candidates_that_the_embedder_cuts_are_no_news(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chooser = load("captioner", "clipcap", model=tiny_model, embedder="fake", max_tokens=8, candidates=6)
    embed = chooser.embedder.embed_texts

    def cut(texts: Sequence[str]) -> Tensor:
        warnings.warn("it was cut", UserWarning, stacklevel=1)
        return embed(texts)

    monkeypatch.setattr(chooser.embedder, "embed_texts", cut)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        chooser.caption(IMAGES, 1, seed=0)
    assert not said


@pytest.mark.usefixtures("fake")
def test_a_caption_that_ends_at_once_is_empty_not_a_crash(tiny_model: Path) -> None:
    captioner = load("captioner", "clipcap", model=tiny_model, embedder="fake", max_tokens=8)

    class Ended(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(torch.full((len(x),), captioner.stop), 18).float() * 1e4

    captioner.model.head = Ended()
    assert captioner.caption(IMAGES, 2, seed=0) == [["", ""]] * 3


@pytest.mark.usefixtures("fake")
def test_one_beam_is_the_likeliest_caption_and_beams_are_best_first(tiny_model: Path) -> None:
    def captions(**settings: object) -> list[list[str]]:
        captioner = load("captioner", "clipcap", model=tiny_model, embedder="fake", max_tokens=8, **settings)
        return captioner.caption(IMAGES, 1, seed=0)

    assert captions(beams=1) == captions(temperature=0.0)


@pytest.mark.usefixtures("fake")
def test_more_captions_than_beams_are_refused(tiny_model: Path) -> None:
    captioner = load("captioner", "clipcap", model=tiny_model, embedder="fake", beams=2)
    with pytest.raises(T2IError, match="2 beams cannot give 3 captions"):
        captioner.caption(IMAGES, 3, seed=0)


@pytest.mark.usefixtures("fake")
def test_an_embedding_of_another_width_is_refused_and_both_are_named(tiny_model: Path) -> None:
    with pytest.raises(T2IError, match=r"expects embeddings of width 16, but Embedder has width 24"):
        load("captioner", "clipcap", model=tiny_model, embedder={"name": "fake", "width": 24})


@pytest.mark.parametrize("beams", [0, 2])
def test_a_broken_model_is_refused_and_says_nothing(fake: Any, tiny_model: Path, beams: int) -> None:
    model = models.open_model(tiny_model)
    captioner = load("captioner", "clipcap", model=model, embedder="fake")
    captioner.model.decoder.norm.weight.data[0] = torch.nan
    weights.save(captioner.model, tiny_model)
    models.seal(tiny_model, model.card)
    Image.new("RGB", (8, 8)).save("a.png")
    words = ("-m", tiny_model, "-o", "embedder=fake", "-o", "max_tokens=8", "-o", f"beams={beams}")
    fake.fails("caption", "a.png", *words, code=1, says="logits are NaN")


def test_an_embedder_of_another_width_is_refused_through_the_front_door(fake: Any, tiny_model: Path) -> None:
    Image.new("RGB", (8, 8)).save("a.png")
    words = ("-m", tiny_model, "-o", "embedder=fake", "-o", "embedder.width=24")
    fake.fails("caption", "a.png", *words, says="expects embeddings of width 16, but Embedder has width 24")


@pytest.mark.usefixtures("fake")
def test_captions_longer_than_the_model_are_refused_with_the_longest_it_can(tiny_model: Path) -> None:
    captioner = load("captioner", "clipcap", model=tiny_model, embedder="fake", max_tokens=32)
    with pytest.raises(T2IError, match="more than the model's 32 positions") as refused:
        captioner.caption(IMAGES, 1, seed=0)
    assert refused.value.hint == "set -o max_tokens=31"


def test_pieces_are_joined_as_one_would_write_them() -> None:
    assert as_text(["一", "个", "red", "##s", "bus", "2", ".", "8", "米"]) == "一个reds bus 2.8米"


def test_a_vocabulary_that_is_no_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("hello\n")
    with pytest.raises(T2IError, match=r"no \[SEP\] and \[UNK\]"):
        open_words(tmp_path / "vocab.txt")
    with pytest.raises(T2IError, match="no tokenizer in"):
        (tmp_path / "empty").mkdir()
        open_words(tmp_path / "empty")
