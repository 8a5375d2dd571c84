"""Dishes composed of path-traced layers: every word has its layer, and what a name says is what is shown."""

from __future__ import annotations

import io
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

import t2i_starter
from t2i_starter import Settings, painters, photos, servings, words
from t2i_starter.servings import Serving
from t2i_starter.source import Plates
from t2i_starter.words import Dish
from t2icli.data.dataset import SourceRow
from t2icli.ground.errors import T2IError
from t2icli.testing import Runner

PHOTO = Settings(size=64, look="photo")


def content(row: SourceRow) -> bytes:
    assert callable(row.image)
    return row.image()


def test_every_ingredient_has_its_layers_but_those_that_are_left_out() -> None:
    for key in words.pictures():
        assert photos.variants(key) == (0 if key in servings.MISSING else 3), key
        assert len({photos.layer(f"{key}-{at}").tobytes() for at in range(photos.variants(key))}) in (0, 3), key
        for variant in range(photos.variants(key)):
            solid = np.asarray(photos.layer(f"{key}-{variant}").getchannel("A")) > 240
            assert solid.mean() > 0.03, key
            assert not solid[[0, -1]].any() and not solid[:, [0, -1]].any(), f"{key} is cut off"
    assert set(words.pictures()) >= servings.MISSING


@pytest.mark.parametrize("form", sorted({word.key for word in words.english() if word.kind == "form"}))
def test_every_form_is_composed_in_every_vessel_and_way_of_cooking(form: str) -> None:
    ways = {word.key for word in words.english() if word.kind == "cooking"}
    for cooking in ways:
        dish = Dish(form, cooking, ("egg",))
        for vessel in servings.vessels_of(dish) or ("",):
            for seed in range(2):
                photos.draw(Serving(dish, 1, vessel), seed, 48)


def test_every_vessel_comes_in_every_colour_and_every_layer_is_used() -> None:
    for vessel, colours in servings.COLOURS.items():
        for colour in colours:
            assert photos.layer(f"vessel-{vessel}-{colour}").size == (photos.SIZE, photos.SIZE)
    folder = Path(t2i_starter.__file__).parent / "layers"
    stored = {path.stem.rsplit("-", 1)[0] for path in folder.glob("*.webp")}
    known = {f"vessel-{vessel}" for vessel in servings.COLOURS} | {"table", "napkin", "chopsticks", "scallions"}
    known |= (
        set(photos.RESHAPED.values())
        | set(words.pictures())
        | {word.key for word in words.english() if word.kind == "form"}
    )
    assert {name for name in stored if not name.startswith("in-")} <= known
    assert sum(path.stat().st_size for path in folder.glob("*.webp")) < 4e6


def test_three_ingredients_lie_left_right_and_in_front() -> None:
    beef, egg, corn = ("beef", "egg", "corn")
    for seed in range(20):
        pieces = photos._pieces(Dish("plate", "plain", (beef, egg, corn)), Random(seed))
        places = {name.rsplit("-", 1)[0]: place for name, place in pieces}
        assert places[beef][0] < 0 < places[egg][0]
        assert places[corn][1] > max(places[beef][1], places[egg][1])


def test_places_are_whole_cells_of_a_codec_apart() -> None:
    for count in range(1, 4):
        for form in ("plate", "noodles", "soup", "dumplings", "cake", "tea"):
            keys = tuple(list(words.pictures())[:count])
            for seed in range(10):
                places = [place for _, place in photos._pieces(Dish(form, "plain", keys), Random(seed))]
                assert {((x + 36) % 24, y % 24) for x, y in places} <= {(0, 0), (12, 0)}


@pytest.fixture
def grey_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_table", lambda kind: Image.new("RGBA", (photos.SIZE, photos.SIZE), (128, 128, 128)))
    monkeypatch.setattr(photos, "_set_table", lambda scene, random: None)


@pytest.mark.parametrize(("colour", "channel"), [("blue", 2), ("red", 0), ("green", 1)])
@pytest.mark.parametrize("vessel", ["bowl", "deep", "plate"])
def test_the_colour_that_is_named_is_the_colour_shown(vessel: str, colour: str, channel: int, grey_table: None) -> None:
    for seed in range(4):
        named, white = (
            np.asarray(photos.draw(Serving(Dish("plate", "plain", ("tofu",)), 1, vessel, shown), seed), dtype=float)
            for shown in (colour, "white")
        )
        assert (named - white).mean((0, 1)).argmax() == channel


@pytest.mark.parametrize(("count", "row", "bowls"), [(1, 120, 1), (2, 120, 2), (3, 80, 2), (3, 172, 1)])
def test_two_bowls_are_two_bowls(count: int, row: int, bowls: int, grey_table: None) -> None:
    """A line across a blue bowl of noodles meets its wall twice."""
    serving = Serving(Dish("noodles", "plain", ("beef",)), count, "bowl", "blue")
    for seed in range(4):
        red, _, blue = np.asarray(photos.draw(serving, seed), dtype=int).transpose(2, 0, 1)
        wall = (blue - red)[row - 3 : row + 4].mean(0) > 40
        assert (np.diff(wall.astype(int)) == 1).sum() == 2 * bowls


@pytest.mark.parametrize(
    ("name", "serving"),
    [
        ("红烧牛肉面", Serving(Dish("noodles", "braised", ("beef",)))),
        ("两碗牛肉面", Serving(Dish("noodles", "plain", ("beef",)), 2)),
        ("三盘番茄炒蛋", Serving(Dish("plate", "stirfried", ("tomato", "egg")), 3)),
        ("一碗红烧牛肉", Serving(Dish("plate", "braised", ("beef",)), 1, "bowl")),
        ("蓝碗装的牛肉面", Serving(Dish("noodles", "plain", ("beef",)), 1, "bowl", "blue")),
        ("红边盘子上的麻辣豆腐", Serving(Dish("plate", "spicy", ("tofu",)), 1, "plate", "redrim")),
        ("砂锅里的牛肉面", Serving(Dish("noodles", "plain", ("beef",)), 1, "claypot")),
        ("beef noodles in a blue bowl", Serving(Dish("noodles", "plain", ("beef",)), 1, "bowl", "blue")),
        ("two bowls of beef noodles", Serving(Dish("noodles", "plain", ("beef",)), 2)),
        ("three burgers", Serving(Dish("burger"), 3)),
        ("a bowl of beef noodles", Serving(Dish("noodles", "plain", ("beef",)))),
        ("tofu on a green plate", Serving(Dish("plate", "plain", ("tofu",)), 1, "plate", "green")),
    ],
)
def test_counts_vessels_and_colours_are_read(name: str, serving: Serving) -> None:
    assert servings.read(name) == serving


def test_what_is_said_of_a_serving_is_read_again() -> None:
    random, wrong, said_of = Random(6), [], set()
    for _ in range(1500):
        dish = words.invent(random)
        if servings.problem(Serving(dish)):
            continue
        serving, said = servings.invent(dish, random)
        said_of.add(said)
        names = words.say(dish, random)
        if said == "count":
            names = servings.say_count(names, serving)
        if said == "vessel":
            names = servings.say_vessel(names, serving, random)
        for name in names:
            read = servings.read(name)
            if read is None or read.dish != dish:
                continue  # words that swallow their neighbours: counted in the tests of words
            told = read.count == serving.count
            if said == "vessel":
                told = read.vessel == serving.vessel and read.colour in (serving.colour, "")
                told = told and (bool(read.colour) or len(servings.COLOURS[serving.vessel]) < 3)
            if not told:
                wrong.append((name, serving, read))
    assert not wrong[:5]
    assert said_of == {"", "count", "vessel"}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("牛蛙火锅", "no picture of frog"),
        ("两个月饼", "in threes"),
        ("soup in a steamer", "no soup in this vessel: steamer"),
        ("宪法", "no known dish word"),
    ],
)
def test_what_has_no_layer_is_reported_not_drawn(name: str, problem: str, tmp_path: Path) -> None:
    menu = tmp_path / "menu.txt"
    menu.write_text(f"{name}\n红烧牛肉面\n", encoding="utf-8")
    bad, good = Plates(PHOTO).rows(menu)
    assert bad.image is None and problem in bad.extra["problem"]
    assert Image.open(io.BytesIO(content(good))).size == (64, 64)


def test_drawn_dishes_are_read_as_they_were(tmp_path: Path) -> None:
    menu = tmp_path / "menu.txt"
    menu.write_text("砂锅里的红烧牛肉\n", encoding="utf-8")
    (row,) = Plates(Settings(size=32, look="drawn")).rows(menu)
    assert isinstance(row.image, painters.PlateDrawing) and row.image.what == Dish("claypot", "braised", ("beef",))


def test_row_i_does_not_depend_on_how_many_are_asked_for() -> None:
    few, many = list(Plates(PHOTO).rows(Path("4"))), list(Plates(PHOTO).rows(Path("8")))
    assert few == many[:4] and [content(row) for row in few] == [content(row) for row in many[:4]]
    assert len({content(row) for row in many}) == 8
    other = Plates(Settings(size=64, look="photo", seed=1)).rows(Path("4"))
    assert {content(row) for row in few}.isdisjoint(content(row) for row in other)


def test_painters_compose_the_same_pictures() -> None:
    row = next(iter(Plates(PHOTO).rows(Path("1"))))
    drawing = row.image
    assert isinstance(drawing, painters.PlateDrawing)
    crew = painters.Crew()
    assert crew.draw(drawing) == drawing.draw()


def test_single_things_have_no_photographs() -> None:
    with pytest.raises(T2IError, match="single things"):
        Plates(Settings(look="photo", things=0.1))
    rows = Plates(Settings(size=64, look="photo", seed=2)).rows(Path("300"))
    assert all(isinstance(row.image, painters.PlateDrawing) and isinstance(row.image.what, Serving) for row in rows)


def test_photographs_are_prepared_and_go_on_where_they_stopped(t2i: Runner) -> None:
    t2i.use(t2i_starter)
    settings = ("-o", "size=48", "-o", "look=photo")
    t2i.ok("prepare", "plates", "6", *settings, "--output", "data")
    assert "6" in t2i.ok("prepare", "plates", "6", *settings, "--output", "data").stdout
