"""A VQGAN learns: its losses are those of taming, its codes stay in use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from t2icli import load
from t2icli.backends.vqgan import Adversary, Care, RecipeSettings
from t2icli.backends.vqgan.convert import read_shape
from t2icli.backends.vqgan.train import VqganRecipe
from t2icli.data import dataset, shards
from t2icli.ground.errors import T2IError
from t2icli.nn.codebook import Codebook
from t2icli.nn.shapes import VqganShape
from t2icli.nn.vqgan import Nearest
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.testing import Runner, check_recipe

SMALL = {
    "resolution": 16,
    "patch": 2,
    "ch": 16,
    "ch_mult": [1, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "middle_attention": False,
    "groups": 1,
    "z_channels": 8,
    "embed_dim": 4,
    "n_embed": 16,
}
TRANSFORMER = {
    "resolution": 16,
    "patch": 8,
    "ch": 64,
    "ch_mult": [1],
    "transformer": 1,
    "apart": True,
    "z_channels": 8,
    "embed_dim": 4,
    "n_embed": 16,
}
QUICK = {"perceptual": "laplacian", "adversary": {"width": 4, "layers": 1, "start": 0}, "codebook": {"begin": 0}}


@pytest.fixture
def pictures(tmp_path: Path) -> dataset.PreparedDataset:
    """Pictures of two colours each."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(24):
        pixels = np.full((16, 16, 3), random.integers(256, size=3), dtype=np.uint8)
        pixels[:, random.integers(4, 12) :] = random.integers(256, size=3)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        rows.append(dataset.SourceRow(f"{i:03}", tmp_path / f"{i}.png", (str(i),)))
    return shards.write(tmp_path / "data", rows)


@pytest.mark.parametrize(
    ("quantizer", "learning"),
    [("vq", "average"), ("vq", "gradient"), ("cosine", "average"), ("gumbel", "gradient")],
)
def test_the_recipe_keeps_its_promises(
    pictures: dataset.PreparedDataset, tmp_path: Path, quantizer: str, learning: str
) -> None:
    options = {**QUICK, "shape": {**SMALL, "quantizer": quantizer}, "codebook": {"begin": 0, "learning": learning}}
    check_recipe(discovery.find("recipe", "vqgan"), pictures, tmp_path / "model", **options)
    codec = load("codec", "vqgan", model=models.open_model(tmp_path / "model"))
    assert codec.grid == (4, 4) and codec.codes == 16


def test_a_transformer_keeps_the_recipes_promises(pictures: dataset.PreparedDataset, tmp_path: Path) -> None:
    check_recipe(discovery.find("recipe", "vqgan"), pictures, tmp_path / "model", **QUICK, shape=TRANSFORMER)
    assert load("codec", "vqgan", model=models.open_model(tmp_path / "model")).grid == (2, 2)


def test_matrices_of_the_transformer_alone_are_hidden() -> None:
    recipe = VqganRecipe(RecipeSettings(shape=msgspec.convert(TRANSFORMER, VqganShape), perceptual_weight=0.0))
    hidden, others = recipe.turns()[0].groups
    assert hidden.hidden and [tuple(p.shape) for p in hidden.parameters] == [(192, 64), (64, 64), (256, 64), (64, 256)]
    assert not others.hidden


def test_with_muon_the_adversary_is_left_to_adamw(t2i: Runner, pictures: dataset.PreparedDataset) -> None:
    shape = {"resolution": 16, "patch": 8, "ch": 64, "ch_mult": 1, "apart": "yes", "transformer": 1}
    words = [f"shape.{key}={value}" for key, value in shape.items()]
    words += [
        "perceptual_weight=0",
        "adversary.weight=0.5",
        "adversary.width=4",
        "adversary.layers=1",
        "adversary.start=0",
    ]
    flags = [flag for word in words for flag in ("-o", word)]
    end = ["--optimizer", "muon", "--max-steps", 2, "--batch-size", 4, "--output", "run"]
    t2i.ok("train", "vqgan", "--train-data", pictures.folder, *flags, *end)
    assert "fooled" in Path("run/log.jsonl").read_text()


@pytest.mark.parametrize("wrong", ["ch=40", "ch_mult=1,2", "apart=no", "finish=6"])
def test_a_transformer_says_which_settings_it_needs(t2i: Runner, pictures: dataset.PreparedDataset, wrong: str) -> None:
    settings = {"ch": "64", "ch_mult": "1", "apart": "yes", "transformer": "1"} | dict([wrong.split("=")])
    flags = [word for key, value in settings.items() for word in ("-o", f"shape.{key}={value}")]
    says = "a transformer needs shape.ch_mult=1, shape.apart=yes, no finish, and ch in multiples of 64"
    t2i.fails("train", "vqgan", "--train-data", pictures.folder, "--output", "run", *flags, says=says)


def test_the_codebooks_loss_is_tamings(golden: Callable[[str], Path]) -> None:
    folder = golden("vqgan/f8_encoder")
    shape = read_shape(folder / "model.yaml")
    settings = RecipeSettings(
        shape=shape,
        perceptual_weight=0.0,
        codebook=Care(learning="gradient", begin=0, reseed_every=0),
        adversary=Adversary(weight=0),
    )
    recipe = VqganRecipe(settings)
    state = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    unfilled = recipe.model.vqgan.load_state_dict(state, strict=False)
    assert not unfilled.unexpected_keys
    assert all(name.startswith(("decoder.", "post_quant_conv.")) for name in unfilled.missing_keys)
    images = np.stack([np.asarray(Image.open(folder / f"image_{i}.png")) for i in range(2)])
    batch = torch.from_numpy(images).movedim(-1, 1).contiguous() / 255
    with torch.no_grad():
        _, figures = recipe.codec_loss(batch, 0)
    expected = np.load(folder / "expected.npz")
    assert abs(float(figures["codebook"]) - float(expected["codebook_loss"])) < 1e-6


def recipe(**changes: object) -> VqganRecipe:
    options = {**QUICK, "shape": SMALL, **changes}
    return load("recipe", "vqgan", **options)


def test_the_adversary_waits_for_its_step() -> None:
    torch.manual_seed(0)
    trained = recipe(adversary={"width": 4, "layers": 1, "start": 5})
    codec, adversary = trained.turns()
    batch = torch.rand(2, 3, 16, 16)
    assert float(codec.loss(batch, 4)[1]["heed"]) == 0 and float(adversary.loss(batch, 4)[0].detach()) == 0
    assert float(codec.loss(batch, 5)[1]["heed"]) > 0 and float(adversary.loss(batch, 5)[0].detach()) > 0


def test_the_adversary_is_heeded_at_the_layer_that_gives_the_pixels() -> None:
    trained = recipe(shape={**SMALL, "finish": 2}, adversary={"width": 4, "layers": 1, "start": 0})
    codec, _ = trained.turns()
    loss, figures = codec.loss(torch.rand(2, 3, 16, 16), 0)
    assert float(figures["heed"]) > 0
    loss.backward()
    assert trained.model.vqgan.decoder.finish.weight.grad.abs().sum() > 0


def test_without_an_adversary_there_is_one_turn() -> None:
    assert [turn.name for turn in recipe(adversary={"weight": 0}).turns()] == ["codec"]


def test_averages_go_on_from_the_codes_that_are_there(tmp_path: Path) -> None:
    """Or the codes of a VQGAN that training continues from shrink to nothing in the first step."""
    torch.manual_seed(0)
    first = recipe(adversary={"weight": 0})
    first.model.vqgan.quantize.embedding.weight.data.normal_()
    first.save(tmp_path / "first")
    before = first.model.vqgan.quantize.embedding.weight.detach()
    care = {"begin": 0, "reseed_every": 0}
    further = load(
        "recipe", "vqgan", start=str(tmp_path / "first"), perceptual="laplacian", adversary={"weight": 0}, codebook=care
    )
    (turn,) = further.turns()
    turn.loss(torch.rand(2, 3, 16, 16), 0)
    turn.after()
    after = further.model.vqgan.quantize.embedding.weight
    assert (after.norm(dim=1) > 0.5 * before.norm(dim=1)).all()


def test_squared_differences_weigh_as_much_as_they_are_told_to() -> None:
    trained = recipe(adversary={"weight": 0})
    batch = torch.rand(2, 3, 16, 16)
    told = recipe(adversary={"weight": 0}, squared_weight=3.0)
    told.model.load_state_dict(trained.model.state_dict())
    with torch.no_grad():
        back = trained.model(2 * batch - 1, 0)[0]
        more = told.codec_loss(batch, 0)[0] - trained.codec_loss(batch, 0)[0]
    torch.testing.assert_close(more, 3 * (2 * batch - 1 - back).square().mean())


def test_before_codes_begin_latents_pass_as_they_are_and_then_kmeans_finds_codes() -> None:
    torch.manual_seed(0)
    trained = recipe(adversary={"weight": 0}, codebook={"begin": 2})
    (turn,) = trained.turns()
    before = trained.model.vqgan.quantize.embedding.weight.clone()
    batch = torch.rand(8, 3, 16, 16)
    assert float(turn.loss(batch, 0)[1]["codebook"]) == 0
    trained.model.eval()
    assert float(turn.loss(batch, 0)[1]["codebook"]) > 0  # or the best model would be one without codes
    trained.model.train()
    turn.after()
    assert torch.equal(trained.model.vqgan.quantize.embedding.weight, before)
    turn.loss(batch, 1)
    turn.after()
    assert not torch.equal(trained.model.vqgan.quantize.embedding.weight, before)
    _, figures = turn.loss(batch, 2)
    assert float(figures["codes"]) > 8 and 0 < float(figures["codebook"]) < 1


@pytest.mark.parametrize("quantizer", ["vq", "gumbel"])
def test_tuning_the_decoder_changes_pictures_but_no_code(tmp_path: Path, quantizer: str) -> None:
    torch.manual_seed(0)
    shape = {**SMALL, "quantizer": quantizer}
    recipe(shape=shape, codebook={"begin": 0, "learning": "gradient"}).save(tmp_path / "first")
    tuned = recipe(start=str(tmp_path / "first"), tune="decoder", adversary={"weight": 0})
    (turn,) = tuned.turns()
    optimizer = torch.optim.SGD(turn.groups[0].parameters, lr=0.1)
    turn.loss(torch.rand(4, 3, 16, 16), 0)[0].backward()
    optimizer.step()
    turn.after()
    tuned.save(tmp_path / "second")
    first, second = (load("codec", "vqgan", model=tmp_path / name) for name in ("first", "second"))
    images = torch.rand(4, 3, 16, 16)
    codes = first.encode(images)
    assert torch.equal(codes, second.encode(images))
    assert not torch.allclose(first.decode(codes), second.decode(codes), atol=1e-4)


def test_a_decoder_to_tune_must_come_from_somewhere() -> None:
    with pytest.raises(T2IError, match="no decoder to tune"):
        recipe(tune="decoder")


def quantizer(codes: int = 8) -> Nearest:
    return Nearest(VqganShape(n_embed=codes, embed_dim=2))


def care(codes: int = 8, **options: object) -> Codebook:
    defaults = {"begin": 0, "reseed_every": 0, "decay": 0.5, "averages": True}
    return Codebook(codes, 2, **{**defaults, **options})


def test_codes_move_to_the_mean_of_their_latents() -> None:
    book, table = care(), quantizer()
    z = torch.tensor([[3.0, 1.0]]).T[None, :, :, None].expand(4, 2, 1, 1)
    for _ in range(20):
        book.watch(z, torch.full((4, 1, 1), 5))
        book.step(table)
    assert torch.allclose(table.embedding.weight[5], torch.tensor([3.0, 1.0]), atol=1e-3)


def test_unused_codes_begin_again_at_latents() -> None:
    torch.manual_seed(0)
    book, table = care(reseed_every=10), quantizer()
    for _ in range(10):
        z = torch.randn(16, 2, 4, 4) + 50
        book.watch(z, table.codes(z))
        book.step(table)
    assert (table.embedding.weight > 40).all()


def test_two_recipes_of_one_seed_look_after_their_codes_alike() -> None:
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        book, table = care(begin=3), quantizer()
        for _ in range(4):
            z = torch.randn(2, 2, 4, 4)
            book.watch(z, table.codes(z))
            book.step(table)
        found.append(table.embedding.weight.detach().clone())
    assert torch.equal(*found)


def trained(t2i: Runner, pictures: dataset.PreparedDataset, steps: int) -> list[dict[str, float]]:
    """The log of a training by the command line."""
    words = [f"shape.{key}={','.join(map(str, v)) if isinstance(v, list) else v}" for key, v in SMALL.items()]
    words += ["perceptual=laplacian", "adversary.weight=0", "codebook.begin=4", "loop.log_every=1"]
    flags = [flag for word in words for flag in ("-o", word)]
    end = ["--max-steps", steps, "--batch-size", 8, "--lr", 3e-3, "--output", "run"]
    t2i.ok("train", "vqgan", "--train-data", pictures.folder, *flags, *end)
    lines = Path("run/log.jsonl").read_text().splitlines()
    return [line for line in map(msgspec.json.decode, lines) if "samples_per_second" in line]


def test_it_trains_from_the_command_line(t2i: Runner, pictures: dataset.PreparedDataset) -> None:
    lines = trained(t2i, pictures, 6)
    assert {"loss", "l1", "laplacian", "psnr", "codebook", "codes"} <= set(lines[-1])
    assert load("codec", "vqgan", model="run/model").grid == (4, 4)


@pytest.mark.slow
def test_it_learns(t2i: Runner, pictures: dataset.PreparedDataset) -> None:
    lines = trained(t2i, pictures, 150)
    assert lines[-1]["psnr"] > lines[0]["psnr"] + 3


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_with_the_same_bytes(t2i: Runner, pictures: dataset.PreparedDataset) -> None:
    words = [f"shape.{key}={','.join(map(str, v)) if isinstance(v, list) else v}" for key, v in SMALL.items()]
    words += ["perceptual=laplacian", "adversary.width=4", "adversary.layers=1", "adversary.start=3"]
    words += ["codebook.begin=2", "codebook.reseed_every=2", "loop.batch_size=4", "loop.schedule=constant"]
    flags = [flag for word in words for flag in ("-o", word)]
    for folder, steps in (("whole", 8), ("stopped", 5)):
        t2i.ok("train", "vqgan", "--train-data", pictures.folder, *flags, "--max-steps", steps, "--output", folder)
    t2i.ok("train", "--resume", "--output", "stopped", "--max-steps", 8)
    one, two = (Path(folder, "model", models.WEIGHTS).read_bytes() for folder in ("whole", "stopped"))
    assert one == two
