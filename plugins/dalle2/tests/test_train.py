from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from t2i_dalle2 import folders
from t2icli import load
from t2icli.contract.requests import Request
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.testing import check_recipe
from t2icli.training.turns import RunningTurn

PRIOR = {"embedder": "fake", "layers": 1, "heads": 2, "head_width": 8, "timesteps": 20, "text_length": 6}
UNET: dict[str, Any] = {"size": 8, "width": 8, "multipliers": [1, 2], "condition": 8, "groups": 4}
UNET |= {"heads": 2, "head_width": 4, "cross_heads": 2, "cross_head_width": 4}
DECODER = {
    "embedder": "fake",
    "first": UNET,
    "second": {**UNET, "size": 16, "betas": "linear"},
    "timesteps": 24,
    "preview_steps": 2,
}


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("options", [{}, {"encodings": False, "predicts": "v"}])
def test_the_prior_keeps_a_recipes_promises(data: PreparedDataset, tmp_path: Path, options: dict[str, Any]) -> None:
    check_recipe(discovery.find("recipe", "dalle2-prior"), data, tmp_path / "saved", **PRIOR, **options)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("options", [{}, {"unets": 1}])
def test_the_decoder_keeps_a_recipes_promises(data: PreparedDataset, tmp_path: Path, options: dict[str, Any]) -> None:
    check_recipe(discovery.find("recipe", "dalle2-decoder"), data, tmp_path / "saved", **DECODER, **options)


def of_latents(codec: Path) -> dict[str, Any]:
    return {**DECODER, "codec": {"name": "vqgan", "model": codec}, "encodings": True, "text_length": 4}


@pytest.mark.usefixtures("fake")
def test_a_decoder_of_latents_keeps_a_recipes_promises(data: PreparedDataset, make: Any, tmp_path: Path) -> None:
    codec = make.codec(tmp_path / "codec")
    check_recipe(discovery.find("recipe", "dalle2-decoder"), data, tmp_path / "saved", **of_latents(codec))
    saved = models.open_model(tmp_path / "saved")
    assert saved.part("codec").sha256 == models.open_model(codec).sha256
    shape = folders.decoder_shape(saved)
    assert (shape.channels, shape.text, shape.text_length, len(shape.mean)) == (4, 16, 4, 4)
    assert [(unet.size, unet.learned_variance) for unet in shape.unets] == [(2, False)]


def test_prior_and_decoder_of_latents_make_a_whole_model(fake: Any, data: PreparedDataset, make: Any) -> None:
    options = of_latents(make.codec(Path("codec")))
    train(fake, "dalle2-prior", data, "prior", *words(PRIOR), "--max-steps", 1)
    own = (*words(options), "-o", "prior=prior/model", "--max-steps", 2)
    train(fake, "dalle2-decoder", data, "decoder", *own)
    assert list(Path("decoder/previews").iterdir())
    fake.ok("generate", "red", "-m", "decoder/model", "-n", 1, "-o", "steps=2", "--output", "out")
    with Image.open("out/000.png") as image:
        assert image.size == (16, 16)
    train(fake, "dalle2-prior", data, "again", *words(PRIOR | {"decoder": "decoder/model"}), "--max-steps", 1)
    assert list(Path("again/previews").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(600)  # a cold machine compiles for minutes
def test_the_step_of_a_decoder_of_latents_can_be_compiled(fake: Any, data: PreparedDataset, make: Any) -> None:
    options = of_latents(make.codec(Path("codec")))
    train(fake, "dalle2-decoder", data, "decoder", *words(options), "-o", "loop.compile=true", "--max-steps", 1)
    assert Path("decoder/model").is_dir()


@pytest.mark.usefixtures("fake")
def test_a_caption_is_chosen_anew_and_hidden_at_times_in_training_alone(
    data: PreparedDataset, make: Any, tmp_path: Path
) -> None:
    recipe: Any = load("recipe", "dalle2-decoder", **of_latents(make.codec(tmp_path / "codec")))
    encoded = {"latents": torch.randn(4, 4, 2, 2), "images": torch.zeros(4, 16)}
    encoded["encodings"] = torch.arange(1.0, 9)[:, None, None].expand(8, 6, 16)  # two captions of each picture
    learnt, shown = (recipe.dataset(data, split, encoded) for split in ("train", "val"))
    assert {float(learnt[1]["text"][0, 0]) for _ in range(50)} == {3.0, 4.0}
    assert {float(shown[1]["text"][0, 0]) for _ in range(50)} == {3.0}
    batch = {"text": torch.ones(200, 6, 16)}
    assert recipe.text(batch, hide=False).shape == (200, 4, 16) and recipe.text(batch, hide=False).eq(1).all()
    hidden = recipe.text(batch, hide=True).eq(0).all(-1).all(-1)
    assert 60 < hidden.sum() < 140


def words(options: dict[str, Any], before: str = "") -> list[str]:
    """As a user would write them."""
    found: list[str] = []
    for key, value in options.items():
        if isinstance(value, dict):
            found += words(value, f"{before}{key}.")
        else:
            shown = ",".join(map(str, value)) if isinstance(value, list) else value
            found += ["-o", f"{before}{key}={shown}"]
    return found


def train(t2i: Any, recipe: str, data: PreparedDataset, run: str, *more: object, code: int = 0) -> None:
    every = ("--batch-size", 2, "--eval-every", 0, "--report-to", "none", "--seed", 3, "-o", "loop.ema=0.5")
    ended = t2i.run("train", recipe, "--train-data", data.folder, "--output", run, *every, *more)
    assert ended.code == code, ended.stdout + ended.stderr


def test_prior_and_decoder_trained_one_after_the_other_make_a_whole_model(fake: Any, data: PreparedDataset) -> None:
    train(fake, "dalle2-prior", data, "prior", *words(PRIOR), "--max-steps", 2)
    own = words(DECODER)
    train(fake, "dalle2-decoder", data, "decoder", *own, "--max-steps", 2, "-o", "prior=prior/model")
    assert list(Path("decoder/previews").iterdir())
    fake.ok("generate", "red", "-m", "decoder/model", "-n", 1, "-o", "steps=2", "--output", "out")
    options = words(PRIOR | {"decoder": "decoder/model"})
    train(fake, "dalle2-prior", data, "again", *options, "--max-steps", 1)
    assert list(Path("again/previews").iterdir())


@pytest.mark.parametrize(("recipe", "options"), [("dalle2-prior", PRIOR), ("dalle2-decoder", DECODER)])
def test_the_averaged_weights_are_the_ones_that_are_saved(
    fake: Any, data: PreparedDataset, recipe: str, options: dict[str, Any]
) -> None:
    train(fake, recipe, data, "run", *words(options), "--max-steps", 3, "--preview-every", 0)
    saved = weights_of("run/model")
    state = torch.load(next(Path("run/checkpoints").glob("step-*")) / "state.pt", weights_only=True)
    assert all(saved[name].equal(mean) for name, mean in state["average"].items())
    assert any(not saved[name].equal(state["model"][name]) for name in state["average"])


def weights_of(folder: str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "weights.safetensors")


def told_to_stop() -> None:
    signal.raise_signal(signal.SIGINT)


def fails() -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("recipe", "options", "ends"),
    [
        ("dalle2-prior", PRIOR, [("prior", told_to_stop, 130), ("prior", fails, 1)]),
        ("dalle2-decoder", DECODER, [("unet1", fails, 1), ("unet2", told_to_stop, 130)]),
    ],
)
def test_a_run_that_was_interrupted_in_any_turn_ends_with_the_same_bytes(
    fake: Any,
    data: PreparedDataset,
    recipe: str,
    options: dict[str, Any],
    ends: list[tuple[str, Callable[[], None], int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = (*words(options), "--max-steps", 3, "--preview-every", 0, "--save-every", 1)
    train(fake, recipe, data, "whole", *own)
    gradients = RunningTurn.gradients
    for number, (turn, happens, code) in enumerate(ends):
        with monkeypatch.context() as patched:

            def interrupted(
                self: RunningTurn, pieces: Any, step: int, turn: str = turn, happens: Callable[[], None] = happens
            ) -> Any:
                found = gradients(self, pieces, step)
                if self.turn.name == turn and step == 1:
                    happens()
                return found

            patched.setattr(RunningTurn, "gradients", interrupted)
            train(fake, recipe, data, f"cut{number}", *own, code=code)
        train(fake, recipe, data, f"cut{number}", *own, "--resume")
        whole, cut = (Path(run) / "model/weights.safetensors" for run in ("whole", f"cut{number}"))
        assert whole.read_bytes() == cut.read_bytes()


def test_the_decoder_learns_from_the_embeddings_that_the_prior_learnt_from(
    fake: Any, data: PreparedDataset, asked: list[str]
) -> None:
    train(fake, "dalle2-prior", data, "prior", *words(PRIOR), "--max-steps", 1)
    assert "images" in asked
    asked.clear()
    train(fake, "dalle2-decoder", data, "decoder", *words(DECODER), "--max-steps", 1, "--preview-every", 0)
    assert asked == []


@pytest.mark.parametrize(("recipe", "options"), [("dalle2-prior", PRIOR), ("dalle2-decoder", DECODER)])
def test_steps_and_previews_ask_the_embedder_nothing(
    fake: Any, data: PreparedDataset, recipe: str, options: dict[str, Any], asked: list[str]
) -> None:
    def asks(run: str, steps: int, previews: int) -> list[str]:
        asked.clear()
        train(fake, recipe, data, run, *words(options), "--max-steps", steps, "--preview-every", previews)
        return [*asked]

    assert "images" in asks("first", 1, 0)
    before = asks("second", 1, 0)
    assert "images" not in before, "what was embedded for the first run is cached"
    assert asks("third", 3, 1) == before


@pytest.mark.usefixtures("fake")
def test_a_decoders_preview_is_what_the_generator_draws(data: PreparedDataset, tmp_path: Path) -> None:
    recipe: Any = load("recipe", "dalle2-decoder", **DECODER)
    for unet in recipe.model.unets:
        torch.nn.init.normal_(unet.to_out.weight, std=0.2)  # else everything it says is zero
    recipe.save(tmp_path / "model")
    generator: Any = load("generator", "dalle2", model=tmp_path / "model", steps=(2,), cfg_scale=1.0, precision="fp32")
    (drawn,) = generator.draw([Request("", 9, like=data.image(1))])
    (shown,) = recipe.preview({"embedding": generator.embedder.embed_images([data.image(1)])}, seed=9)
    assert shown.tobytes() == drawn.tobytes()


@pytest.mark.usefixtures("fake")
def test_a_priors_preview_is_what_the_generator_draws(make: Any, tiny_model: Path, tmp_path: Path) -> None:
    recipe: Any = load("recipe", "dalle2-prior", **PRIOR, decoder=str(tiny_model))
    recipe.save(tmp_path / "prior")
    generator: Any = load(
        "generator", "dalle2", model=tiny_model, prior=str(tmp_path / "prior"), cfg_scale=1.0, precision="fp32"
    )
    (drawn,) = generator.generate("all red", 1, seed=9)
    text, encodings = (of(["all red"]) for of in (generator.embedder.embed_texts, generator.embedder.embed_tokens))
    (shown,) = recipe.preview({"text": text, "encodings": encodings}, seed=9)
    assert shown.tobytes() == drawn.tobytes()


@pytest.mark.usefixtures("fake")
def test_a_decoder_is_not_trained_around_a_prior_of_another_space(make: Any, tmp_path: Path) -> None:
    other = make.prior(tmp_path / "other", space="ab" * 32)
    with pytest.raises(T2IError, match=r"uses embedder abababababab"):
        load("recipe", "dalle2-decoder", **DECODER, prior=str(other))


@pytest.mark.usefixtures("fake")
def test_betas_that_leave_nothing_are_refused_before_anything_is_trained() -> None:
    with pytest.raises(T2IError, match="cannot be sampled"):
        load("recipe", "dalle2-decoder", **{**DECODER, "timesteps": 12})


def test_betas_that_nobody_knows_are_refused(fake: Any, data: PreparedDataset) -> None:
    own = ("--train-data", data.folder, "--output", "run", *words(DECODER), "-o", "first.betas=scaled")
    fake.fails("train", "dalle2-decoder", *own, says="cannot be 'scaled'")


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"size": 9}, "2 levels cannot halve 9 px"),
        ({"groups": 3}, "3 groups do not divide a width of 8"),
        ({"attention": [True]}, "first.attention is for 1 levels, not 2"),
        ({"kernels": [4]}, "first.kernels must be odd"),
    ],
)
def test_sizes_that_no_network_can_have_are_refused(sizes: dict[str, Any], says: str) -> None:
    with pytest.raises(T2IError, match=says):
        load("recipe", "dalle2-decoder", **{**DECODER, "first": {**UNET, **sizes}})


@pytest.mark.usefixtures("fake")
def test_unets_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(T2IError, match="8 px are not larger"):
        load("recipe", "dalle2-decoder", **{**DECODER, "second": UNET})
