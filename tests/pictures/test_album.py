"""The folder of pictures: whoever else writes into it, and whenever a run is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from t2icli.ground.errors import T2IError
from t2icli.pictures import album
from t2icli.pictures.album import Album

ROW: dict[str, Any] = {
    **{"file": None, "prompt": "x", "rank": 1, "seed": 7},
    **{"score": None, "scores": {}, "model": "m", "sha256": None},
}
PICTURE = Image.new("RGB", (8, 8))


def add(opened: Album, pictures: int) -> None:
    row = {key: value for key, value in ROW.items() if key != "file"}
    opened.add([(PICTURE, row)] * pictures + [(None, row)], {}, [])


def check(folder: Path) -> None:
    """Every picture has its row and every row its picture, and nothing else is left."""
    noted = [row["file"] for row in Album(folder).results() if row["file"] is not None]
    assert sorted(noted) == sorted(path.name for path in folder.glob("*.png") if path.name != album.GRID)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] in ([], [".lock"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"rank": "<script>alert(1)</script>"},
        {"seed": [1]},
        {"rank": 1.5},
        {"score": "0.5"},
        {"scores": {"clip": None}},
        {"scores": [1]},
        {"prompt": None},
        {"model": {}},
        {"sha256": 7},
        {"file": "javascript:alert(1)"},
        {"file": "../000.png"},
        {"file": "000.png\n"},
        {"file": "٠٠٠.png"},
        {"file": 0},
        {"score": float("nan")},
        {"score": float("inf")},
        {"prompt": "\ud800"},
    ],
    ids=str,
)
def test_a_foreign_row_is_named_before_anything_is_drawn(tmp_path: Path, wrong: dict[str, Any]) -> None:
    lines = [json.dumps(ROW), json.dumps({**ROW, **wrong})]
    (tmp_path / "results.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(T2IError, match=r"line 2 of '.*results\.jsonl' (is damaged|was not written by t2i generate)"):
        with Album(tmp_path).opened():
            raise AssertionError("it was opened")
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]


@pytest.mark.parametrize("line", [b"[" * 100_000, b"\xff\xfe", b"7", b"null", b"[]", b'{"file":'])
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "results.jsonl").write_bytes(json.dumps(ROW).encode() + b"\n\n" + line + b"\n")
    with pytest.raises(T2IError, match="line 3 of"):
        Album(tmp_path).results()


def test_what_a_row_says_besides_is_kept(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text(json.dumps({**ROW, "mine": [1, {"a": 0.1}]}))
    with Album(tmp_path).opened() as opened:
        add(opened, 1)
    assert Album(tmp_path).results()[0]["mine"] == [1, {"a": 0.1}]


@pytest.mark.parametrize("tail", [b'{"file": "001.p', b"{", '{"prompt": "面'.encode()[:-1]])
def test_a_line_that_a_kill_cut_off_does_not_count_and_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    whole = json.dumps(ROW).encode() + b"\n"
    (tmp_path / "results.jsonl").write_bytes(whole + tail)
    assert Album(tmp_path).results() == [ROW]
    with Album(tmp_path).opened() as opened:
        add(opened, 1)
    content = (tmp_path / "results.jsonl").read_bytes()
    assert content.startswith(whole + b'{"file": "000.png"') and len(content.splitlines()) == 3
    check(tmp_path)


def test_rows_are_appended_and_the_earlier_ones_are_not_read_again(tmp_path: Path) -> None:
    with Album(tmp_path).opened() as one:
        add(one, 1)
        before = (tmp_path / "results.jsonl").read_bytes()
        # What is damaged now would be noticed if it were read: the same number of bytes, no row.
        (tmp_path / "results.jsonl").write_bytes(b"x" * (len(before) - 1) + b"\n")
        add(one, 1)
        (tmp_path / "results.jsonl").write_bytes(before + (tmp_path / "results.jsonl").read_bytes()[len(before) :])
    check(tmp_path)
    assert [row["file"] for row in one.filed] == ["000.png", None, "001.png", None]


def test_two_runs_in_turn_number_on_from_each_other(tmp_path: Path) -> None:
    with Album(tmp_path).opened() as one, Album(tmp_path).opened() as other:
        for opened in (one, other, other, one):
            add(opened, 1)
        (tmp_path / "004.png").write_text("mine")
        add(one, 1)
    assert [row["file"] for row in one.filed if row["file"]] == ["000.png", "003.png", "005.png"]
    assert len(other.filed) == 4 and (tmp_path / "004.png").read_text() == "mine"


@pytest.mark.skipif(os.name != "posix", reason="sets a limit on the size of files")
def test_a_disk_that_is_full_in_the_middle_of_a_line_leaves_no_part_of_it(tmp_path: Path) -> None:
    import resource

    with Album(tmp_path).opened() as opened:
        add(opened, 1)
        before = (tmp_path / "results.jsonl").read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
        try:
            with pytest.raises(T2IError, match="cannot write"):
                opened.add([(None, {key: value for key, value in ROW.items() if key != "file"})], {}, [])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (tmp_path / "results.jsonl").read_bytes() == before
        add(opened, 1)
    check(tmp_path)


def test_a_large_gallery_has_several_pages_and_the_grid_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(album, "PAGE", 2)
    monkeypatch.setattr(album, "SHEET", 4)
    with Album(tmp_path).opened() as opened:
        add(opened, 5)
        opened.publish()
        pages = [(tmp_path / name).read_text() for name in ("index.html", "index-2.html", "index-3.html")]
        assert [page.count("<img src=") for page in pages] == [2, 2, 1]
        assert all("5 pictures, the best of 6" in page for page in pages)
        with Image.open(tmp_path / album.GRID) as sheet:
            assert sheet.size == (512, 512)
        for name in ("000.png", "001.png", "002.png"):
            (tmp_path / name).unlink()
        opened.publish()
    assert sorted(path.name for path in tmp_path.glob("*.html")) == ["index.html"]


def test_force_does_not_clear_the_folder_of_a_run_that_lives(tmp_path: Path) -> None:
    with Album(tmp_path).opened() as one:
        add(one, 2)
        with pytest.raises(T2IError, match="another t2i generate is working"):
            with Album(tmp_path).opened(force=True):
                raise AssertionError("it was opened")
        add(one, 1)
    check(tmp_path)
    with Album(tmp_path).opened(force=True) as opened:
        add(opened, 1)
    assert len(Album(tmp_path).results()) == 2
    check(tmp_path)


def test_a_run_leaves_the_unfinished_files_of_another_alone(tmp_path: Path) -> None:
    with Album(tmp_path).opened() as one:
        (one.space / "half").write_text("")
        with Album(tmp_path).opened() as other:
            add(other, 1)
        assert (one.space / "half").exists()
    check(tmp_path)


def test_a_link_in_the_place_of_a_left_over_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/000.png").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.t2i-run-x").symlink_to(tmp_path / "precious")
    with Album(tmp_path / "out").opened() as opened:
        add(opened, 1)
    assert (tmp_path / "precious/000.png").read_text() == "mine"


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_album import Album, add, check

folder = Path(sys.argv[2])

def run(force):
    with Album(folder).opened(force=force) as opened:
        opened.keep_settings({"seed": os.getpid()})
        add(opened, 2)
        add(opened, 1)
        opened.publish()

def killed(at, force):
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == signal.SIGKILL
    left = at
    def hook(event, args):
        nonlocal left
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir") and str(folder) in str(args[0]):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    run(force)
    os._exit(0)

times = 0
for force in (False, True):
    at = 1
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        run(False)
        if not killed(at, force):
            break
        with Album(folder).opened():
            pass
        check(folder)
        at, times = at + 1, times + 1
print(times)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_at_any_touch_of_a_file_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
def test_runs_killed_at_random_moments_leave_nothing_behind(tmp_path: Path) -> None:
    pytest.importorskip("t2i_noise")
    out, chance = tmp_path / "out", random.Random(int(os.environ.get("T2I_SEED", "0")))
    words = [sys.executable, "-m", "t2icli", "generate", "x", "-m", "noise", "-o", "size=16", "--output", str(out)]
    for _ in range(20):
        more = chance.choice([[], ["--force"], ["--rerank", "colours"], ["--rerank", "colours", "--top", "3"]])
        running = [subprocess.Popen([*words, "-n", "200", *more], stderr=subprocess.DEVNULL) for _ in range(2)]
        time.sleep(chance.uniform(0.5, 6))
        for process in running:
            process.send_signal(signal.SIGKILL)
            process.wait()
        subprocess.run([*words, "-n", "1"], check=True, stderr=subprocess.DEVNULL, timeout=120)
        check(out)


def test_a_run_that_was_killed_before_its_first_picture_is_no_obstacle(tmp_path: Path) -> None:
    for size in (1, 2):
        with Album(tmp_path / "o").opened() as album:
            album.keep_settings({"size": size})
    assert (tmp_path / "o/settings-2.toml").exists()


def test_two_runs_at_once_take_turns_at_filing(tmp_path: Path) -> None:
    row = {key: value for key, value in ROW.items() if key != "file"}

    def fill() -> None:
        with Album(tmp_path / "out").opened() as opened:
            for _ in range(4):
                opened.add([(PICTURE, row)] * 5, {}, [])

    with ThreadPoolExecutor(2) as pool:
        [job.result() for job in [pool.submit(fill) for _ in range(2)]]
    files = [row["file"] for row in Album(tmp_path / "out").results()]
    assert sorted(files) == [f"{number:03d}.png" for number in range(40)]
