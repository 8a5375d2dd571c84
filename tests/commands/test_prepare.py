from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from t2icli.commands.prepare import Counts
from t2icli.ground.watch import NO_FIGURES, Watch
from t2icli.testing import Runner


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for i in range(6):
        path = folder / ("noodles", "soup")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30 + i, 20), (i * 40, 9, 9)).save(path)
    return folder


def test_a_folder_becomes_a_dataset_that_can_be_checked_and_shown(t2i: Runner, photos: Path) -> None:
    assert "6 pictures" in t2i.ok("prepare", "folder", photos, "--output", "data").stdout
    assert "all as the card says" in t2i.ok("prepare", "data", "--check").stdout
    assert "noodles/0" in t2i.ok("prepare", "data", "--show", "2").stdout
    told = t2i.ok("prepare", "data", "--json").json()
    assert told["train"] + told["val"] == 6 and told["counts"] == {"ok": 6}


def test_failed_rows_end_with_code_3_and_are_listed(t2i: Runner, photos: Path) -> None:
    (photos / "soup" / "bad.jpg").write_bytes(b"<html>")
    found = t2i.fails("prepare", photos, "--output", "data", "--json", code=3)
    rows = json.loads(found.stdout)["rows"]
    assert {row["reason"] or row["status"]: row["rows"] for row in rows} == {"ok": 6, "html": 1}


def test_a_damaged_dataset_ends_with_code_1(t2i: Runner, photos: Path) -> None:
    t2i.ok("prepare", photos, "--output", "data")
    Path("data/000000.tar").write_bytes(b"")
    assert "cannot be read" in t2i.fails("prepare", "data", "--check", code=1).stdout


def test_a_dry_run_counts_and_writes_nothing(t2i: Runner, photos: Path) -> None:
    told = t2i.ok("prepare", photos, "--dry-run", "-o", "rules.max_length=4", "--output", "data").stdout
    assert "caption-too-long" in told and "noodles" in told
    assert not Path("data").exists()


def test_rules_are_options(t2i: Runner, photos: Path) -> None:
    t2i.ok("prepare", photos, "--output", "data", "-o", "rules.max_aspect=1.6", "-o", "rules.store=jpg", "--json")
    counts = t2i.ok("prepare", "data", "--json").json()["counts"]
    assert counts == {"dropped aspect-ratio": 3, "ok": 3}


def test_the_report_is_one_page_with_everything_in_it(t2i: Runner, photos: Path) -> None:
    t2i.ok("prepare", photos, "--output", "data", "--report")
    page = Path("data/report.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 6 and page.count("<svg") == 3
    assert "noodles" in page and "http" not in page.replace("http-equiv", "")
    assert "src=" in page and 'src="data:' in page and page.count("src=") == page.count('src="data:')


def test_captions_cannot_write_html_into_the_report(t2i: Runner, photos: Path) -> None:
    (photos / "soup" / "1.txt").write_text('<script>alert("x")</script>')
    t2i.ok("prepare", photos, "--output", "data", "--report")
    assert "<script" not in Path("data/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("form", "name", "line"),
    [
        ("openclip-csv", "train.csv", "noodles\t{folder}/noodles/0.png"),
        ("dalle-jsonl", "DALLE.train.jsonl", '{{"image_path": "{folder}/noodles/0.png", "sentences": "noodles"}}'),
        (
            "brivl-jsonl",
            "BriVL_all.jsonl",
            '{{"image_id": "noodles/0.png", "sentences": [["sur_text", "noodles"]], "bbox": []}}',
        ),
        ("clipcap", "flickr_caption.txt", "noodles/0\tnoodles"),
    ],
)
def test_other_trainers_get_their_files(t2i: Runner, photos: Path, form: str, name: str, line: str) -> None:
    t2i.ok("prepare", photos, "--output", "data", "--val", "0")
    t2i.ok("prepare", "data", "--export", form, "--output", "out")
    folder = Path("out").resolve()
    assert line.format(folder=folder) in (folder / name).read_text(encoding="utf-8").splitlines()
    assert Image.open(io.BytesIO((folder / "noodles/0.png").read_bytes())).size == (30, 20)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nowhere", "--output", "data"), "nothing at 'nowhere'"),
        (("folder", "nowhere", "--output", "data"), "'nowhere' is not a folder"),
        ((), "takes a kind of source"),
        (("foldr", "photos", "--output", "data"), "no dataset called 'foldr'"),
        (("folder", "photos"), "--output is missing"),
        (("photos", "--output", "data", "-o", "rules.max_lenght=3"), "did you mean 'max_length'"),
        (("photos", "--output", "data", "-o", "fetch.tries=0"), "'tries' of fetch"),
        (("photos", "--output", "data", "--preset", "wukong"), "did you mean 'wukong-food'"),
        (("photos", "--output", "data", "--preset", "wukong-food"), "needs a list of words"),
        (("photos", "--output", "data", "-o", "rules.words=none.txt"), "cannot read 'none.txt'"),
        (("photos", "--check"), "not a prepared dataset"),
        (("photos", "--output", "photos"), "both SOURCE and --output"),
    ],
)
def test_what_was_typed_wrong_is_named(t2i: Runner, photos: Path, words: tuple[str, ...], says: str) -> None:
    t2i.fails("prepare", *(photos if word == "photos" else word for word in words), says=says)


def test_a_dataset_is_not_prepared_into_another(t2i: Runner, photos: Path) -> None:
    t2i.ok("prepare", photos, "--output", "data")
    t2i.fails("prepare", photos, "--output", "data", "--shard-rows", "2", says="started with another shard rows")


def test_the_settings_beside_the_data_make_the_same_data_again(t2i: Runner, photos: Path) -> None:
    t2i.ok("prepare", photos, "--output", "a", "--val", "0.5", "-o", "rules.min_side=5", "-o", "rules.languages=en,und")
    t2i.ok("prepare", photos, "--output", "b", "--config", "a/settings.toml")
    a, b = (t2i.ok("prepare", name, "--json").json() for name in "ab")
    assert a == b and a["rules"]["min_side"] == 5 and a["val"] > 0


def test_a_cluster_without_ray_says_what_to_install(t2i: Runner, photos: Path) -> None:
    if importlib.util.find_spec("ray"):
        pytest.skip("ray is here")
    t2i.fails("prepare", photos, "--output", "data", "--runner", "ray", says="t2i install 't2icli[ray]'")


class Seen(Watch):
    def progress(
        self, job: str, done: int, of: int | None = None, figures: Any = NO_FIGURES, *, unit: str = ""
    ) -> None:
        self.last = (job, done, of, dict(figures))


def test_progress_says_how_many_and_why() -> None:
    counts = Counts(watch := Seen())
    counts("ok", 1, 500_000)
    counts("no-word", 30, 0)
    assert watch.last == ("rows", 31, None, {"no-word": 30, "ok": 1, "MB": 0.5})


def test_a_run_that_came_to_nothing_does_not_bind_the_next(t2i: Runner, photos: Path) -> None:
    table = photos / "odd.csv"
    table.write_text("picture,words\nnoodles/0.png,noodles\n", encoding="utf-8")
    assert "no image column" in t2i.fails("prepare", table, "--output", "data").stderr
    t2i.ok("prepare", table, "--output", "data", "-o", "image=picture", "-o", "caption=words")


def test_a_misspelt_setting_of_a_source_is_told_before_anything_is_written(t2i: Runner, photos: Path) -> None:
    t2i.ok("prepare", "csv", _table(photos), "--output", "data")
    assert (
        "did you mean 'image'" in t2i.fails("prepare", "csv", _table(photos), "--output", "data", "-o", "imag=a").stderr
    )
    t2i.fails("prepare", "csv", _table(photos), "--output", "other", "-o", "imag=a")
    assert not Path("other").exists()


def test_other_settings_for_a_folder_in_use_are_shown_as_they_are_typed(t2i: Runner, photos: Path) -> None:
    t2i.ok("prepare", photos, "--output", "data", "-o", "rules.max_side=20")
    told = t2i.fails("prepare", photos, "--output", "data", "-o", "rules.max_side=30").stderr
    assert "another rules: max_side=20, now max_side=30" in told


@pytest.mark.parametrize("view", [("--check",), ("--show", "2"), ("--report",), ("--export", "clipcap")])
def test_every_view_can_be_had_as_one_json_document(t2i: Runner, photos: Path, view: tuple[str, ...]) -> None:
    t2i.ok("prepare", photos, "--output", "data")
    assert t2i.ok("prepare", "data", *view, "--output", "out", "--json").json()


def test_a_wrong_choice_is_told_in_our_words(t2i: Runner, photos: Path) -> None:
    assert "'--export': 'brivl' is not one of" in t2i.fails("prepare", photos, "--export", "brivl").stderr


def _table(photos: Path) -> Path:
    path = photos / "table.csv"
    path.write_text("image,caption\nnoodles/0.png,noodles\n", encoding="utf-8")
    return path


def test_rows_that_cannot_be_read_are_named_with_their_line(t2i: Runner) -> None:
    Image.new("RGB", (8, 8)).save("a.png")
    Path("a.csv").write_bytes(b'image,caption\na.png,caf\xe9\na.png,"open\na.png,fine\n')
    done = t2i.fails("prepare", "a.csv", "--output", "out", code=3)
    assert "a.csv:3 (unclosed-quote)" in done.stderr and "Windows-1252" in done.stderr
