"""The starter's bench: what it asks for was never trained on, and choosing is counted as it is said to be."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

import t2icli
from t2i_starter.words import Dish


class Grey:
    """A codec that keeps nothing."""

    codes, grid, size = 1, (1, 1), (128, 128)

    def encode(self, images):
        return torch.zeros(len(images), 1, dtype=torch.long)

    def decode(self, codes):
        return torch.full((len(codes), 3, 128, 128), 0.5)


@pytest.fixture(scope="module")
def room() -> ModuleType:
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    for name in ("starter_data", "starter_checker", "starter_candidates", "starter_page", "starter"):
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


def test_two_hundred_different_held_out_compositions_are_asked_for(data: ModuleType) -> None:
    dishes = [request.dish for request in data.prompts()]
    assert len({composition(dish) for dish in dishes}) == 200
    assert all(dish.held_out() and dish.ingredients for dish in dishes)


def test_settings_are_chosen_on_other_compositions_than_figures_are_measured_on(data: ModuleType) -> None:
    assert not any(request.dish.held_out() for request in data.validation(50))


def test_every_look_has_one_vessel_whatever_dish_it_comes_from(data: ModuleType) -> None:
    for at in range(300):
        dish, _, _ = data.lesson(at)
        assert data.looks()[data.look(dish)] == data.vessel(dish), dish


def test_what_lies_there_unasked_is_a_label_too(data: ModuleType) -> None:
    _, present = data.labels(Dish("hotpot"))
    assert np.asarray(data.ingredients())[present].tolist() == ["chilli"]


def test_lessons_are_drawn_once_and_the_same_again(data: ModuleType, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(data, "CHUNK", 3)
    data.render(tmp_path / "a", 6, jobs=1)
    data.render(tmp_path / "b", 3, jobs=1)
    a, b = data.rendered(tmp_path / "a"), data.rendered(tmp_path / "b")
    assert a.pictures.shape == (6, data.PIXELS, data.PIXELS, 3)
    assert all((x[:3] == y).all() for x, y in zip(a, b, strict=True))


@pytest.fixture
def lessons(data: ModuleType):
    random = np.random.default_rng(0)
    looks, ingredients = len(data.looks()), len(data.ingredients())
    present = random.random((40, ingredients)) < 0.05
    pictures = random.integers(0, 256, (40, data.PIXELS, data.PIXELS, 3), dtype=np.uint8)
    return data.Lessons(pictures, random.integers(0, looks, 40), present)


def test_a_checker_that_was_stopped_ends_the_same(checker: ModuleType, lessons, tmp_path: Path, monkeypatch) -> None:
    soft = lessons.pictures[:10]
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    monkeypatch.setattr(checker, "SAVED", 2)
    whole = checker.train(lessons, soft, tmp_path / "a", 4, batch=8)
    learn = checker.learn

    def stopping(model, lessons, soft, step, batch):
        if step == 3:
            raise KeyboardInterrupt
        return learn(model, lessons, soft, step, batch)

    monkeypatch.setattr(checker, "learn", stopping)
    with pytest.raises(KeyboardInterrupt):
        checker.train(lessons, soft, tmp_path / "b", 4, batch=8)
    monkeypatch.setattr(checker, "learn", learn)
    resumed = checker.train(lessons, soft, tmp_path / "b", 4, batch=8)
    assert all(
        torch.equal(x, y) for x, y in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_one_picture_of_a_hundred_without_an_ingredient_passes_for_one_with_it(checker: ModuleType, lessons) -> None:
    model = checker.blank()
    checker.calibrate(model, lessons)
    seen = checker.Judge(model).see_pixels(lessons.pictures).scores > 0
    assert seen[~lessons.ingredients].mean() < 0.04


def test_softening_keeps_size_and_goes_through_the_codec(checker: ModuleType) -> None:
    back = checker.through(Grey(), np.zeros((3, 64, 64, 3), np.uint8))
    assert back.shape == (3, 64, 64, 3) and set(back.ravel()) == {128}


@pytest.fixture
def seen(data: ModuleType, checker: ModuleType):
    """Three pictures: the dish that was asked for, the same on a board, and an empty plate."""
    looks = np.full((3, len(data.looks())), -9.0, np.float32)
    for row, name in enumerate(("noodles", "pizza", "plate")):
        looks[row, list(data.looks()).index(name)] = 0
    scores = np.full((3, len(data.ingredients())), -5.0, np.float32)
    scores[0:2, [data.ingredients().index("beef"), data.ingredients().index("egg")]] = 2
    return checker.Seen(looks, scores, np.eye(3, dtype=np.float32))


def test_what_is_shown_is_compared_with_what_was_asked_for(data: ModuleType, candidates: ModuleType, seen) -> None:
    request = data.Request("牛肉鸡蛋面", Dish("noodles", "plain", ("beef", "egg")))
    others = [request, data.Request("牛肉面", Dish("noodles", "plain", ("beef",)))]
    shown = candidates.shown(request, others, seen)
    assert shown.vessel.tolist() == [1, 0, 0]
    assert shown.visible.tolist() == [1, 1, 0]
    assert shown.every.tolist() == [1, 0, 0]
    assert shown.fits.tolist() == [1, 1, 0]


def test_the_ranker_s_best_of_every_k_is_taken_and_without_one_each_counts(candidates: ModuleType) -> None:
    scores = {"brivl": np.asarray([1.0, 3.0, 2.0, 0.0, 5.0, 4.0])}
    shown = candidates.Shown(*[np.arange(6.0)] * 5, np.zeros((6, 2)))
    each = candidates.Candidates(shown, scores)
    assert each.chosen("brivl", 2) == [1, 2, 4]
    assert each.chosen("brivl", 4) == [1]
    assert each.chosen(candidates.RANDOM, 1) == [0, 1, 2, 3, 4, 5]


def test_every_request_counts_once_however_many_pictures_it_has(candidates: ModuleType) -> None:
    few = candidates.Shown(*[np.ones(1)] * 5, np.zeros((1, 2)))
    many = candidates.Shown(*[np.zeros(9)] * 5, np.zeros((9, 2)))
    assert candidates.percentages([few, many])["vessel"] == 50


def test_the_page_keeps_what_people_wrote_and_takes_new_figures(room: ModuleType, tmp_path: Path, monkeypatch) -> None:
    page = room.modules["starter_page"]
    monkeypatch.setattr(page, "PAGE", tmp_path / "starter.md")
    page.PAGE.write_text("# The starter\n\n## What is good\n\nThe soup.\n")
    found = {"vessel": 90.0, "visible": 70.0, "every": 60.0, "r_precision": 50.0, "fd": 3.21, "seconds": 0.5}
    row = {"ranker": "brivl", "k": 16, "prompts": 200, **found}
    figures = {
        "ceilings": {"true renderings": found},
        "generator-dalle": {"prompts": 200, "n": 16, "most": 64, "subset": 40, "rows": [row]},
    }
    page.publish(figures)
    row["vessel"] = 96.0
    page.publish(figures)
    text = page.PAGE.read_text()
    assert "| dalle | brivl | 16 | 96.0 | 70.0 | 60.0 | 50.0 | 3.21 | 0.5 |" in text
    assert "The soup." in text and text.count("## All systems") == 1


def test_a_contact_sheet_fits_into_the_repository(room: ModuleType, tmp_path: Path, monkeypatch) -> None:
    page = room.modules["starter_page"]
    monkeypatch.setattr(page, "PICTURES", tmp_path)
    monkeypatch.setattr(page, "MOST", 16_000)
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    path = page.sheet([[Image.fromarray(noise)] * 3] * 2, "noise")
    assert path.stat().st_size <= page.MOST
    with Image.open(path) as sheet:
        assert sheet.size == (3 * 98 - 2, 2 * 98 - 2)


@pytest.fixture
def bench(room: ModuleType, tmp_path: Path, monkeypatch) -> ModuleType:
    """The whole bench at its smallest: a checker that knows nothing, two names, clouds for pictures."""
    bench, page, checker = (room.modules[name] for name in ("starter", "starter_page", "starter_checker"))
    monkeypatch.setattr(page, "PAGE", tmp_path / "starter.md")
    page.PAGE.write_text("# The starter\n")
    monkeypatch.setattr(page, "PICTURES", tmp_path)
    monkeypatch.setattr(bench, "codec_of", lambda chosen: Grey())
    monkeypatch.setattr(bench, "ASKED", ("一只猫",))
    checker.save(checker.blank(), tmp_path / "checker.safetensors")
    return bench


SMALL = ("--ranker", "colours", "-n", "4", "--prompts", "2", "--gallery", "3")


@pytest.mark.filterwarnings("ignore:the prompt names no colour")
def test_the_bench_measures_draws_and_writes_its_page(bench: ModuleType, tmp_path: Path) -> None:
    bench.main(["bench", str(tmp_path), "--generator", "noise", "--most", "16", "--subset", "1", *SMALL])
    bench.main(["checker", str(tmp_path), *SMALL])
    bench.main(["page", str(tmp_path)])
    page = (tmp_path / "starter.md").read_text()
    for row in (
        "| true renderings |",
        "| noise | random | 1 |",
        "| noise | colours | 4 |",
        "| noise | colours | 16* |",
    ):
        assert row in page
    assert "checker, through the codec" in page
    assert {"starter-noise-held-out.webp", "starter-noise-asked.webp"} <= {path.name for path in tmp_path.iterdir()}


def test_steps_are_compared_on_the_page(bench: ModuleType, tmp_path: Path, monkeypatch) -> None:
    asked = []

    def load(kind: str, word: str, **options: object) -> object:
        if kind != "generator":
            return t2icli.load(kind, word, **options)
        asked.append(options["steps"])
        return t2icli.load(kind, "noise")

    monkeypatch.setattr(bench, "load", load)
    bench.main(["steps", str(tmp_path), "--unet-steps", "3", "9", *SMALL])
    assert asked == [(3,), (9,)]
    assert not (tmp_path / "figures/ceilings.json").exists(), "those are of all names, and the other table's"
    page = (tmp_path / "starter.md").read_text()
    assert "| 3 | " in page and "| 9 | " in page


@pytest.mark.filterwarnings("ignore:the prompt names no colour")
def test_tuning_tries_every_value_that_the_generator_knows(bench: ModuleType, tmp_path: Path, capsys, room) -> None:
    room.modules["starter_tune"].SWEEP = {"size": (16, 24), "cfg_scale": (1.0, 3.0)}
    bench.main(["tune", str(tmp_path), "--model", "noise", *SMALL])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| size=")]
    assert [line.split(" | ")[:2] for line in table] == [
        ["| size=16", "random"],
        ["| size=16", "best of 4 by colours"],
        ["| size=24", "random"],
        ["| size=24", "best of 4 by colours"],
    ]
