"""`t2icli.testing.toys`: what tests stand on keeps the promises of its kinds."""

from __future__ import annotations

from pathlib import Path

from t2icli.testing import Runner, check_captioner, check_embedder, check_generator, check_ranker, toys


def test_every_toy_keeps_its_kinds_promises() -> None:
    check_generator(toys.t2i_generators()[0], size=4)
    check_ranker(toys.t2i_rankers()[0])
    check_captioner(toys.t2i_captioners()[0])
    check_embedder(toys.t2i_embedders()[0], width=5)


def test_the_module_is_a_plugin_whose_results_can_be_foretold(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(toys)
    words = ("generate", "x", "-m", "toy", "-n", 4, "--seed", 7, "--rerank", "toy", "--top", 2, "--output", "out")
    assert [row["seed"] for row in t2i.ok(*words, "--json").json()["results"][:2]] == [10, 9]
    paths = toys.pictures(tmp_path / "in", "red", "blue", size=(6, 5))
    first = t2i.ok("rerank", "x", *paths, "--ranker", "toy", "--json").json()["results"][0]
    assert Path(first["path"]).name == "red.png"
    assert "6 by 5 pixels, caption 0" in t2i.ok("caption", paths[1], "-m", "toy").stdout
    assert t2i.ok("search", "x", tmp_path / "in", "-r", "toy-vectors", "--json").json()["results"]


def test_prepared_data_holds_a_picture_of_each_colour_with_its_captions(tmp_path: Path) -> None:
    data = toys.prepared(tmp_path / "data", {"red": ("red", "all red"), "blue": ("blue",)}, val=0.0).split("all")
    assert {data.key(i): data.captions(i) for i in range(2)} == {"red": ("red", "all red"), "blue": ("blue",)}
    assert data.image(0).size == toys.SIZE
    assert {data.image(i).getpixel((0, 0)) for i in range(2)} == {(255, 0, 0), (0, 0, 255)}
