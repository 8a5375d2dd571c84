"""`t2i rerank` with the built-in ranker of colours, which needs no weights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from t2icli.pictures import images
from t2icli.testing import Runner


@pytest.fixture(autouse=True)
def pictures(t2i: Runner) -> Path:
    folder = Path("pictures")
    for name, colour in {"sea": "#2454be", "grass": "#34913c", "deep/night": "#101030"}.items():
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), colour).save(path)
    return folder


def order(t2i: Runner, *words: object) -> list[str]:
    return [Path(row["path"]).stem for row in t2i.ok("rerank", *words, "--json").json()["results"]]


def test_the_best_fit_comes_first_in_a_folder_searched_to_the_bottom(t2i: Runner) -> None:
    assert order(t2i, "the blue sea", "pictures")[0] == "sea"
    assert order(t2i, "绿色的草地", "pictures")[0] == "grass"
    assert len(order(t2i, "black", "pictures")) == 3


def test_files_and_patterns_name_pictures_too_each_once(t2i: Runner) -> None:
    assert set(order(t2i, "blue", "pictures/*.png", "pictures/sea.png")) == {"sea", "grass"}
    assert set(order(t2i, "blue", "pictures/**/*.png")) == {"sea", "grass", "night"}


def test_a_pipe_gets_paths_alone_best_first(t2i: Runner) -> None:
    paths = [os.path.join("pictures", f"{name}.png") for name in ("sea", "grass")]
    assert t2i.ok("rerank", "blue", "pictures/*.png").stdout.splitlines() == paths
    assert t2i.ok("rerank", "blue", "pictures/*.png", "--plain").stdout.splitlines() == paths


def test_the_table_on_a_terminal_shows_rank_picture_and_score(t2i: Runner) -> None:
    t2i.is_terminal = True
    lines = t2i.ok("rerank", "blue", "pictures", "--top", 1).stdout.split()
    assert lines[:3] == ["rank", "picture", "score"]
    assert os.path.join("pictures", "sea.png") in lines
    assert os.path.join("pictures", "grass.png") not in lines


def test_the_order_in_which_pictures_are_named_does_not_matter(t2i: Runner) -> None:
    names = [f"pictures/{name}.png" for name in ("sea", "grass", "deep/night")]
    assert order(t2i, "blue", *names) == order(t2i, "blue", *reversed(names))


def test_one_at_a_time_gives_the_same_scores(t2i: Runner) -> None:
    one, all_at_once = (t2i.ok("rerank", "blue", "pictures", "--batch-size", n, "--json").stdout for n in (1, 64))
    assert one == all_at_once


def test_unreadable_files_are_named_and_the_rest_is_ranked(t2i: Runner) -> None:
    Path("pictures/page.png").write_text("<html>")
    Path("pictures/empty.jpg").write_text("")
    done = t2i.fails("rerank", "blue", "pictures", code=3)
    assert "page.png' is a web page" in done.stderr and "empty.jpg' is empty" in done.stderr
    assert "sea.png" in done.stdout
    report = t2i.fails("rerank", "blue", "pictures", "--json", code=3).json()
    assert len(report["results"]) == 3
    assert [Path(row["path"]).name for row in report["unreadable"]] == ["empty.jpg", "page.png"]


def test_nothing_readable_is_an_error(t2i: Runner) -> None:
    Path("x.png").write_text("")
    t2i.fails("rerank", "blue", "x.png", says="none of 1 files is a picture")
    Path("hollow").mkdir()
    t2i.fails("rerank", "blue", "hollow", says="no images in the folder 'hollow'")
    t2i.fails("rerank", "blue", "none*.png", says="nothing matches 'none*.png'")


def test_paths_are_looked_at_before_a_model_is_loaded(t2i: Runner) -> None:
    t2i.fails("rerank", "blue", "nodir", "-r", "brivl/nowhere", says="there is no file 'nodir'")
    t2i.fails("caption", "nodir", "-m", "clipcap/nowhere", says="there is no file 'nodir'")
    t2i.fails("search", "blue", "nodir", "-r", "brivl/nowhere", says="there is no data at 'nodir'")
    t2i.fails("generate", "--prompts", "no.txt", "-m", "dalle/nowhere", says="cannot read 'no.txt'")
    t2i.fails("generate", "x", "--like", "no.png", "-m", "dalle/nowhere", says="there is no file 'no.png'")
    for what, flag in (("retrieval", "-r"), ("codec", "-m"), ("caption", "-m"), ("generation", "-m")):
        t2i.fails("evaluate", what, "no.txt", flag, "clip/nowhere", says="'no.txt'")


def test_the_same_pixels_are_noted_and_judged_once(t2i: Runner) -> None:
    images.open_image(Path("pictures/sea.png")).save("pictures/wave.bmp")
    results = t2i.ok("rerank", "blue", "pictures", "--json").json()["results"]
    assert [Path(row["path"]).name for row in results[:2]] == ["sea.png", "wave.bmp"]
    assert results[1]["same_as"] == os.path.join("pictures", "sea.png")
    assert results[0]["score"] == results[1]["score"] and results[0]["same_as"] is None


@pytest.mark.parametrize("how", ["copy", "move", "link"])
def test_pictures_can_be_filed_by_rank(t2i: Runner, how: str) -> None:
    t2i.ok("rerank", "blue", "pictures", "--top", 2, f"--{how}", "best")
    assert sorted(path.name for path in Path("best").iterdir())[0] == "001-sea.png"
    assert len(list(Path("best").iterdir())) == 2
    assert Path("pictures/sea.png").exists() is (how != "move")
    assert Path("best/001-sea.png").is_symlink() is (how == "link")
    assert images.open_image(Path("best/001-sea.png")).size == (8, 8)


def test_filing_replaces_nothing_and_then_files_nothing(t2i: Runner) -> None:
    Path("best").mkdir()
    Path("best/002-grass.png").write_text("mine")
    t2i.fails("rerank", "blue", "pictures", "--copy", "best", says="002-grass.png' already exists")
    assert len(list(Path("best").iterdir())) == 1
    t2i.fails("rerank", "blue", "pictures", "--copy", "a", "--move", "b", says="cannot be combined")


def test_a_prompt_without_a_colour_gets_no_opinion_and_a_warning(t2i: Runner) -> None:
    done = t2i.ok("rerank", "a house", "pictures", "--ranker", "colours")
    assert done.stderr.splitlines() == [
        "warning: the prompt names no colour, so the ranker 'colours' scores every picture alike",
        "ranked by colours",
    ]


def test_options_go_to_the_ranker_and_are_checked(t2i: Runner) -> None:
    t2i.ok("rerank", "blue", "pictures", "-o", "size=4")
    t2i.fails("rerank", "blue", "pictures", "-o", "sise=4", says="did you mean 'size'?")
    t2i.fails("rerank", "blue", "pictures", "-r", "colors", says="did you mean 'colours'?")
    t2i.fails("rerank", "blue", "pictures", "-r", "colours=-1", says="not a number from 0 upwards")
    t2i.fails("rerank", "", "pictures", says="the prompt is empty")


def test_the_grid_of_a_generated_folder_is_no_picture_of_its_own(t2i: Runner) -> None:
    Image.new("RGB", (8, 8)).save("pictures/grid.png")
    assert "grid" in order(t2i, "blue", "pictures")
    Path("pictures/results.jsonl").write_text("")
    assert "grid" not in order(t2i, "blue", "pictures")


@pytest.mark.timeout(60)
def test_pipes_and_folders_that_cannot_be_read_are_named_and_the_rest_is_ranked(
    t2i: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo("pictures/pipe.png")
    scandir = os.scandir

    def guarded(path: str) -> object:
        if os.fspath(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    done = t2i.fails("rerank", "blue", "pictures", "--json", code=3)
    assert len(done.json()["results"]) == 2
    assert "'pictures/pipe.png' is not a file" in done.stdout + done.stderr
    assert "the folder 'pictures/deep' is left out: Permission denied" in done.stderr


@pytest.mark.parametrize("size", [(1, 100_000), (1, 2_000_000), (100_000, 1)])
def test_an_endless_strip_is_named_and_the_rest_is_ranked(t2i: Runner, size: tuple[int, int]) -> None:
    Image.new("1", size).save("pictures/strip.png")
    done = t2i.fails("rerank", "blue", "pictures", code=3)
    assert "'pictures/strip.png' is too long" in done.stderr
