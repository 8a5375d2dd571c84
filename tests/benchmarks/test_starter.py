"""The starter's bench: what it asks for was never trained on, and choosing is counted as it is said to be."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from random import Random
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from t2i_starter.servings import Serving
from t2i_starter.words import Dish


class Grey:
    """A codec that keeps nothing."""

    codes, grid, size = 1, (1, 1), (240, 240)

    def encode(self, images):
        return torch.zeros(len(images), 1, dtype=torch.long)

    def decode(self, codes):
        return torch.full((len(codes), 3, 240, 240), 0.5)


@pytest.fixture(scope="module")
def room() -> ModuleType:
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    for name in ("starter_data", "starter_checker", "starter_candidates", "starter_page", "starter_parts", "starter"):
        importlib.import_module(name)
    sys.path.remove(folder)
    return sys


@pytest.fixture
def data(room: ModuleType) -> ModuleType:
    return room.modules["starter_data"]


@pytest.fixture
def checker(room: ModuleType) -> ModuleType:
    return room.modules["starter_checker"]


@pytest.fixture
def candidates(room: ModuleType) -> ModuleType:
    return room.modules["starter_candidates"]


def composition(dish: Dish) -> tuple[str, ...]:
    return (dish.form, *sorted(dish.ingredients))


def test_different_held_out_compositions_are_asked_for_plainly_by_colour_and_by_count(data: ModuleType) -> None:
    requests = data.prompts()
    assert len({composition(request.dish) for request in requests}) == 160
    assert all(request.dish.held_out() and request.dish.ingredients for request in requests)
    assert sum(bool(request.serving.colour) for request in requests) == 30
    assert sum(request.serving.count > 1 for request in requests) == 30


def test_settings_are_chosen_on_other_compositions_than_figures_are_measured_on(data: ModuleType) -> None:
    assert not any(request.dish.held_out() for request in data.validation(50))


def test_the_judge_learns_of_every_value_and_of_no_composition_that_it_is_asked_about(data: ModuleType) -> None:
    servings = [data.lesson(at)[0] for at in range(3000)]
    assert not any(serving.dish.held_out() for serving in servings)
    known = [data.labels(serving) for serving in servings]
    for name, values in data.aspects().items():
        assert {each.aspects[name] for each in known} == set(range(len(values))), name
    assert np.stack([each.present for each in known]).any(0).all()


def test_a_vessel_is_the_usual_one_where_the_name_leaves_it_open(data: ModuleType) -> None:
    assert data.vessel(Serving(Dish("soup"))) == "deep"
    assert data.vessel(Serving(Dish("soup"), vessel="claypot")) == "claypot"
    assert data.vessel(Serving(Dish("wine"))) == "wine"


def test_what_lies_there_unasked_is_a_label_too(data: ModuleType) -> None:
    present = data.labels(Serving(Dish("hotpot"))).present
    assert np.asarray(data.ingredients())[present].tolist() == ["chilli"]


def test_lessons_are_the_same_again_and_look_like_their_pictures(checker: ModuleType) -> None:
    one, again = checker.lessons(range(3, 6)), checker.lessons(range(3, 6))
    assert torch.equal(one.pictures, again.pictures) and one.pictures.shape == (6, 3, checker.PIXELS, checker.PIXELS)
    image = Image.effect_mandelbrot((240, 240), (-2, -1.5, 1, 1.5), 20).convert("RGB")
    kept = [np.asarray(checker.varied(image, Random(seed))) for seed in range(20)]
    true = np.asarray(checker.reduced(image), float)
    near = [float(np.abs(each - true).mean()) for each in kept]
    assert 0 < min(near) and max(near) < np.abs(true - true.mean()).mean()


def test_one_picture_of_five_hundred_without_an_ingredient_passes_for_one_with_it(checker: ModuleType) -> None:
    assert checker.FALSE_ALARMS == 1 / 500
    torch.manual_seed(0)
    model = checker.blank()
    checker.calibrate(model, range(64), 0.2)
    some = checker.lessons(range(64))
    with torch.inference_mode():
        passed = model.to_ingredients(model.features(some.pictures)) > model.least
    share = passed[~some.present].float().mean()
    assert 0.15 < share < 0.25


def test_training_teaches(checker: ModuleType, capsys) -> None:
    model = checker.train(steps=2, batch=4)
    assert "checker 0/2" in capsys.readouterr().out
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.fixture
def seen(data: ModuleType, checker: ModuleType):
    """Three pictures: what was asked for, the same twice and on a board, and an empty plate with shrimps."""
    aspects = {name: np.full((3, len(values)), -9.0, np.float32) for name, values in data.aspects().items()}
    shown = {
        "vessel": ("bowl", "board", "plate"), "colour": ("blue", "blue", "red"), "count": ("1", "2", "1"),
        "look": ("noodles-clear", "noodles-clear", ""),
    }  # fmt: skip
    for name, values in shown.items():
        for row, value in enumerate(values):
            aspects[name][row, data.aspects()[name].index(value)] = 0
    scores = np.full((3, len(data.ingredients())), -5.0, np.float32)
    scores[0:2, [data.ingredients().index("beef"), data.ingredients().index("egg")]] = 2
    scores[2, data.ingredients().index("shrimp")] = 2
    return checker.Seen(aspects, scores, np.eye(3, dtype=np.float32))


def test_what_is_shown_is_compared_with_what_was_asked_for(data: ModuleType, candidates: ModuleType, seen) -> None:
    request = data.Request("蓝碗里的牛肉鸡蛋面", data.meant("蓝碗里的牛肉鸡蛋面"))
    others = [request, data.Request("牛肉面", data.meant("牛肉面"))]
    shown = candidates.shown(request, others, seen)
    assert shown.vessel.tolist() == [1, 0, 0]
    assert shown.colour.tolist() == [1, 1, 0]
    assert shown.count.tolist() == [1, 0, 1]
    assert shown.visible.tolist() == [1, 1, 0]
    assert shown.every.tolist() == [1, 0, 0]
    assert shown.strange.tolist() == [0, 0, 1]
    assert shown.fits.tolist() == [1, 1, 0]
    any_colour = candidates.shown(data.Request("牛肉鸡蛋面", data.meant("牛肉鸡蛋面")), others, seen)
    assert any_colour.colour.tolist() == [1, 1, 1]


def test_obedience_is_of_the_names_that_ask_for_something(data: ModuleType, candidates: ModuleType, seen) -> None:
    requests = [data.Request(name, data.meant(name)) for name in ("蓝碗里的牛肉面", "两碗牛肉面", "牛肉面")]
    chosen = [candidates.shown(request, requests, seen) for request in requests]
    assert candidates.obeyed(requests, chosen) == {"colour": pytest.approx(200 / 3), "count": pytest.approx(100 / 3)}
    assert candidates.obeyed(requests[2:], chosen[2:]) == {}


def test_the_ranker_s_best_of_every_k_is_taken_and_without_one_each_counts(candidates: ModuleType) -> None:
    scores = {"brivl": np.asarray([1.0, 3.0, 2.0, 0.0, 5.0, 4.0])}
    shown = candidates.Shown(*[np.arange(6.0)] * 7, np.zeros((6, 2)))
    each = candidates.Candidates(shown, scores)
    assert each.chosen("brivl", 2) == [1, 2, 4]
    assert each.chosen("brivl", 4) == [1]
    assert each.chosen(candidates.RANDOM, 1) == [0, 1, 2, 3, 4, 5]


def test_every_request_counts_once_however_many_pictures_it_has(candidates: ModuleType) -> None:
    few = candidates.Shown(*[np.ones(1)] * 7, np.zeros((1, 2)))
    many = candidates.Shown(*[np.zeros(9)] * 7, np.zeros((9, 2)))
    assert candidates.percentages([few, many])["vessel"] == 50


def test_the_page_keeps_what_people_wrote_and_takes_new_figures(room: ModuleType, tmp_path: Path) -> None:
    page, path = room.modules["starter_page"], tmp_path / "starter.md"
    path.write_text("# The starter\n\n## What is good\n\nThe soup.\n")
    found = {"vessel": 90.0, "visible": 70.0, "every": 60.0, "strange": 0.123, "r_precision": 50.0}
    row = {"ranker": "brivl", "k": 16, **found, "fd": 3.21, "seconds": 0.5}
    for vessel in (90.0, 96.0):
        row["vessel"] = vessel
        figures = {"prompts": 100, "n": 16, "rows": [row], "distinct": {"牛肉面": 16, "咖啡": 3}}
        page.save(tmp_path / "figures", "generator-dalle", figures)
        page.publish(tmp_path / "figures", path)
    text = path.read_text()
    assert "| dalle | brivl | 16 | 96.0 | 70.0 | 60.0 | 0.12 | 50.0 |  |  |  | 3.21 | 0.5 |" in text
    assert "| dalle, best of 16: ingredients / all right | >= 90 / 65 % | 70 / 60 % |" in text
    assert "| different pictures of 16, the fewest of 20 prompts | 16 | dalle 3 |" in text
    assert "| codec, PSNR | >= 31 dB |  |" in text, "not measured"
    assert "The soup." in text and text.count("## All systems") == 1


def test_bare_names_are_right_where_vessel_and_filling_are(bench: ModuleType, data: ModuleType) -> None:
    requests = data.bare()
    assert len(requests) > 40 and not any(each.dish.ingredients for each in requests)
    half = {each.prompt: each for each in requests[::2]}

    class Seeing:
        """The pictures are their names; half of them show what they should."""

        def see(self, names):
            return SimpleNamespace(
                which=lambda aspect: [
                    getattr(data, aspect)(half[each].serving) if each in half else "" for each in names
                ]
            )

    names = SimpleNamespace(generate=lambda prompt, n, seed: [prompt] * n)
    assert bench.bare(names, Seeing()) == pytest.approx(100 * len(half) / len(requests))


def test_a_contact_sheet_fits_into_the_repository(room: ModuleType, tmp_path: Path) -> None:
    page = room.modules["starter_page"]
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    path = tmp_path / "noise.webp"
    page.sheet([[Image.fromarray(noise)] * 3] * 2, path)
    large = path.stat().st_size
    page.sheet([[Image.fromarray(noise)] * 3] * 2, path, most=16_000)
    assert path.stat().st_size <= 16_000 < large <= page.MOST
    with Image.open(path) as sheet:
        assert sheet.size == (3 * 98 - 2, 2 * 98 - 2)


def test_sharpness_and_what_is_seen_are_those_of_what_comes_back(data: ModuleType, checker: ModuleType, room) -> None:
    parts = room.modules["starter_parts"]
    requests, pixels = data.gallery(3)
    judge = checker.Judge(checker.blank())
    grey, same = (parts.fidelity_of(codec, requests, pixels, judge) for codec in (Grey(), Same()))
    assert grey["sharpness"] == 0 and grey["psnr"] < 20
    assert same["sharpness"] == pytest.approx(1) and same["psnr"] > 50 and same["seen"]["pictures"] == 3


class Same(Grey):
    def encode(self, images):
        self.images = images
        return super().encode(images)

    def decode(self, codes):
        return self.images


@pytest.fixture
def bench(room: ModuleType, tmp_path: Path, monkeypatch) -> ModuleType:
    """The whole bench at its smallest: a checker that knows nothing, three names, clouds for pictures."""
    bench, checker = (room.modules[name] for name in ("starter", "starter_checker"))
    (tmp_path / "starter.md").write_text("# The starter\n")
    (tmp_path / "pictures").mkdir()
    checker.save(checker.blank(), tmp_path / "checker.safetensors")
    monkeypatch.setitem(bench.GENERATORS, "dalle", 4)
    monkeypatch.setattr(bench, "models_in", lambda folder: bench.contextlib.nullcontext(HERE))
    return bench


HERE = {"dalle": "noise", "brivl": "colours"}


@pytest.mark.filterwarnings("ignore:the prompt names no colour")
def test_the_bench_draws_measures_and_writes_its_page(bench: ModuleType, tmp_path: Path, capsys) -> None:
    small = ("--cache", str(tmp_path), "--prompts", "3", "--asked", "2", "--gallery", "3")
    small += ("--page", str(tmp_path / "starter.md"))
    bench.main(["bench", *small, "--only", "dalle", "flow"])
    said = capsys.readouterr()
    assert "there is no flow" in said.err and "| dalle | brivl | 4 |" in said.out
    assert "## Goals" not in (tmp_path / "starter.md").read_text(), "only `page` writes there"
    bench.main(["page", *small])
    page = (tmp_path / "starter.md").read_text()
    assert "| dalle | random | 1 |" in page and "| dalle | brivl | 4 |" in page
    assert "bare" in json.loads((tmp_path / "figures/generator-dalle.json").read_text())["rows"][0]
    assert "checker, true pictures" in page
    sheets = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert sheets == {"starter-dalle-held-out.webp", "starter-dalle-asked.webp"}
    kept = json.loads((tmp_path / "figures/generator-dalle.json").read_text())
    assert set(kept["distinct"].values()) == {16}


def test_models_are_judged_as_they_are_and_runs_as_they_would_ship(room: ModuleType, tmp_path: Path) -> None:
    bench = room.modules["starter"]
    (tmp_path / "models/dalle").mkdir(parents=True)
    (tmp_path / "models/dalle/model.toml").touch()
    with bench.models_in(tmp_path / "models") as models:
        assert models == {"dalle": str(tmp_path / "models/dalle")}

    def assemble(runs: Path, folder: Path) -> None:
        assert runs == tmp_path / "runs"
        (folder / "flow").mkdir(parents=True)
        (folder / "flow/model.toml").touch()

    with bench.models_in(tmp_path / "runs", assemble) as models:
        assert list(models) == ["flow"]
    assert not Path(models["flow"]).exists(), "a draft"


def test_what_starter_models_cannot_draw_gets_a_word(room: ModuleType) -> None:
    found = room.modules["starter_parts"].honest("noise", None, 1)
    assert found["of"] == 20 and found["said"] >= 12


@pytest.mark.filterwarnings("ignore:the prompt names no colour")
def test_tuning_tries_every_value_that_the_generator_knows(bench: ModuleType, tmp_path: Path, capsys, room) -> None:
    room.modules["starter_tune"].SWEEP = {"size": (16, 24), "cfg_scale": (1.0, 3.0)}
    bench.main(["tune", "--cache", str(tmp_path), "--prompts", "2", "-n", "4"])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| size=")]
    assert [line.split(" | ")[:2] for line in table] == [
        ["| size=16", "random"],
        ["| size=16", "best of 4 by brivl"],
        ["| size=24", "random"],
        ["| size=24", "best of 4 by brivl"],
    ]
