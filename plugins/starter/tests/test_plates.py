from __future__ import annotations

import gc
import io
import os
import pickle
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest
from PIL import Image

import t2i_starter
from t2i_starter import Settings, painters, plates, sprites, words
from t2i_starter.source import Plates, things
from t2i_starter.words import Dish
from t2icli.data.dataset import PreparedDataset, SourceRow
from t2icli.ground.errors import T2IError
from t2icli.testing import Runner


def content(row: SourceRow) -> bytes:
    assert callable(row.image)
    return row.image()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Every process, once it is started."""
    found = []
    popen = subprocess.Popen

    def watched(*given: Any, **named: Any) -> Any:
        found.append(popen(*given, **named))
        return found[-1]

    monkeypatch.setattr(subprocess, "Popen", watched)
    return found


@pytest.mark.parametrize(
    ("name", "dish"),
    [
        ("红烧牛肉面", Dish("noodles", "braised", ("beef",))),
        ("番茄炒蛋", Dish("plate", "stirfried", ("tomato", "egg"))),
        ("鱼香肉丝", Dish("plate", "spicy", ("pork",))),
        ("麻婆豆腐", Dish("plate", "spicy", ("tofu",))),
        ("珍珠奶茶", Dish("bubbletea", "plain", ())),
        ("tomato and egg soup", Dish("soup", "plain", ("tomato", "egg"))),
        ("a bowl of braised beef noodles", Dish("noodles", "braised", ("beef",))),
    ],
)
def test_a_dish_name_is_read_as_people_mean_it(name: str, dish: Dish) -> None:
    assert words.read(name) == dish


def test_a_name_without_a_dish_word_is_not_a_dish() -> None:
    assert words.read("宪法") is None


def test_invented_names_mean_the_dish_they_were_made_from() -> None:
    random = Random(3)
    wrong = 0
    for _ in range(400):
        dish = words.invent(random)
        wrong += sum(words.read(name) != dish for name in words.say(dish, random))
    assert wrong <= 4, "some words swallow their neighbours (烤 + 鸭块), more than 0.5 % would be a fault"


def test_names_put_as_people_ask_still_mean_the_dish() -> None:
    random = Random(4)
    wrong = 0
    for _ in range(400):
        dish = words.invent(random)
        names = words.say(dish, random)
        asked = words.ask(names, words.measures()[dish.form], words.TASTY, random)
        wrong += sum(words.read(name) != words.read(said) for name, said in zip(names, asked, strict=True))
    assert wrong == 0


def test_single_things_are_counted_as_people_count_them() -> None:
    random = Random(5)
    asked = {
        caption
        for thing in things()
        for _ in range(40)
        for caption in words.ask((thing.chinese[0], thing.english), thing.measure, words.PRETTY, random)
    }
    assert {"一只猫", "一列火车", "一朵玫瑰", "a cat", "an owl", "a cup of tea"} <= asked
    assert not [caption for caption in asked if "cup of cup" in caption or "a an " in caption]
    source = Plates(Settings(size=32, look="drawn", things=1))
    drawn = {caption for row in source.rows(Path("300")) for caption in row.captions}
    assert any(caption.startswith("一") for caption in drawn) and not drawn <= asked


def test_held_out_depends_on_the_composition_not_on_the_name() -> None:
    soup = Dish("soup", "plain", ("tomato", "egg"))
    assert soup.held_out(0.5) == Dish("soup", "spicy", ("egg", "tomato")).held_out(0.5)
    random = Random(0)
    share = sum(words.invent(random).held_out(0.1) for _ in range(2000)) / 2000
    assert 0.02 < share < 0.25


@pytest.mark.parametrize("plating", ["free", "neat"])
@pytest.mark.parametrize("form", sorted({word.key for word in words.english() if word.kind == "form"}))
def test_every_form_is_drawn_and_differs_from_an_empty_table(form: str, plating: plates.Plating) -> None:
    picture = plates.draw(Dish(form, "plain", ("egg",)), 1, 48, plating)
    assert picture.size == (48, 48)
    assert len(picture.getcolors(48 * 48) or []) > 200


def test_every_ingredient_and_thing_has_its_picture() -> None:
    for key in words.pictures():
        assert sprites.picture(key, "braised", Random(0)).getchannel("A").getbbox(), key
    for thing in things():
        assert sprites.emoji(thing.character).getchannel("A").getbbox(), thing.english


def test_dishes_have_as_many_ingredients_as_asked_for() -> None:
    random = Random(0)
    usual, rich = (
        [len(words.invent(random, weights).ingredients) for _ in range(2000)]
        for weights in (t2i_starter.USUAL_INGREDIENTS, (0, 0, 1, 3))
    )

    assert usual.count(3) < 0.15 * 2000
    assert rich.count(3) > 0.5 * 2000


def test_how_many_ingredients_is_set_on_the_command_line(t2i: Runner) -> None:
    t2i.use(t2i_starter)
    for weights, says in (("0,0,0,0", "all weights of ingredients are 0"), ("1,1,1,-1", "ingredients")):
        t2i.fails("prepare", "plates", "12", "-o", f"ingredients={weights}", "--output", "none", says=says)
    t2i.ok("prepare", "plates", "12", "-o", "ingredients=0,0,0,1", "-o", "size=64", "--output", "rich")
    data = PreparedDataset.open(Path("rich"))
    dishes = [words.read(data.captions(at)[0]) for at in range(len(data))]

    assert sum(dish is not None and len(dish.ingredients) == 3 for dish in dishes) > len(data) / 2


def test_row_i_does_not_depend_on_how_many_are_asked_for() -> None:
    source = Plates(Settings(size=32, look="drawn"))
    few, many = list(source.rows(Path("3"))), list(source.rows(Path("6")))
    assert few == many[:3]
    assert [content(row) for row in few] == [content(row) for row in many[:3]]
    assert Image.open(io.BytesIO(content(few[0]))).size == (32, 32)
    others = Plates(Settings(size=32, look="drawn", seed=1)).rows(Path("3"))
    assert {row.key for row in others}.isdisjoint(row.key for row in few)


def test_several_processes_draw_the_same_pictures(
    monkeypatch: pytest.MonkeyPatch, started: list[subprocess.Popen[bytes]]
) -> None:
    source = Plates(Settings(size=32, look="drawn", seed=2, plating="neat"))
    monkeypatch.setattr(painters, "WORTH_IT", 7)
    monkeypatch.setattr(painters, "MOST", 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(5), raising=False)
    alone, together = ([*source.rows(Path(count))] for count in ("6", "7"))
    assert not started
    with ThreadPoolExecutor(7) as threads:
        drawn = list(threads.map(content, together))
    assert 1 <= len(started) <= 3
    assert drawn[:6] == [content(row) for row in alone] and together[:6] == alone


def test_processes_that_draw_end_with_their_drawings(started: list[subprocess.Popen[bytes]]) -> None:
    crew = painters.Crew()
    drawing = painters.PlateDrawing(things()[0].character, 1, 32, "neat", crew)
    assert drawing() == drawing.draw() and len(started) == 1
    alone = pickle.loads(pickle.dumps(drawing))
    assert alone == drawing and alone.crew is None
    del crew, drawing
    gc.collect()
    assert started[0].poll() is not None


def test_a_process_that_ends_while_it_draws_is_told_of(started: list[subprocess.Popen[bytes]]) -> None:
    drawing = painters.PlateDrawing(things()[0].character, 1, 32, "neat", painters.Crew())
    drawing()
    started[0].kill()
    started[0].wait()
    with pytest.raises(T2IError, match="died"):
        drawing()


def test_nothing_is_drawn_that_is_not_wanted(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    t2i.use(t2i_starter)
    words = ("prepare", "plates", "20", "-o", "size=32", "-o", "look=drawn", "-o", "things=0")
    t2i.ok(*words, "--output", "data")
    monkeypatch.delattr(plates, "draw")
    assert "20" in t2i.ok(*words, "--dry-run").stdout
    t2i.ok(*words, "--output", "data")


def test_a_file_of_names_is_drawn_and_unknown_names_are_reported(tmp_path: Path) -> None:
    names = tmp_path / "menu.txt"
    names.write_text("红烧牛肉面\n宪法\n", encoding="utf-8")
    good, bad = Plates(Settings(size=32, look="drawn")).rows(names)
    assert good.captions == ("红烧牛肉面",) and good.image
    assert bad.extra["problem"] == "no known dish word"


def test_a_source_that_is_nothing_says_what_would_do() -> None:
    with pytest.raises(T2IError, match="neither a number nor a file"):
        list(Plates(Settings()).rows(Path("many")))


def test_neat_plating_has_few_bases_and_every_ingredient() -> None:
    """Pieces lie in four places alone, so that there are few pictures of one dish and all differ in what is asked."""
    dish = Dish("soup", "plain", ("tomato", "egg"))
    drawn = {plates.draw(dish, seed, 32, "neat").tobytes() for seed in range(200)}
    tables, rims, layouts = 7, 3, 6
    assert 50 < len(drawn) <= tables * rims * plates.BASES * layouts
    one = plates.draw(Dish("soup", "plain", ("tomato",)), 1, 32, "neat")
    assert one.tobytes() == plates.draw(Dish("soup", "plain", ("tomato",)), 1, 32, "neat").tobytes()
    noodles = plates._neat_pieces(Dish("noodles", "braised", ("beef",)), Random(0))
    assert len(noodles) == 3, "the noodles are to be seen as well"
    for count in (1, 2, 3):
        things = tuple(list(words.pictures())[:count])
        laid = plates._neat_pieces(Dish("plate", "plain", things), Random(count))
        assert len({id(sprite) for sprite, _, _ in laid}) == count and len(laid) == 4
