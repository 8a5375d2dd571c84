from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from PIL import Image, ImageChops
from safetensors.torch import load_file, save_file

import t2icli
from t2i_dalle2.decoder.draw import draw
from t2i_dalle2.diffusion import DenoisingStep, Estimate, NoiseSchedule, ddim, ddpm, dpm, sample, way_back
from t2i_dalle2.prior.draw import imagine
from t2icli.contract.requests import Request
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.testing import check_generator

QUICK = {"prior_steps": 3, "steps": (2,)}


def load(model: Path, **options: Any) -> Any:
    return t2icli.load("generator", "dalle2", model=model, precision="fp32", **{**QUICK, **options})


class Previews(Watch):
    """Keeps all it is called with."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.pictures: list[tuple[int, Image.Image]] = []

    def step(self, done: int, of: int) -> None:
        self.steps.append((done, of))

    def preview(self, index: int, picture: Callable[[], Image.Image]) -> None:
        self.pictures.append((index, picture()))


def seen(images: Any) -> list[bytes]:
    return [image.tobytes() for image in images]


@pytest.mark.usefixtures("fake")
def test_dalle2_keeps_a_generators_promises_to_the_last_bit(tiny_model: Path) -> None:
    entry = discovery.find("generator", "dalle2")
    check_generator(entry, tolerance=0, model=tiny_model, **QUICK)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm"])
def test_image_i_of_many_is_the_image_of_its_seed(tiny_model: Path, sampler: str) -> None:
    generator = load(tiny_model, sampler=sampler, prior_steps=8, steps=(8,))
    four = seen(generator.generate("all red", 4, seed=5))
    assert four[3:] == seen(generator.generate("all red", 1, seed=8))
    assert len(set(four)) == 4


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_many_at_once_are_what_one_at_a_time_are_nearly(tiny_model: Path, precision: str) -> None:
    generator, seeds = load(tiny_model, prior_cfg_scale=2.0, cfg_scale=2.0), [4, 5, 6]
    text, encodings = (of(["all red"]) for of in (generator.embedder.embed_texts, generator.embedder.embed_tokens))
    sampling = generator.sampling

    def drawn(some: list[int]) -> torch.Tensor:
        known = {"scale": 2.0, "precision": precision}
        way = sampling.prior_steps
        embedding = imagine(generator.prior, text, encodings, some, way, candidates=2, **known)
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(len(some)))
        return draw(generator.decoder, embedding, some, sampling.unet_steps, **known)

    alone = torch.cat([drawn([seed]) for seed in seeds])
    torch.testing.assert_close(drawn(seeds), alone, atol=1e-4 if precision == "fp32" else 0.1, rtol=0)


@pytest.mark.usefixtures("fake")
def test_the_words_matter_and_so_does_their_order(tiny_model: Path) -> None:
    generator = load(tiny_model, prior_cfg_scale=3.0, cfg_scale=3.0)
    drawn = [seen(generator.generate(text, 1, seed=0))[0] for text in ("all red", "red all", "blue")]
    assert len(set(drawn)) == 3


@pytest.mark.usefixtures("fake")
def test_every_step_of_prior_and_unets_is_reported(tiny_model: Path) -> None:
    generator, watch = load(tiny_model, prior_steps=4, steps=(3, 2)), Previews()
    (image,) = generator.draw([Request("red", 0)], watch)
    assert watch.steps == [(i, 9) for i in range(1, 10)]
    assert [index for index, _ in watch.pictures] == [0] * 5, "the prior has no pictures to show"
    assert watch.pictures[-1][1].size == image.size and watch.pictures[0][1].size != image.size
    assert watch.pictures[-1][1].tobytes() == image.tobytes(), "the last estimate is the picture"


def test_variations_of_a_picture_through_the_front_door(fake: Any, tiny_model: Path) -> None:
    Image.new("RGB", (20, 20), "red").save("red.png")
    words = ("-m", tiny_model, "-n", 2, "--seed", 3, "-o", "steps=2", "--output", "out", "--json")
    rows = fake.ok("generate", "--like", "red.png", *words).json()["results"]
    assert [row["seed"] for row in rows] == [3, 4]
    fake.ok("replay", "out/000.png")


@pytest.mark.usefixtures("fake")
def test_a_decoder_without_a_prior_draws_like_a_picture_but_not_from_words(make: Any, tmp_path: Path) -> None:
    alone = make.decoder(tmp_path / "alone", prior=None)
    generator = load(alone)
    assert len(list(generator.draw([Request("", 0, like=Image.new("RGB", (9, 9)))]))) == 1
    with pytest.raises(T2IError, match="has no prior"):
        list(generator.generate("red", 1, seed=0))
    named = load(alone, prior=str(make.prior(tmp_path / "prior")))
    assert seen(named.generate("red", 1, seed=0)) == seen(load(make.decoder(tmp_path / "m")).generate("red", 1, seed=0))


@pytest.mark.usefixtures("fake")
def test_a_prior_of_another_width_is_refused_and_both_are_named(make: Any, tiny_model: Path, tmp_path: Path) -> None:
    other = make.prior(tmp_path / "other", msgspec.structs.replace(make.PRIOR, width=8, encodings=8))
    with pytest.raises(T2IError, match=r"prior '.*other' uses embeddings of width 8, but decoder '.*' uses width 16"):
        load(tiny_model, prior=str(other))


@pytest.mark.usefixtures("fake")
def test_a_prior_of_another_clip_is_refused_and_both_are_named(make: Any, tiny_model: Path, tmp_path: Path) -> None:
    other = make.prior(tmp_path / "other", space="ab" * 32)
    with pytest.raises(T2IError, match=r"uses embedder abababababab, but decoder '.*' uses .*fake"):
        load(tiny_model, prior=str(other))


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("embedder", "says"), [({"width": 8}, "width 16, but embedder 'fake' uses width 8"), ({"taste": "salty"}, "salty")]
)
def test_another_embedder_is_refused(tiny_model: Path, embedder: dict[str, Any], says: str) -> None:
    with pytest.raises(T2IError, match=says):
        load(tiny_model, embedder={"name": "fake", **embedder})


@pytest.mark.usefixtures("fake")
def test_a_decoder_without_its_second_unet_is_refused(tiny_model: Path) -> None:
    file = tiny_model / "weights.safetensors"
    save_file({k: v for k, v in load_file(file).items() if not k.startswith("unets.1.")}, file)
    models.seal(tiny_model, models.open_model(tiny_model).card)
    with pytest.raises(T2IError, match=r"model '.*' lacks unet 2 of 2"):
        load(tiny_model)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("sampler=euler", "'sampler' of generator 'dalle2' cannot be 'euler'"),
        ("steps=0", "unet 1 cannot take 0 steps"),
        ("steps=9", "unet 1 cannot take 9 steps"),
        ("steps=2,9", "unet 2 cannot take 9 steps"),
        ("steps=-1", "unet 1 cannot take -1 steps"),
        ("candidates=0", "candidates"),
        ("steps=2,2,2", "3 numbers of steps for 2 unets"),
        ("prior_steps=0", "the prior cannot take 0 steps"),
        ("prior_steps=9", "the prior cannot take 9 steps"),
        ("sampler=ddpm", "ddpm takes all 8 steps of unet 1, not 2"),
    ],
)
def test_steps_and_samplers_that_make_no_sense_are_refused(fake: Any, tiny_model: Path, option: str, says: str) -> None:
    words = ("-m", tiny_model, "-n", 1, "--output", "out", "-o", "steps=2")
    fake.fails("generate", "red", *words, "-o", option, says=says)


@pytest.mark.usefixtures("fake")
def test_guidance_of_a_model_trained_without_dropping_its_condition_is_warned_of(make: Any, tmp_path: Path) -> None:
    model = make.decoder(tmp_path / "model", msgspec.structs.replace(make.DECODER, dropped=0.0))
    with pytest.warns(UserWarning, match="the decoder was trained without dropping its condition"):
        load(model, cfg_scale=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(model)
        load(model, prior_cfg_scale=2.0)
    always = make.prior(tmp_path / "prior", msgspec.structs.replace(make.PRIOR, dropped=0.0))
    with pytest.warns(UserWarning, match="the prior was trained without dropping its condition"):
        load(model, prior=str(always), prior_cfg_scale=2.0)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("broken", ["the prior", "unet 1", "unet 2"])
def test_numbers_that_break_stop_the_drawing_and_the_step_is_named(tiny_model: Path, broken: str) -> None:
    generator, calls, seen = load(tiny_model, steps=(5,), prior_steps=5), [], []
    networks = {"the prior": generator.prior, **{f"unet {i + 1}": generator.decoder.unets[i] for i in (0, 1)}}

    def break_the_third(module: Any, inputs: Any, said: torch.Tensor) -> torch.Tensor:
        calls.append(module)
        return said * torch.nan if len(calls) == 3 else said

    networks[broken].register_forward_hook(break_the_third)
    with pytest.raises(T2IError, match=f"step 3 of 5 of {broken} gave values that are not numbers") as told:
        seen.extend(generator.generate("red", 1, seed=0))
    assert (seen, len(calls), told.value.code) == ([], 3, 1)


@pytest.mark.usefixtures("fake")
def test_a_batch_that_does_not_fit_is_halved_and_draws_the_same(tiny_model: Path) -> None:
    generator, room = load(tiny_model), 4  # rows: with guidance a picture takes two
    expected = list(generator.generate("red", 5, seed=0))
    generator.sampling = dataclasses.replace(generator.sampling, batch=8)

    def tight(module: Any, inputs: tuple[Any, ...]) -> None:
        if len(inputs[1]) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")

    generator.decoder.register_forward_pre_hook(tight)
    with pytest.warns(UserWarning, match="memory is full: now . images at a time") as told:
        drawn = list(generator.generate("red", 5, seed=0))
    assert [str(one.message).split("full: ")[1] for one in told] == [f"now {n} images at a time" for n in (4, 2)]
    for one, other in zip(drawn, expected, strict=True):
        most = max(high for _, high in ImageChops.difference(one, other).getextrema())
        assert most <= 1, "another batch rounds differently, no more"
    room = 0
    with pytest.warns(UserWarning), pytest.raises(T2IError, match="not enough memory for a single image"):
        list(generator.generate("red", 5, seed=0))


@pytest.mark.usefixtures("fake")
def test_of_several_candidates_the_nearest_to_the_text_is_kept(tiny_model: Path) -> None:
    generator, seen = load(tiny_model, prior_steps=8), []
    text, encodings = (of(["all red"]) for of in (generator.embedder.embed_texts, generator.embedder.embed_tokens))
    known = {"scale": 1.0, "precision": "fp32"}
    generator.prior.register_forward_hook(lambda module, inputs, said: seen.append(said))  # x0: the last is the result
    best = imagine(generator.prior, text, encodings, [3, 4], generator.sampling.prior_steps, candidates=5, **known)
    every = torch.nn.functional.normalize(seen[-1], dim=-1).unflatten(0, (2, 5))
    near = every @ text[0]
    assert (near.max(dim=1).values > near.min(dim=1).values + 1e-4).all(), "the candidates differ"
    torch.testing.assert_close(best @ text[0], near.max(dim=1).values)
    torch.testing.assert_close(best, torch.stack([every[i, near[i].argmax()] for i in (0, 1)]))


@pytest.mark.parametrize("steps", [1, 7, 50])
@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_whoever_knows_the_clean_thing_finds_it_by_every_way(steps: int, name: str) -> None:
    schedule, clean = NoiseSchedule(name, 50), torch.randn(2, 5)
    ways = [ddim(schedule, steps), ddim(schedule, steps, eta=1.0, shift=1), ddpm(schedule), dpm(schedule, steps)]
    for way in ways:
        found = sample(schedule, way, lambda x, t: Estimate(clean), lambda: torch.randn(2, 5))
        torch.testing.assert_close(found, clean, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_dpm_is_nearer_to_where_infinitely_many_steps_lead_than_ddim(name: str) -> None:
    """Which is known for normal data, as the best estimate of what is clean is."""
    schedule, start, spread = NoiseSchedule(name, 1000), torch.randn(2, 5), 0.2

    def denoise(x: torch.Tensor, times: torch.Tensor) -> Estimate:
        signal, noise = schedule.at(schedule.signal, times, x), schedule.at(schedule.noise, times, x)
        return Estimate(signal * spread**2 / (signal**2 * spread**2 + noise**2) * x)

    def passed(time: int) -> torch.Tensor:
        return (schedule.alpha_bar[time] * spread**2 + 1 - schedule.alpha_bar[time]).sqrt() * start

    def error(way: list[DenoisingStep]) -> float:
        last = way[-1].time
        expected = denoise(passed(last), torch.tensor([last])).clean  # as the last step of both
        return float((sample(schedule, way, denoise, lambda: passed(way[0].time)) - expected).norm())

    assert error(dpm(schedule, 20)) < error(ddim(schedule, 20)) / 4


@pytest.mark.parametrize("name", ["linear", "quadratic"])
def test_betas_that_leave_nothing_are_refused(name: str) -> None:
    with pytest.raises(T2IError, match="cannot be sampled"):
        way_back(NoiseSchedule(name, 20), None, "auto")


@pytest.mark.parametrize("predicts", ["x0", "noise", "v"])
def test_what_is_to_be_said_gives_back_the_clean_thing(predicts: str) -> None:
    schedule, clean, noise = NoiseSchedule("cosine", 50), torch.randn(3, 4), torch.randn(3, 4)
    times = torch.tensor([0, 20, 40])
    noisy = schedule.noised(clean, times, noise)
    said = schedule.target(clean, times, noise, predicts)
    torch.testing.assert_close(schedule.clean(noisy, times, said, predicts), clean, atol=1e-4, rtol=0)


@pytest.fixture
def of_latents(fake: Any, make: Any, tmp_path: Path) -> Path:
    """A whole model that draws 2 x 2 latents and reads the words of a prompt."""
    return make.decoder(tmp_path / "latents", make.LATENTS)


def test_a_decoder_of_latents_keeps_a_generators_promises(of_latents: Path) -> None:
    check_generator(discovery.find("generator", "dalle2"), tolerance=0, model=of_latents, prior_steps=3, steps=(4,))


def test_what_a_decoder_of_latents_draws_is_decoded(of_latents: Path) -> None:
    generator, watch = load(of_latents, steps=(4,), prior_steps=4), Previews()
    (image,) = generator.draw([Request("red", 0)], watch)
    assert image.size == (16, 16) and generator.abilities.sizes == ((16, 16),)
    assert watch.steps[-1] == (8, 8) and watch.pictures[-1][1].tobytes() == image.tobytes()


def test_a_decoder_reads_the_words_themselves_where_it_learnt_to(of_latents: Path) -> None:
    generator = load(of_latents, cfg_scale=1.0)
    reading = generator._read_one(Request("red all", 0))
    assert reading.words.shape == (1, 4, 16) and reading.words[0, :2].ne(0).any(-1).all()
    assert reading.words[0, 2:].eq(0).all(), "there are no more words"
    like = generator._read_one(Request("red all", 0, like=Image.new("RGB", (9, 9))))
    assert like.words.eq(0).all(), "a picture takes the prompt's place"
    embedding = torch.nn.functional.normalize(torch.ones(1, 16), dim=1)
    drawn = [
        draw(generator.decoder, embedding, [5], generator.sampling.unet_steps, scale=1.0, precision="fp32", text=text)
        for text in (reading.words, torch.zeros_like(reading.words), reading.words.flip(1))
    ]
    assert all((drawn[0] - other).abs().max() > 1e-5 for other in drawn[1:])


@pytest.mark.parametrize("kind", ["tiny_model", "of_latents"])
def test_the_less_strength_the_fewer_steps_are_taken_from_a_source(
    kind: str, request: pytest.FixtureRequest, fake: Any
) -> None:
    generator = load(request.getfixturevalue(kind), steps=(8,), prior_steps=8)
    later = 8 * len(generator.sampling.unet_steps)  # those of the prior, and of unets after the first

    def drawn(colour: str, strength: float) -> tuple[bytes, int]:
        watch, source = Previews(), Image.new("RGB", (20, 16), colour)
        (image,) = generator.draw([Request("blue", 3, source=source, settings={"strength": strength})], watch)
        return image.tobytes(), watch.steps[-1][1]

    (none,) = seen(generator.generate("blue", 1, seed=3))
    assert drawn("red", 1.0) == (none, 8 + later), "nothing is kept"
    some, steps = drawn("red", 0.25)
    assert steps == 2 + later and some not in (none, drawn("green", 0.25)[0])


@pytest.mark.parametrize("sampler", [ddim, dpm])
def test_a_source_is_as_noisy_as_the_first_step_expects(sampler: Callable[..., Any]) -> None:
    schedule, met = NoiseSchedule("cosine", 8), []
    way = sampler(schedule, 8)[3:]

    def denoise(x: torch.Tensor, times: torch.Tensor) -> Estimate:
        met.append(x)
        return Estimate(torch.full_like(x, 2.0))

    end = sample(schedule, way, denoise, lambda: torch.ones(1, 3), source=torch.full((1, 3), 2.0))
    expected = schedule.signal[way[0].time] * 2 + schedule.noise[way[0].time]
    torch.testing.assert_close(met[0], expected.expand(1, 3))
    torch.testing.assert_close(end, torch.full((1, 3), 2.0))


def test_a_codec_that_does_not_fit_or_is_missing_is_refused(of_latents: Path, make: Any, tmp_path: Path) -> None:
    alone = make.decoder(tmp_path / "alone", make.LATENTS, codec=False)
    with pytest.raises(T2IError, match="draws latents, but there is no codec"):
        load(alone)
    with pytest.raises(T2IError, match="draws pixels, so a codec has nothing to do"):
        load(make.decoder(tmp_path / "pixels"), codec={"name": "vqgan", "model": str(of_latents / "codec")})
    other = msgspec.structs.replace(make.LATENTS, channels=2, mean=(0.0, 0.0), deviation=(1.0, 1.0))
    with pytest.raises(T2IError, match=r"draws latents of \(2, 2, 2\), but .* has \(4, 2, 2\)"):
        load(make.decoder(tmp_path / "other", other))
