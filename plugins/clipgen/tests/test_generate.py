from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from t2i_clipgen.model import Prior
from t2icli import load
from t2icli.contract.requests import Request, numbered
from t2icli.ground.errors import T2IError
from t2icli.nn import decode, int8
from t2icli.nn.pixels import to_images
from t2icli.nn.vqgan import Vqgan
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.testing import check_codec, check_generator

GREEDY = decode.Sampling(temperature=0)


def test_the_likeliest_codes_are_the_originals(prior: Prior, tiny: Any) -> None:
    io = tiny.io
    drawn = decode.sample(prior, io["gpt/cond"], [0, 0], prior.shape.length, GREEDY, prompts=2, owners=[0, 1])
    assert torch.stack(list(drawn)).equal(io["gen/greedy_indices"])


def test_their_images_are_the_originals(vqgan: Vqgan, tiny: Any) -> None:
    io = tiny.io
    with torch.no_grad():
        images = vqgan.to_images(io["gen/greedy_indices"].reshape(-1, *io["vq/indices"].shape[1:]))
    torch.testing.assert_close(2 * images - 1, io["gen/greedy_image"], atol=1e-4, rtol=0)
    torch.testing.assert_close(images.clamp(0, 1), io["gen/greedy_image_01"], atol=1e-4, rtol=0)


def test_a_state_fit_to_be_replayed_gives_the_same_codes(
    prior: Prior, tiny: Any, fix_states: Callable[[], list[Any]]
) -> None:
    states = fix_states()
    drawn = decode.sample(prior, tiny.io["gpt/cond"], [0, 0], prior.shape.length, GREEDY, prompts=2, owners=[0, 1])
    assert torch.stack(list(drawn)).equal(tiny.io["gen/greedy_indices"])
    assert states


def test_stepping_through_the_cache_gives_the_whole_forward_passs_logits(prior: Prior, tiny: Any) -> None:
    io = tiny.io
    with torch.no_grad():
        logits, cache = prior.prefill(io["gpt/cond"], prior.shape.length)
        stepped = [logits] + [prior.step(codes, cache) for codes in io["gpt/tokens"][:, :-1].unbind(1)]
    torch.testing.assert_close(torch.stack(stepped, 1), io["gpt/logits"], atol=1e-4, rtol=0)


@pytest.mark.usefixtures("fake")
def test_guidance_pushes_away_from_no_embedding(tiny_model: Path) -> None:
    clipgen = load("generator", "clipgen", model=tiny_model, embedder="fake", temperature=0, cfg_scale=3)
    drawn, prior = list(clipgen.generate("red", 1, seed=0)), clipgen.model
    with torch.no_grad():
        both = torch.cat([clipgen.embedder.embed_texts(["red"]), torch.zeros(1, prior.shape.condition)])
        codes = torch.zeros(2, 0, dtype=torch.int64)
        for _ in range(prior.shape.length):
            own, null = prior(both, codes)[:, -1]
            codes = torch.cat([codes, (null + 3 * (own - null)).argmax().expand(2, 1)], dim=1)
        expected = to_images(clipgen.codec.decode(codes[:1]))

    assert drawn[0].tobytes() == expected[0].tobytes()


@pytest.mark.usefixtures("fake")
def test_clipgen_keeps_a_generators_promises(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "LEAST", 0)
    for precision in ("fp32", "int8") if int8.is_possible() else ("fp32",):
        check_generator(discovery.find("generator", "clipgen"), model=tiny_model, embedder="fake", precision=precision)


@pytest.mark.usefixtures("fake")
def test_its_vqgan_keeps_a_codecs_promises(tiny_model: Path) -> None:
    check_codec(discovery.find("codec", "clipgen-vqgan"), model=tiny_model / "codec")


@pytest.mark.usefixtures("fake")
def test_an_image_can_stand_in_for_the_prompt(tiny_model: Path) -> None:
    generator = load("generator", "clipgen", model=tiny_model, embedder="fake")
    red, blue = (Image.new("RGB", (20, 20), colour) for colour in ("red", "blue"))
    of_red, again, of_blue = (
        list(generator.draw(numbered(Request("", 1, like=image), 2))) for image in (red, red, blue)
    )
    assert [image.tobytes() for image in of_red] == [image.tobytes() for image in again]
    assert of_red[0].tobytes() != of_blue[0].tobytes()


@pytest.mark.usefixtures("fake")
def test_a_model_imported_with_another_embedder_says_how_to_put_it_right(tiny_model: Path, make_clip: Any) -> None:
    make_clip(tiny_model / "embedder", 32)
    models.seal(tiny_model, models.open_model(tiny_model).card)
    with pytest.raises(T2IError, match="embeddings of width 16, but ClipEmbedder has width 32") as refused:
        load("generator", "clipgen", model=tiny_model)
    assert "import it again with --part embedder=FILE" in (refused.value.hint or "")


@pytest.mark.usefixtures("fake")
def test_an_embedding_of_another_width_is_refused_and_both_are_named(tiny_model: Path) -> None:
    with pytest.raises(T2IError, match=r"expects embeddings of width 16, but Embedder has width 32"):
        load("generator", "clipgen", model=tiny_model, embedder={"name": "fake", "width": 32})


def test_variations_of_a_picture_through_the_front_door(fake: Any, tiny_model: Path) -> None:
    Image.new("RGB", (20, 20), "red").save("red.png")
    words = ("-m", tiny_model, "-n", 2, "--seed", 3, "-o", "embedder=fake", "--output", "out", "--json")
    rows = fake.ok("generate", "--like", "red.png", *words).json()["results"]
    assert [row["seed"] for row in rows] == [3, 4]
    fake.ok("replay", "out/000.png")
