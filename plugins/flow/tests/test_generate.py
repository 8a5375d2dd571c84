from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from t2icli import load
from t2icli.contract.requests import Request
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch
from t2icli.nn.latents import from_standard
from t2icli.nn.pixels import to_tensor
from t2icli.registry import discovery
from t2icli.testing import check_codec, check_generator

MakeModel = Callable[..., Path]
PARTS = {"tokenizer": "letters", "embedder": "fake"}


@pytest.mark.usefixtures("front")
@pytest.mark.parametrize("changes", [{}, {"embedding": 16}, {"encodings": 6, "embedding": 16}, {"patch": 2}])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_flow_keeps_a_generators_promises(make_model: MakeModel, changes: dict[str, Any], precision: str) -> None:
    entry = discovery.find("generator", "flow")
    check_generator(entry, model=make_model(**changes), **PARTS, steps=3, precision=precision)


@pytest.mark.usefixtures("front")
def test_the_codec_keeps_a_codecs_promises_with_its_latents(codec: Path) -> None:
    check_codec(discovery.find("codec", "vqgan"), model=codec)


@pytest.mark.usefixtures("front")
def test_threads_change_nothing(make_model: MakeModel) -> None:
    generator = load("generator", "flow", model=make_model(), tokenizer="letters", steps=3)
    threads, pictures = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            pictures.append([image.tobytes() for image in generator.generate("noodles", 5, seed=1)])
    finally:
        torch.set_num_threads(threads)
    assert pictures[0] == pictures[1]


def drawn(generator: Any, **changes: Any) -> np.ndarray:
    (image,) = generator.draw([Request("noodles", 3, **changes)])
    return np.asarray(image).astype(int)


@pytest.mark.usefixtures("front")
def test_the_less_strength_the_more_is_kept_of_the_source(make_model: MakeModel) -> None:
    generator = load("generator", "flow", model=make_model(), tokenizer="letters", steps=50)
    source = Image.effect_noise((16, 16), 90).convert("RGB")
    kept = drawn(generator, source=source, settings={"strength": 1e-6, "steps": 1000})
    known = generator.codec.decode_latents(generator.codec.encode_latents(to_tensor(source)[None]))[0]
    nearly = np.abs(kept - (known.permute(1, 2, 0) * 255).round().numpy()).mean()
    far = np.abs(drawn(generator, source=source, settings={"strength": 1.0}) - drawn(generator)).max()
    assert nearly < 2
    assert far == 0


@pytest.mark.usefixtures("front")
def test_what_the_mask_leaves_black_is_kept(make_model: MakeModel) -> None:
    generator = load("generator", "flow", model=make_model(), tokenizer="letters", steps=4, strength=1.0)
    source = Image.new("RGB", (16, 16), "red")
    mask = Image.new("L", (16, 16))
    read = generator.read(Request("noodles", 3, source=source, mask=mask))
    assert read.mask.eq(0).all()
    mask.putpixel((15, 15), 255)
    read = generator.read(Request("noodles", 3, source=source, mask=mask))
    assert read.mask.tolist() == [[[[0, 0], [0, 1]]]]
    latents: list[Any] = []

    class Last(Watch):
        def preview(self, index: int, picture: Any) -> None:
            latents.append(picture.args[0])

    list(generator.draw([Request("noodles", 3, source=source, mask=mask)], Last()))
    known = from_standard(read.source, generator.model.shape)[0]
    torch.testing.assert_close(latents[-1][:, 0], known[:, 0])
    assert (latents[-1][:, 1, 1] - known[:, 1, 1]).abs().max() > 0.01


@pytest.mark.usefixtures("front")
def test_guidance_goes_further_from_what_no_prompt_gives(make_model: MakeModel) -> None:
    from t2i_flow.draw import guided

    network = load("generator", "flow", model=make_model(), tokenizer="letters").model
    text, nothing = torch.randint(1, 60, (1, 12)), torch.zeros(1, 0)
    x = torch.randn(1, 4, 2, 2)
    with torch.inference_mode():
        null, own = (guided(network, x, 0.3, each, nothing, 1.0) for each in (torch.zeros_like(text), text))
        torch.testing.assert_close(guided(network, x, 0.3, text, nothing, 3.0), null + 3 * (own - null))


@pytest.mark.usefixtures("front")
def test_previews_come_near_to_the_picture(make_model: MakeModel) -> None:
    generator = load("generator", "flow", model=make_model(), tokenizer="letters", steps=5)
    previews: list[Any] = []

    class Looking(Watch):
        def preview(self, index: int, picture: Any) -> None:
            previews.append(np.asarray(picture()))

    (image,) = generator.draw([Request("noodles", 3)], Looking())
    assert len(previews) == 5
    assert (previews[-1] == np.asarray(image)).all()


@pytest.mark.usefixtures("front")
def test_a_picture_that_nobody_wants_any_more_costs_nothing(make_model: MakeModel) -> None:
    generator = load("generator", "flow", model=make_model(), tokenizer="letters", steps=6)
    computed: list[int] = []
    generator.model.register_forward_pre_hook(lambda module, inputs: computed.append(len(inputs[0])))

    class Leaving(Watch):
        steps = 0

        def step(self, done: int, of: int) -> None:
            self.steps = done

        def is_wanted(self, index: int) -> bool:
            return index == 0 or self.steps < 2

    requests = [Request("noodles", seed) for seed in (3, 4, 5)]
    (alone,) = generator.draw(requests[:1])
    computed.clear()
    first, *_ = generator.draw(requests, Leaving())
    assert first.tobytes() == alone.tobytes()
    assert sum(computed) == 2 * (2 * 3 + 4 * 1), "two rows each, for guidance: three pictures for two steps, then one"


@pytest.mark.usefixtures("front")
def test_parts_of_other_sizes_are_refused_and_both_are_named(make_model: MakeModel) -> None:
    model = make_model(vocabulary=61)
    with pytest.raises(T2IError, match="reads 61 different ids, but its tokenizer gives 60"):
        load("generator", "flow", model=model, tokenizer="letters")
    model = make_model(latents=(4, 4, 4))
    with pytest.raises(T2IError, match=r"draws latents of \(4, 4, 4\), but LatentNetworkCodec has \(4, 2, 2\)"):
        load("generator", "flow", model=model, tokenizer="letters")
    model = make_model(embedding=15)
    with pytest.raises(T2IError, match="expects embeddings of width 15, but TokenEmbedder has width 16"):
        load("generator", "flow", model=model, **PARTS)


def test_pictures_of_every_kind_through_the_front_door(front: Any, make_model: MakeModel) -> None:
    Image.new("RGB", (20, 20), "red").save("red.png")
    words = ("-m", make_model(embedding=16), "-o", "tokenizer=letters", "-o", "embedder=fake", "-o", "steps=3")
    more = ("--output", "out", "--force", "--json")
    for condition in (("noodles",), ("noodles", "--from", "red.png"), ("--like", "red.png")):
        rows = front.ok("generate", *condition, *words, "-n", 2, "--seed", 3, *more).json()["results"]
        assert [row["seed"] for row in rows] == [3, 4]
        front.ok("replay", "out/000.png")


def test_without_an_embedder_there_is_no_like(front: Any, make_model: MakeModel) -> None:
    Image.new("RGB", (20, 20), "red").save("red.png")
    words = ("-m", make_model(), "-o", "tokenizer=letters")
    front.fails("generate", "--like", "red.png", *words, says="takes --from and --mask besides a prompt")
