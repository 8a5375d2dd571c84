"""The shipped models, and how `recipes/starter/assemble.py` makes them of trained runs."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hatchling.builders.wheel import WheelBuilder
from safetensors.torch import load_file, save_file

import t2i_brivl
import t2i_clipcap
import t2i_clipgen
import t2i_dalle2
import t2i_flow
import t2i_starter
import t2i_wavbrivl
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import AudioClip
from t2icli.ground.errors import T2IError
from t2icli.nn.weights import from_int8
from t2icli.registry import configure
from t2icli.sounds import clips
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.store.sources import ModelSource
from t2icli.testing import Runner

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("assemble", ROOT / "recipes/starter/assemble.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def put(folder: Path, card: Card, **tensors: torch.Tensor) -> models.Model:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / models.WEIGHTS)
    return models.seal(folder, card)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A codec, a generator that holds a copy of it, and a model whose config names the generator's codec."""
    weights = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    vqgan = tmp_path / "runs/vqgan/model"
    numbers = {"w": weights, "b": weights[0].clone(), "large": torch.tensor([1e6]), "n": torch.tensor(7)}
    codec = put(vqgan, Card(kind="codec", backend="vqgan"), **numbers)
    for backend in ("dalle", "dalle2"):
        shutil.copytree(vqgan, tmp_path / "runs" / backend / "model/codec")
        config = {"made_with": codec.sha256} if backend == "dalle2" else {}
        card = Card(kind="generator", backend=backend, config=config, settings={"top_k": 8}, source="step 9")
        put(tmp_path / "runs" / backend / "model", card, w=weights[:8])
    return tmp_path / "runs"


@pytest.fixture
def shipped(runs: Path, tmp_path: Path, recipe: ModuleType) -> Path:
    recipe.assemble(runs, tmp_path / "models")
    return tmp_path / "models"


def test_every_run_becomes_a_model_of_8_and_16_bit_numbers(shipped: Path, runs: Path) -> None:
    assert {path.name for path in shipped.iterdir()} == {"vqgan", "dalle", "dalle2"}
    before, after = (load_file(folder / models.WEIGHTS) for folder in (runs / "vqgan/model", shipped / "vqgan"))
    assert after["w"].dtype == torch.int8 and torch.allclose(from_int8(after)["w"], before["w"], atol=2e-2)
    assert after["b"].dtype == torch.float16 and torch.allclose(after["b"].float(), before["b"], atol=2e-3)
    assert after["large"].dtype == torch.float32, "16 bits cannot hold it"
    assert after["n"].dtype == torch.int64


def test_a_part_that_is_a_model_itself_is_there_once(shipped: Path) -> None:
    dalle = models.open_model(shipped / "dalle")
    assert dalle.card.links == {"codec": "../vqgan"} and not (shipped / "dalle/codec").exists()
    assert dalle.part("codec").sha256 == models.open_model(shipped / "vqgan").sha256
    assert not list(dalle.folder.rglob("*/*.safetensors"))


def test_a_hash_in_a_config_follows_its_model(shipped: Path) -> None:
    told = models.open_model(shipped / "dalle2").card.config["made_with"]
    assert told == models.open_model(shipped / "vqgan").sha256


def test_a_hash_in_a_parts_config_follows_the_part_beside_it(runs: Path, recipe: ModuleType, tmp_path: Path) -> None:
    whole = models.open_model(runs / "dalle2/model")
    made_with = {"embedder": whole.part("codec").sha256}
    put(whole.folder / "a-prior", Card(kind="prior", backend="dalle2-prior", config=made_with), w=torch.ones(2))
    put(whole.folder, whole.card, w=torch.ones(2))
    recipe.assemble(runs, tmp_path / "models")
    shipped = models.open_model(tmp_path / "models/dalle2")
    assert shipped.part("a-prior").card.config["embedder"] == models.open_model(tmp_path / "models/vqgan").sha256


def test_a_model_trained_anew_on_those_that_ship_joins_them(shipped: Path, recipe: ModuleType, tmp_path: Path) -> None:
    before = {path.name: models.open_model(path).sha256 for path in shipped.iterdir()}
    run = tmp_path / "others/dalle/model"
    models.copy(models.open_model(shipped / "vqgan"), run / "codec")
    put(run, Card(kind="generator", backend="dalle", source="step 10"), w=torch.ones(2, 8))
    recipe.assemble(tmp_path / "others", shipped, keep=True)
    after = {path.name: models.open_model(path) for path in shipped.iterdir()}
    assert {name for name in before if after[name].sha256 != before[name]} == {"dalle"}
    assert after["dalle"].card.links == after["dalle2"].card.links == {"codec": "../vqgan"}
    assert after["dalle"].card.source.endswith("step 10")


def test_the_cards_say_what_the_models_are(shipped: Path, recipe: ModuleType) -> None:
    card = models.open_model(shipped / "dalle").card
    assert (card.about, card.licence) == (t2i_starter.SHIPPED["dalle"], "MIT")
    assert card.stand_in == t2i_starter.STAND_IN
    assert card.settings == {"top_k": 8, **recipe.SETTINGS["dalle"]}, "what suits them is added to what a run says"
    assert card.source == "recipes/starter/dalle.toml, step 9"


def test_every_card_names_a_recipe_that_is_there(shipped: Path) -> None:
    for folder in shipped.iterdir():
        recipe = models.open_model(folder).card.source.split(",")[0]
        assert (ROOT / recipe).is_file(), f"{folder.name} is not of {recipe}"


def test_the_best_of_a_run_is_taken_where_one_is_known(runs: Path, recipe: ModuleType, tmp_path: Path) -> None:
    put(runs / "vqgan/best", Card(kind="codec", backend="vqgan", source="the best"), w=torch.ones(2))
    recipe.assemble(runs, tmp_path / "models")
    assert models.open_model(tmp_path / "models/vqgan").card.source.endswith("the best")
    assert not models.open_model(tmp_path / "models/dalle").card.links, "its codec is another one"


@pytest.mark.parametrize("halved", [False, True])
def test_a_sharper_decoder_takes_the_place_of_the_codec_everywhere(
    runs: Path, recipe: ModuleType, tmp_path: Path, halved: bool
) -> None:
    """Also one that went on from a codec as it ships, in 16 bits."""
    before = load_file(runs / "vqgan/model" / models.WEIGHTS)
    before["w"] = before["w"].half() if halved else before["w"]
    card = Card(kind="codec", backend="vqgan")
    for folder in (runs / "vqgan/model", runs / "dalle/model/codec"):
        put(folder, card, **before, **{"decoder.w": torch.zeros(2)})
    put(runs / "dalle/model", models.open_model(runs / "dalle/model").card, w=torch.ones(2))
    shutil.rmtree(runs / "dalle2")
    before["w"] = before["w"].float()
    put(runs / "vqgan-sharper/model", card, **before, **{"decoder.w": torch.ones(2)})
    recipe.assemble(runs, tmp_path / "models")
    codec = models.open_model(tmp_path / "models/dalle").part("codec")
    assert load_file(codec.file())["decoder.w"].tolist() == [1, 1] and "vqgan-sharper.toml" in codec.card.source
    assert models.open_model(tmp_path / "models/dalle").card.links == {"codec": "../vqgan"}


def test_a_codec_with_other_codes_takes_nobodys_place(runs: Path, recipe: ModuleType, tmp_path: Path) -> None:
    put(runs / "vqgan-sharper/model", Card(kind="codec", backend="vqgan"), w=torch.zeros(64, 64))
    with pytest.raises(T2IError, match="has other codes"):
        recipe.assemble(runs, tmp_path / "models")


def test_more_than_can_be_shipped_is_refused_and_what_was_there_stays(
    shipped: Path, runs: Path, recipe: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "MOST", 1000)
    before = models.open_model(shipped / "dalle").card
    with pytest.raises(T2IError, match="are more than 1000"):
        recipe.assemble(runs, shipped)
    assert models.open_model(shipped / "dalle").card == before


def test_the_same_runs_give_the_same_bytes(shipped: Path, runs: Path, recipe: ModuleType, tmp_path: Path) -> None:
    recipe.assemble(runs, tmp_path / "again")
    for path in (path for path in shipped.rglob("*") if path.is_file()):
        assert (tmp_path / "again" / path.relative_to(shipped)).read_bytes() == path.read_bytes()


class Offered:
    """The plugin with the models in another folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @hookimpl
    def t2i_models(self) -> list[ModelSource]:
        return t2i_starter.models_in(self.folder)


def test_the_models_that_are_there_are_offered(shipped: Path) -> None:
    offered = [source.name for source in t2i_starter.models_in(shipped)]
    assert offered == ["dalle/starter", "dalle2/starter", "vqgan/starter"]
    assert not t2i_starter.models_in(shipped / "none")


def test_a_wheel_holds_the_models(shipped: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "repository/plugins/starter"
    shutil.copytree(shipped, plugin / "src/t2i_starter/models")
    shutil.copy(ROOT / ".gitignore", tmp_path / "repository")
    for name in ("pyproject.toml", "README.md", "NOTICE", "src/t2i_starter/__init__.py"):
        shutil.copy(ROOT / "plugins/starter" / name, plugin / name)
    held = {file.distribution_path for file in WheelBuilder(str(plugin)).recurse_included_files()}
    shipped_files = {path.relative_to(shipped).as_posix() for path in shipped.rglob("*") if path.is_file()}
    assert len(shipped_files) == 6 and {f"t2i_starter/models/{name}" for name in shipped_files} <= held


def made(kind: str, name: str, folder: Path, **options: Any) -> Path:
    """What training would save, before its first step."""
    entry, chosen = configure.configure(kind, name, options)
    torch.manual_seed(0)
    entry.load(chosen).save(folder)
    return folder


@pytest.fixture
def untrained(tmp_path: Path, t2i: Runner) -> Path:
    """Runs of vqgan and dalle that learnt nothing."""
    runs = tmp_path / "untrained"
    shape = {"resolution": 16, "ch": 32, "ch_mult": [1, 1], "z_channels": 8, "embed_dim": 8, "n_embed": 16}
    codec = made("recipe", "vqgan", runs / "vqgan/model", shape=shape, perceptual="laplacian")
    names = tmp_path / "names.txt"
    names.write_text("红烧牛肉面\n番茄炒蛋\na red apple\n", encoding="utf-8")
    t2i.ok("train", "tokenizer", "--train-data", names, "--output", runs / "tokenizer", "-o", "vocabulary=300")
    tokenizer = {"name": "json", "model": str(runs / "tokenizer/model")}
    sizes = {"dim": 32, "depth": 1, "heads": 1, "dim_head": 32, "text_length": 8}
    made("recipe", "dalle", runs / "dalle/model", codec=str(codec), tokenizer=tokenizer, **sizes)
    return runs


def test_the_generator_draws_with_its_linked_codec(
    untrained: Path, t2i: Runner, tmp_path: Path, recipe: ModuleType
) -> None:
    recipe.assemble(untrained, tmp_path / "models")
    t2i.use(Offered(tmp_path / "models"))
    done = t2i.ok("generate", "红烧牛肉面", "-n", 2, "--seed", 1, "--output", "out")
    assert f"dalle/starter: {t2i_starter.STAND_IN}; for another" in done.stderr
    assert "vqgan/starter" in t2i.ok("models", "list").stdout
    t2i.ok("models", "check")
    t2i.ok("replay", "out/000.png")
    t2i.ok("models", "import", tmp_path / "models/dalle", "--name", "mine")
    shutil.rmtree(tmp_path / "models/vqgan")
    again = t2i.ok("generate", "红烧牛肉面", "-n", 2, "--seed", 1, "-m", "dalle/mine", "--output", "again")
    assert "dalle/mine" in again.stderr
    assert Path("again/000.png").is_file()


@pytest.fixture
def all_untrained(untrained: Path, t2i: Runner) -> Path:
    """Those, and the five that have them or one another as parts."""
    t2i.use(t2i_brivl, t2i_clipcap, t2i_clipgen, t2i_wavbrivl)
    tokenizer = {"name": "json", "model": str(untrained / "tokenizer/model")}
    shape = {"width": 16, "image_size": 32, "features": 32, "ngrams": {"buckets": 64, "width": 16}}
    brivl = {"name": "brivl", "model": str(made("recipe", "brivl", untrained / "brivl/model", shape=shape))}
    text = {"context_length": 12, "vocab_size": 400, "width": 64, "heads": 1, "layers": 1}
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16, "head_width": 64}
    architecture = untrained / "clip.json"
    architecture.write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    made("recipe", "clip", untrained / "clip/model", architecture=str(architecture), tokenizer=tokenizer)
    sizes = {"embedder": brivl, "width": 32, "layers": 1, "heads": 1}
    codec = {"name": "vqgan", "model": str(untrained / "vqgan/model")}
    made("recipe", "clipgen", untrained / "clipgen/model", codec=codec, **sizes)
    words = str(untrained / "tokenizer/model/tokenizer.json")
    made("recipe", "clipcap", untrained / "clipcap/model", vocabulary=words, positions=32, max_tokens=20, **sizes)
    tower = {"width": 16, "blocks": 1, "heads": 2, "pools": 2}
    made("recipe", "wavbrivl", untrained / "wavbrivl/model", space=brivl, shape=tower)
    return untrained


@pytest.mark.slow
def test_every_command_has_its_starter(all_untrained: Path, t2i: Runner, tmp_path: Path, recipe: ModuleType) -> None:
    recipe.assemble(all_untrained, tmp_path / "models")
    t2i.use(t2i_brivl, t2i_clipcap, t2i_clipgen, Offered(tmp_path / "models"), t2i_wavbrivl)
    links = {path.name: models.open_model(path).card.links for path in (tmp_path / "models").iterdir()}
    assert links["clipgen"] == {"codec": "../vqgan", "embedder": "../brivl"}
    assert links["clipcap"] == {"embedder": "../brivl"} and links["wavbrivl"] == {"space": "../brivl"}

    def said(*words: object) -> str:
        lines = t2i.ok(*words).stderr.splitlines()
        return next(line for line in lines if t2i_starter.STAND_IN in line).partition(":")[0]

    dish = ("generate", "红烧牛肉面", "-n", 2, "--seed", 1)
    assert said(*dish, "--rerank", "brivl", "--output", "dalle") == "dalle/starter and brivl/starter"
    assert said(*dish, "--rerank", "clip", "-m", "clipgen", "--output", "clipgen") == "clipgen/starter and clip/starter"
    assert said("generate", "--like", "dalle/000.png", "-m", "clipgen", "--output", "like") == "clipgen/starter"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 8000).astype(np.float32)
    clips.save_wave(AudioClip(noise, 16_000), Path("it.wav"))
    assert said("generate", "--audio", "it.wav", "--output", "heard") == "clipgen/starter and wavbrivl/starter"
    assert said("rerank", "--audio", "it.wav", "dalle") == "wavbrivl/starter"
    assert said("caption", "dalle/000.png") == "clipcap/starter"
    assert said("rerank", "红烧牛肉面", "dalle", "clipgen") == "brivl/starter"
    assert said("rerank", "红烧牛肉面", "dalle", "-r", "clip") == "clip/starter"
    assert {check["name"] for check in t2i.ok("models", "check", "--json").json()} == {
        f"{backend}/starter" for backend in ("dalle", "brivl", "clip", "clipcap", "clipgen", "vqgan", "wavbrivl")
    }


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: make speech")
@pytest.mark.timeout(900)  # two of the steps are compiled, which takes a cold machine minutes
def test_the_recipes_lead_from_nothing_to_the_models(t2i: Runner, recipe: ModuleType) -> None:
    """What `make starter` does, with few pictures and two steps of each training."""
    t2i.use(t2i_brivl, t2i_clipcap, t2i_clipgen, t2i_dalle2, t2i_flow, t2i_starter, t2i_wavbrivl)
    Path("recipes").symlink_to(ROOT / "recipes")
    plan = subprocess.run(["make", "-n", "starter"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    order = re.findall(r"t2i train (\S+) --config (recipes/starter/\S+\.toml) --resume", plan)
    assert len(order) == len(list((ROOT / "recipes/starter").glob("*.toml")))
    rules = ["-o", "rules.duplicates=keep", "-o", "rules.store=jpg"]
    assert " ".join(rules) in (ROOT / "Makefile").read_text(encoding="utf-8")
    t2i.ok("prepare", "plates", 400, *rules, "--output", "runs/starter/plates")
    seen = ["-o", "language=zh", "-o", "pictures=spectrogram"]
    t2i.ok("prepare", "spoken", "runs/starter/plates", *seen, "--output", "runs/starter/spoken")
    for name, config in order:
        short = [] if name == "tokenizer" else ["--max-steps", 2]
        t2i.ok("train", name, "--config", config, "--report-to", "none", *short)
    assert recipe.assemble(Path("runs/starter"), Path("models")).keys() == t2i_starter.SHIPPED.keys()
    made, shipped = (
        {path.name: models.open_model(path).card for path in at.iterdir()}
        for at in (Path("models"), t2i_starter.MODELS)
    )
    assert made.keys() == shipped.keys()
    for name, card in shipped.items():
        assert made[name].source.split(",")[0] == card.source.split(",")[0]
        assert (made[name].links, made[name].settings) == (card.links, card.settings)


def test_the_card_of_every_shipped_model_says_that_it_is_small() -> None:
    for source in t2i_starter.t2i_models():
        assert source.folder is not None
        assert models.open_model(source.folder).card.stand_in == t2i_starter.STAND_IN
