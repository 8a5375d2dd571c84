from __future__ import annotations

import csv
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import DatasetPreparer
from t2icli.data import dataset
from t2icli.data.dataset import PreparedDataset, SourceRow
from t2icli.ground.errors import T2IError
from t2icli.pipelines.prepare import Preparation, prepare
from t2icli.prepare import report
from t2icli.prepare.settings import FetchLimits, PreparePlan, Rules
from t2icli.testing import Runner

FAST = FetchLimits(timeout=0.3, wait=0.01, max_wait=0.05, tries=2, max_bytes=1 << 20, allow_private=True)


class NoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Source:
    """A plugin whose source of rows is this one."""

    def __init__(self, source: Any) -> None:
        self.source = source

    @hookimpl
    def t2i_datasets(self) -> list[Entry[DatasetPreparer]]:
        return [Entry("rows", "rows for a test", NoSettings, lambda settings: self.source)]


def table(path: Path, rows: Sequence[tuple[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("url", "caption"), *rows])
    return path


def job(source: Path, *, shard_rows: int = 5, limits: FetchLimits = FAST, **rules: Any) -> Preparation:
    return Preparation("csv", source, source.parent / "out", PreparePlan(Rules(**rules), limits, shard_rows))


def fates(output: Path) -> list[str]:
    return [row.reason or row.status for row in report.every_row(output)]


def rows_of(data: PreparedDataset) -> list[tuple[str, ...]]:
    return sorted(data.captions(i) for i in range(len(data)) if data.image(i))


def test_every_input_row_ends_as_one_report_row(
    server: Any, make_picture: Callable[..., bytes], tmp_path: Path
) -> None:
    good = make_picture(-1, (60, 50))
    server.bodies.update({"/page": b"<!DOCTYPE html><html>", "/empty": b"", "/text": b"hello", "/half": good[:900]})
    server.bodies["/corrupt"] = good[:20] + b"\0" * 900
    cases = {
        "/good/1": "ok",
        "/404": "http-404",
        "/page": "html",
        "/empty": "empty",
        "/text": "not-an-image",
        "/half": "truncated",
        "/corrupt": "not-an-image",
        "/hang": "timeout",
        "/good/2": "ok",
    }
    rows = [(server.url(path), f"caption {path}") for path in cases]
    rows += [("", "no address"), ("file:///etc/hostname", "ours")]
    done = prepare(job(table(tmp_path / "x.csv", rows)))
    assert fates(done.data.folder) == [*cases.values(), "no-image", "bad-scheme"]
    assert done.of("failed") == 9 and done.of("ok") == len(done.data) == 2
    assert [row.row for row in report.every_row(done.data.folder)] == list(range(11))


def test_an_image_found_at_two_addresses_is_kept_once(server: Any, tmp_path: Path) -> None:
    rows = [(server.url("/good/1"), "a"), (server.url("/to/good/1"), "b"), (server.url("/good/2"), "c")]
    done = prepare(job(table(tmp_path / "x.csv", rows)))
    assert done.counts == {("ok", ""): 2, ("dropped", "duplicate-image"): 1}


def test_a_second_run_does_only_what_failed_or_is_new(
    server: Any, make_picture: Callable[..., bytes], tmp_path: Path
) -> None:
    rows = [(server.url(f"/good/{i}"), f"c{i}") for i in range(6)] + [(server.url("/later"), "late")]
    source = table(tmp_path / "x.csv", rows)
    first = prepare(job(source))
    assert len(first.data) == 6 and first.of("failed") == 1
    server.hits.clear()
    server.bodies["/later"], server.bodies["/new"] = make_picture(201), make_picture(202)
    second = prepare(job(table(source, [*rows, (server.url("/new"), "new")])))
    assert set(server.hits) == {"/later", "/new"}
    assert rows_of(second.data) == sorted([*((f"c{i}",) for i in range(6)), ("late",), ("new",)])
    assert second.of("failed") == 0


class Local:
    """Rows whose images are drawn when they are wanted; `begin` is called when the first is asked for."""

    def __init__(self, draw: Callable[[int], bytes], begin: Callable[[], None] = lambda: None) -> None:
        self.draw, self.begin = draw, begin

    def rows(self, source: Path) -> Iterator[SourceRow]:
        self.begin()
        for i in range(7):
            yield SourceRow("", partial(self.draw, i), (f"c{i}",))


def test_a_run_reads_each_report_once(t2i: Runner, make_picture: Callable[..., bytes], tmp_path: Path) -> None:
    def spoil_reports() -> None:
        for path in report.files(tmp_path / "out"):
            path.write_bytes(b"read already")

    words = ("prepare", "rows", tmp_path, "--output", tmp_path / "out", "--json", "--shard-rows", 3)
    t2i.use(Source(Local(make_picture)))
    first = t2i.ok(*words).json()
    t2i.use(Source(Local(make_picture, spoil_reports)))
    assert t2i.ok(*words).json() == first and len(report.files(tmp_path / "out")) == 3


def test_an_image_that_is_drawn_when_it_is_wanted_is_drawn_once(
    t2i: Runner, make_picture: Callable[..., bytes], tmp_path: Path
) -> None:
    drawn: list[int] = []

    def draw(i: int) -> bytes:
        drawn.append(i)
        return make_picture(i % 5)

    t2i.use(Source(Local(draw)))
    done = t2i.ok("prepare", "rows", tmp_path, "--output", tmp_path / "out", "--json").json()
    assert sorted(drawn) == list(range(7)) and done["images"] == 5
    assert fates(tmp_path / "out") == ["ok"] * 5 + ["duplicate-image"] * 2


def test_shards_are_added_and_never_changed(server: Any, make_picture: Callable[..., bytes], tmp_path: Path) -> None:
    source = table(tmp_path / "x.csv", [(server.url("/good/1"), "a"), (server.url("/later"), "b")])
    before = prepare(job(source)).data
    first = (before.folder / "000000.tar").read_bytes()
    server.bodies["/later"] = make_picture(203)
    after = prepare(job(source)).data
    assert [shard.name for shard in after.card.shards] == ["000000", "000000-1"]
    assert (before.folder / "000000.tar").read_bytes() == first
    assert rows_of(before) == [("a",)]  # who had it open still sees what it opened


def test_rows_are_retried_by_reason(server: Any, tmp_path: Path) -> None:
    source = table(
        tmp_path / "x.csv", [(server.url("/404"), "a"), (server.url("/500"), "b"), (server.url("/noai"), "c")]
    )
    prepare(job(source))
    server.hits.clear()
    prepare(job(source), retry=frozenset({"http-404", "opted-out"}))
    assert set(server.hits) == {"/404", "/noai"}


def test_a_source_that_changed_before_its_end_is_refused(server: Any, tmp_path: Path) -> None:
    source = table(tmp_path / "x.csv", [(server.url("/good/1"), "a"), (server.url("/good/2"), "b")])
    prepare(job(source))
    table(source, [(server.url("/good/3"), "a"), (server.url("/good/2"), "b")])
    with pytest.raises(T2IError, match="row 0 was"):
        prepare(job(source))


def test_other_rules_do_not_mix_into_an_earlier_run(server: Any, tmp_path: Path) -> None:
    source = table(tmp_path / "x.csv", [(server.url("/good/1"), "a")])
    prepare(job(source))
    with pytest.raises(T2IError, match="started with another rules"):
        prepare(job(source, min_side=5))


def test_two_runs_in_one_folder_are_refused(server: Any, tmp_path: Path) -> None:
    import filelock

    source = table(tmp_path / "x.csv", [(server.url("/good/1"), "a")])
    (tmp_path / "out").mkdir()
    with filelock.FileLock(tmp_path / "out" / ".lock"), pytest.raises(T2IError, match="another t2i prepare"):
        prepare(job(source))


def test_a_full_disk_leaves_nothing_half_written(
    server: Any, make_picture: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = table(tmp_path / "x.csv", [(server.url(f"/good/{i}"), str(i)) for i in range(7)])

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(T2IError, match="No space left") as caught:
            prepare(job(source))
    assert caught.value.code == 1
    left = [path.name for path in (tmp_path / "out").rglob("*") if path.suffix in (".tar", ".parquet", ".part")]
    assert left == []
    assert len(prepare(job(source)).data) == 7


def test_an_empty_table_is_an_error_and_not_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(T2IError, match="no rows in"):
        prepare(job(table(tmp_path / "x.csv", [])))


def test_equal_rows_are_kept_apart_when_duplicates_are_wanted(server: Any, tmp_path: Path) -> None:
    source = table(tmp_path / "x.csv", [(server.url("/good/1"), "a")] * 3)
    assert fates(prepare(job(source)).data.folder) == ["ok", "duplicate-key", "duplicate-key"]
    (tmp_path / "b").mkdir()
    kept = prepare(job(table(tmp_path / "b" / "x.csv", [(server.url("/good/1"), "a")] * 3), duplicates="keep"))
    assert len({kept.data.key(i) for i in range(3)}) == 3


def test_the_identity_does_not_depend_on_the_order_of_arrival(server: Any, tmp_path: Path) -> None:
    rows = [(server.url(f"/good/{i}"), str(i)) for i in range(20)]
    found = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        server.delay = 0.01 * (name == "b")
        found.add(prepare(job(table(tmp_path / name / "x.csv", rows))).data.sha256)
    assert len(found) == 1


def test_pictures_do_not_pile_up_in_memory(server: Any, make_picture: Callable[..., bytes], tmp_path: Path) -> None:
    import gc

    from t2icli.prepare.pictures import StoredPicture

    most = calls = 0

    def count(*_: object) -> None:
        nonlocal most, calls
        calls += 1
        if calls % 20 == 0:
            most = max(most, sum(type(thing) is StoredPicture for thing in gc.get_objects()))

    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(80):
        (folder / f"{i}.jpg").write_bytes(make_picture(i))
    limits = FetchLimits(concurrency=4, allow_private=True)
    local = prepare(Preparation("folder", folder, tmp_path / "a", PreparePlan(Rules(), limits, 500)), progress=count)
    rows = [(server.url(f"/good/{i}"), str(i)) for i in range(80)]
    remote = prepare(job(table(tmp_path / "x.csv", rows), shard_rows=500, limits=limits), progress=count)
    assert len(local.data) == len(remote.data) == 80
    assert most < 40


def test_it_runs_inside_an_event_loop(server: Any, tmp_path: Path) -> None:
    import asyncio

    async def in_a_notebook() -> int:
        return len(prepare(job(table(tmp_path / "x.csv", [(server.url("/good/1"), "a")]))).data)

    assert asyncio.run(in_a_notebook()) == 1


def test_of_equal_local_images_the_first_is_kept_in_every_run(
    make_picture: Callable[..., bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(20):
        (folder / f"{i:02d}.jpg").write_bytes(make_picture(i % 10))
    for name in ("a", "b"):
        data = prepare(Preparation("folder", folder, tmp_path / name, PreparePlan(Rules(), FAST, 3))).data
        assert [data.key(i) for i in range(len(data))] == [f"{i:02d}" for i in range(10)]


def test_images_that_look_alike_are_dropped_when_asked(make_picture: Callable[..., bytes], tmp_path: Path) -> None:
    import io

    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    whole = Image.radial_gradient("L")
    for name, side, quality in (("a", 200, 95), ("b", 150, 70), ("c", 90, 50)):
        stream = io.BytesIO()
        whole.resize((side, side)).save(stream, "JPEG", quality=quality)
        (folder / f"{name}.jpg").write_bytes(stream.getvalue())
    (folder / "d.jpg").write_bytes(make_picture(-1))
    for duplicates, kept in (("exact", 4), ("similar", 2)):
        out = tmp_path / duplicates
        done = prepare(Preparation("folder", folder, out, PreparePlan(Rules(duplicates=duplicates), FAST)))  # type: ignore[arg-type]
        assert len(done.data) == kept
        assert (
            len(prepare(Preparation("folder", folder, out, PreparePlan(Rules(duplicates=duplicates), FAST))).data)
            == kept
        )  # type: ignore[arg-type]


def test_nothing_is_fetched_offline(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_OFFLINE", "1")
    with pytest.raises(T2IError, match="cannot be fetched: offline"):
        prepare(job(table(tmp_path / "x.csv", [(server.url("/good/1"), "a"), (server.url("/good/2"), "b")])))
    assert not server.hits


class Drawn:
    """A source whose rows take time, and that has no end."""

    def __init__(self, picture: bytes) -> None:
        self.picture, self.read = picture, 0

    def rows(self, path: Path) -> Iterator[SourceRow]:
        while True:
            self.read += 1
            time.sleep(0.002)
            yield SourceRow(f"{self.read}", self.picture, (f"row {self.read}",))


def test_ctrl_c_does_not_wait_for_rows_that_are_being_drawn(
    make_picture: Callable[..., bytes], tmp_path: Path, t2i: Runner
) -> None:
    source = Drawn(make_picture(1))
    t2i.use(Source(source))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    pressed = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    try:
        pressed.start()
        with pytest.raises(KeyboardInterrupt):
            prepare(Preparation("rows", tmp_path, tmp_path / "out", PreparePlan(shard_rows=10**6)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert 0 < source.read < 20_000, "it would have read on to the end of a block"


def test_pictures_that_are_made_when_wanted_are_made_once_and_only_for_rows_that_stay(
    make_picture: Callable[..., bytes], tmp_path: Path, t2i: Runner
) -> None:
    made: list[int] = []

    def make(at: int) -> bytes:
        made.append(at)
        return make_picture(at)

    class Made:
        def rows(self, path: Path) -> Iterator[SourceRow]:
            yield from (SourceRow(f"{at}", partial(make, at), (["a", "long enough"][at % 2],)) for at in range(6))
            yield SourceRow("", partial(make, 6), ("it has no key",))

    t2i.use(Source(Made()))
    rules = Rules(min_length=3)
    done = prepare(Preparation("rows", tmp_path, tmp_path / "out", PreparePlan(rules, shard_rows=2)))
    assert set(made) == {1, 3, 5, 6} and len(done.data) == 4
    assert [made.count(at) for at in (1, 3, 5)] == [1, 1, 1]
    assert done.data.key(3) == dataset.key_of(make_picture(6), ("it has no key",))
    made.clear()
    prepare(Preparation("rows", tmp_path, tmp_path / "out", PreparePlan(rules, shard_rows=2)))
    assert not made, "what is prepared already is not made again"
