"""`t2i prepare --filter` and `--score`: pairs kept by how well picture and caption fit."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.prepare import cluster, report, scores
from t2icli.prepare.check import problems
from t2icli.testing import Runner
from t2icli.testing.toys import Colours, ColoursSettings


class Settings(msgspec.Struct, frozen=True): ...


class Width:
    """A ranker that embeds nothing: a picture's width, less the length of its prompt."""

    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        return [float(image.width - len(prompt)) for image in images]


class NoNumbers:
    def score(self, prompt: str, images: Sequence[Image.Image]) -> list[float]:
        return [float("nan")] * len(images)


class Plugin:
    @hookimpl
    def t2i_embedders(self) -> list[Entry[Any]]:
        return [Entry("mean", "mean colours", ColoursSettings, Colours)]

    @hookimpl
    def t2i_rankers(self) -> list[Entry[Any]]:
        return [
            Entry("width", "wide pictures", Settings, lambda settings: Width()),
            Entry("nan", "no numbers", Settings, lambda settings: NoNumbers()),
        ]


PAIRS = {"red": "red", "lime": "lime", "blue": "red", "yellow": "red", "white": "white\nred"}
"""Pictures of these colours, and what their captions say; yellow is red to 0.71, white to 0.58."""


@pytest.fixture
def photos(t2i: Runner, tmp_path: Path) -> Path:
    t2i.use(Plugin())
    Colours.loaded, Colours.calls = 0, []
    folder = tmp_path / "photos"
    folder.mkdir()
    for place, (colour, caption) in enumerate(PAIRS.items()):
        Image.new("RGB", (8 + place, 8), colour).save(folder / f"{colour}.png")
        (folder / f"{colour}.txt").write_text(caption + "\n")
    return folder


def kept(folder: Path | str = "data") -> dict[str, tuple[str, ...]]:
    data = PreparedDataset.open(folder)
    assert list(problems(data)) == []
    return {data.key(i): data.captions(i) for i in range(len(data))}


def noted(folder: Path | str = "data") -> dict[str, Any]:
    data = PreparedDataset.open(folder)
    return {data.key(i): data.extra(i).get("scores") for i in range(len(data))}


def test_pairs_that_do_not_fit_are_dropped_and_counted(t2i: Runner, photos: Path) -> None:
    result = t2i.ok("prepare", photos, "--output", "data", "--filter", "mean > 0.7", "--json").json()
    assert {row["reason"] or "ok": row["rows"] for row in result["rows"]} == {"ok": 4, "score-mean": 1}
    assert kept() == {"lime": ("lime",), "red": ("red",), "white": ("white",), "yellow": ("red",)}
    assert noted()["yellow"] == {"mean": [pytest.approx(0.7071, abs=1e-4)]}
    assert noted()["white"] == {"mean": [pytest.approx(1)]}  # its other caption is gone
    assert result["scores"]["mean"]["rows"] == 5
    assert result["scores"]["mean"]["quantiles"]["0"] == pytest.approx(0)
    assert Colours.loaded == 1 and Colours.calls == [5]


def test_scores_are_noted_without_dropping_and_then_filtered_without_a_ranker(t2i: Runner, photos: Path) -> None:
    shown = t2i.ok("prepare", photos, "--output", "scored", "--score", "mean,width").stdout
    assert "mean" in shown and "50 %" in shown and "5 pictures in scored" in shown
    assert noted("scored")["white"] == {"mean": [pytest.approx(1), pytest.approx(0.577, abs=1e-3)], "width": [7, 9]}
    before = Colours.calls.copy()
    t2i.ok("prepare", "scored", "--filter", "mean > 0.7 and width < 10", "--output", "data")
    assert kept() == {"lime": ("lime",), "red": ("red",), "white": ("white",), "yellow": ("red",)}
    assert Colours.calls == before and Colours.loaded == 1
    t2i.ok("prepare", "scored", "--filter", "mean > 0.7", "-o", "ranker.shift=1", "--output", "other")
    assert Colours.loaded == 2  # another ranker's scores would be wrong


def test_a_row_without_caption_cannot_pass_but_is_no_trouble_to_a_note(t2i: Runner, photos: Path) -> None:
    Image.new("RGB", (30, 30), "black").save(photos / "mute.png")
    t2i.ok("prepare", photos, "-o", "captions=txt", "--score", "mean", "--output", "noted")
    assert noted("noted")["mute"] is None
    found = t2i.ok("prepare", photos, "-o", "captions=txt", "--filter", "mean > -1", "--output", "data", "--json")
    assert {"status": "dropped", "reason": "no-caption", "rows": 1} in found.json()["rows"]


def test_of_equal_pictures_the_first_that_passes_is_kept(t2i: Runner, photos: Path) -> None:
    (photos / "a.png").write_bytes((photos / "red.png").read_bytes())
    (photos / "a.txt").write_text("blue\n")
    t2i.ok("prepare", photos, "--filter", "mean > 0.9", "--output", "data")
    assert "red" in kept() and "a" not in kept()


def test_a_cleaned_dataset_keeps_its_splits_licence_and_bytes(t2i: Runner, photos: Path) -> None:
    t2i.ok("prepare", photos, "--output", "all", "--val", "0.4", "--seed", "5", "--licence", "CC0")
    t2i.ok("prepare", "all", "--filter", "mean > 0.7", "--output", "data")
    before, after = PreparedDataset.open("all"), PreparedDataset.open("data")
    assert (after.card.val, after.card.seed, after.card.licence) == (0.4, 5, "CC0")
    images = {before.key(i): before.image_bytes(i) for i in range(len(before))}
    assert len(after) == 4 and all(images[after.key(i)] == after.image_bytes(i) for i in range(len(after)))
    t2i.ok("prepare", "all", "--filter", "mean > 0.7", "--output", "more", "--val", "0.2")
    assert PreparedDataset.open("more").card.val == 0.2


def test_another_filter_is_refused_and_the_same_one_does_nothing_again(t2i: Runner, photos: Path) -> None:
    words = ("prepare", photos, "--output", "data", "--filter")
    t2i.ok(*words, "mean > 0.7")
    t2i.ok(*words, "mean > 0.7")
    assert Colours.calls == [5]
    t2i.fails(*words, "mean > 0.8", says="started with another scoring: filter=mean > 0.7, now filter=mean > 0.8")
    t2i.fails("prepare", photos, "--output", "data", says="started with another scoring")


def test_dropped_rows_are_judged_again_with_retry(t2i: Runner, photos: Path) -> None:
    t2i.ok("prepare", photos, "--output", "data", "--filter", "mean > 0.7")
    (photos / "blue.txt").write_text("blue\n")
    t2i.ok("prepare", photos, "--output", "data", "--filter", "mean > 0.7", "--retry", "score-mean")
    assert kept()["blue"] == ("blue",)


def test_a_dataset_begun_by_a_version_without_scores_is_continued(t2i: Runner, photos: Path) -> None:
    t2i.ok("prepare", photos, "--output", "data")
    path = Path("data/report/000000.parquet")
    table = report.read_parquet(path)
    report.write_parquet(path, table.drop_columns(["scores"]))
    Image.new("RGB", (9, 9), "tan").save(photos / "zz.png")
    t2i.ok("prepare", photos, "--output", "data")
    assert len(kept()) == 6 and [row.scores for row in report.every_row(Path("data"))] == [None] * 6


def test_the_page_shows_how_scores_lie(t2i: Runner, photos: Path) -> None:
    t2i.ok("prepare", photos, "--output", "data", "--filter", "mean > 0.7", "--report")
    page = Path("data/report.html").read_text(encoding="utf-8")
    assert "Scores by mean" in page and "score-mean" in page


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--filter", "mean"), "--filter 'mean' is not a ranker, a comparison and a number"),
        (("--filter", ""), "--filter '' is not"),
        (("--filter", "mean > 0.3 or width > 2"), "is not a ranker, a comparison and a number"),
        (("--filter", "mean > 0.3 and"), "is not a ranker, a comparison and a number"),
        (("--filter", "mean = 0.3"), "is not a ranker, a comparison and a number"),
        (("--filter", "mean > high"), "compares mean with 'high', which is not a number"),
        (("--filter", "mean > nan"), "compares mean with 'nan', which is not a number"),
        (("--filter", "mean > 30"), "scores of mean are cosines, from -1 to 1"),
        (("--filter", "meen > 0.3"), "no ranker called 'meen'"),
        (("--score", "meen"), "no ranker called 'meen'"),
        (("-o", "ranker.shift=1"), "ranker settings were given without a ranker"),
        (("--filter", "mean > 0.3", "--dry-run"), "--dry-run looks at captions alone"),
    ],
)
def test_what_cannot_be_asked_is_said_before_anything_is_written(
    t2i: Runner, photos: Path, words: tuple[str, ...], says: str
) -> None:
    t2i.fails("prepare", photos, "--output", "data", *words, says=says)
    assert not Path("data").exists()


def test_a_ranker_without_cosines_has_no_range(t2i: Runner, photos: Path) -> None:
    t2i.ok("prepare", photos, "--output", "data", "--filter", "width >= 7.5")
    assert set(kept()) == {"yellow", "white"} and kept()["white"] == ("red",)


def test_a_process_of_a_cluster_has_one_scorer_for_all_chunks_of_a_job(t2i: Runner, photos: Path) -> None:
    def sent(text: str) -> scores.Scoring:
        scoring = scores.Scoring.of(scores.parse(text), [], {})
        return pickle.loads(pickle.dumps(scoring))

    one = cluster._scorer(sent("mean > 0.7"))
    assert cluster._scorer(sent("mean > 0.7")) is one
    assert cluster._scorer(sent("mean > 0.8")) is not one


def test_conditions_are_parsed_with_and_without_spaces() -> None:
    assert [str(each) for each in scores.parse("brivl/starter>0.3 AND runs/x<= 1e-1  and c >=-2")] == [
        "brivl/starter > 0.3",
        "runs/x <= 0.1",
        "c >= -2",
    ]
    with pytest.raises(T2IError):
        scores.parse("0.3 < brivl")


def test_a_ranker_that_gives_no_number_is_an_error_and_keeps_no_shard(t2i: Runner, photos: Path) -> None:
    t2i.fails("prepare", photos, "--output", "data", "--score", "nan", code=1, says="ranker 'nan' did not give")
    assert not list(Path("data").glob("*.tar"))


def test_large_pictures_are_not_all_open_at_once(t2i: Runner, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "MOST_PIXELS", 160)  # of 8 x 8 to 12 x 8: two at a time, three would be too many
    t2i.ok("prepare", photos, "--output", "data", "--score", "mean")
    assert Colours.calls == [1, 2, 2] or Colours.calls == [2, 2, 1]
    assert len(noted()) == 5


def test_many_pictures_are_scored_in_few_calls_and_little_memory(
    t2i: Runner, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More pictures than may wait at once: none waits for ever."""
    from t2icli.prepare import work

    monkeypatch.setattr(work, "MOST_UNSCORED", 8)
    monkeypatch.setattr(scores, "AT_ONCE", 8)
    rows = []
    for i in range(50):
        Image.new("RGB", (4 + i, 4), "red").save(tmp_path / f"{i}.png")
        rows.append({"image": f"{i}.png", "caption": "red" if i % 5 else "blue"})
        rows.append({"image": f"missing-{i}.png", "caption": "red"})
    Path("list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = t2i.fails(
        "prepare", "list.jsonl", "-o", f"root={tmp_path}", "--output", "data", "--filter", "mean>0.5", code=3
    )
    assert "score-mean" in found.stdout
    assert len(kept()) == 40 and sum(Colours.calls) == 50 and len(Colours.calls) <= 15


def test_a_run_that_is_killed_ends_with_the_same_dataset(t2i: Runner, tmp_path: Path) -> None:
    """Killed is the program itself, in a process of its own, with a ranker that comes with it."""
    t2i.use(pytest.importorskip("t2i_brivl"), pytest.importorskip("t2i_starter"))
    (tmp_path / "photos").mkdir()
    for i in range(60):
        Image.effect_noise((40 + i, 30), 40 + i).convert("RGB").save(tmp_path / f"photos/{i:02d}.png")
        (tmp_path / f"photos/{i:02d}.txt").write_text(("红烧牛肉面", "a red bowl")[i % 2])
    words = ["prepare", str(tmp_path / "photos"), "--filter", "brivl > 0.12", "--shard-rows", "4", "--output"]
    killed = subprocess.Popen([sys.executable, "-m", "t2icli", *words, "killed"], stderr=subprocess.DEVNULL)
    while len(list(Path("killed").glob("report/*.parquet"))) < 3 and killed.poll() is None:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    for name in ("killed", "whole"):
        t2i.ok(*words, name)
    assert 0 < len(kept("whole")) < 60 and kept("killed") == kept("whole")
    assert Path("killed/dataset.toml").read_bytes() == Path("whole/dataset.toml").read_bytes()
    for path in Path("whole").glob("*.tar"):
        assert path.read_bytes() == (Path("killed") / path.name).read_bytes()
