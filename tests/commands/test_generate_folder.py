"""The folder that `t2i generate` writes into: earlier runs, files of others, names, a full disk."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from t2icli.ground import toml
from t2icli.pictures import images, prompts
from t2icli.pictures.album import Album
from t2icli.testing import Runner, toys


@pytest.fixture(autouse=True)
def plugin(t2i: Runner) -> None:
    t2i.use(toys)


def results(folder: str | Path) -> list[dict[str, Any]]:
    return Album(Path(folder)).results()


def reds(folder: str | Path) -> list[int]:
    pictures = sorted(path for path in Path(folder).glob("*.png") if path.name != "grid.png")
    return [images.open_image(path).getpixel((0, 0))[0] for path in pictures]  # type: ignore[index]


@pytest.mark.parametrize(
    "prompt",
    ["x" * 10_000, "a\nb", "🍜👩‍🍳", "𰻝𰻝面", "مرحبا", "../../../etc/passwd", "<script>alert(1)</script>", "CON"],
)
def test_whatever_the_prompt_everything_stays_in_the_folder(t2i: Runner, tmp_path: Path, prompt: str) -> None:
    before = set(tmp_path.rglob("*"))
    t2i.ok("generate", prompt, "-n", 1)
    new = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(tmp_path / "here/pictures") for path in new)
    (folder,) = (tmp_path / "here/pictures").iterdir()
    assert results(folder)[0]["prompt"] == prompts.clean(prompt)
    assert images.read_record(folder / "000.png")["prompt"] == prompts.clean(prompt)
    assert "<script>alert" not in (folder / "index.html").read_text(encoding="utf-8")


def test_a_second_run_continues_the_numbering_and_replaces_no_picture(t2i: Runner) -> None:
    t2i.ok("generate", "x", "-n", 2, "--seed", 1, "--output", "out")
    before = Path("out/000.png").read_bytes()
    t2i.ok("generate", "y", "-n", 2, "--seed", 5, "--output", "out")
    assert Path("out/000.png").read_bytes() == before
    assert reds("out") == [1, 2, 5, 6]
    assert [row["prompt"] for row in results("out")] == ["x", "x", "y", "y"]
    page = Path("out/index.html").read_text(encoding="utf-8")
    assert all(f'href="{number:03d}.png"' in page for number in range(4))
    assert toml.read(Path("out/settings.toml"))["seed"] == 1
    assert toml.read(Path("out/settings-2.toml"))["seed"] == 5


def test_force_replaces_what_earlier_runs_left_and_nothing_else(t2i: Runner) -> None:
    t2i.ok("generate", "x", "-n", 3, "--output", "out")
    Path("out/mine.png").write_bytes(b"precious")
    Path("out/900.png").write_bytes(b"precious")
    Path("out/settings-mine.toml").write_bytes(b"precious")
    t2i.ok("generate", "y", "-n", 1, "--output", "out", "--force")
    assert [row["prompt"] for row in results("out")] == ["y"]
    assert all(Path("out", name).read_bytes() == b"precious" for name in ("mine.png", "900.png", "settings-mine.toml"))
    assert not Path("out/001.png").exists()


def test_a_mistake_beside_force_costs_no_picture(t2i: Runner) -> None:
    t2i.ok("generate", "x", "-n", 1, "--output", "out")
    t2i.fails("generate", "x", "-o", "sise=1", "--output", "out", "--force")
    assert Path("out/000.png").exists()


@pytest.mark.parametrize("name", ["index.html", "grid.png", "settings.toml"])
def test_files_of_others_are_not_overwritten(t2i: Runner, name: str) -> None:
    Path("site").mkdir()
    Path("site", name).write_text("mine")
    t2i.fails("generate", "x", "--output", "site", says=f"{name}' already exists")
    assert Path("site", name).read_text() == "mine"
    assert len(list(Path("site").iterdir())) == 1


def test_pictures_of_others_are_numbered_around(t2i: Runner) -> None:
    Path("out").mkdir()
    Path("out/004.png").write_bytes(b"mine")
    t2i.ok("generate", "x", "-n", 1, "--output", "out")
    assert Path("out/004.png").read_bytes() == b"mine"
    assert Path("out/005.png").exists()


def test_a_folder_that_cannot_be_made_is_named(t2i: Runner) -> None:
    Path("file").write_text("")
    t2i.fails("generate", "x", "--output", "file", code=1, says="cannot make the folder 'file'")


def test_damaged_results_are_not_written_over(t2i: Runner) -> None:
    Path("out").mkdir()
    for content, says in (('{"file": \n', "is damaged"), ('{"loss": 1}\n', "was not written by t2i generate")):
        Path("out/results.jsonl").write_text(content)
        t2i.fails("generate", "x", "--output", "out", says=says)
        assert Path("out/results.jsonl").read_text() == content
        assert len(list(Path("out").iterdir())) == 1


def test_a_picture_that_was_spoilt_since_is_no_obstacle(t2i: Runner) -> None:
    t2i.ok("generate", "x", "-n", 2, "--output", "out")
    Path("out/000.png").write_bytes(b"")
    Path("out/001.png").unlink()
    t2i.ok("generate", "x", "-n", 1, "--output", "out")
    assert [row["file"] for row in results("out")] == ["000.png", "001.png", "002.png"]


def test_a_full_disk_keeps_what_was_written(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if "002" in self.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    t2i.fails("generate", "x", "-n", 4, "--output", "out", code=1, says="002.png': No space left on device")
    assert [row["file"] for row in results("out")] == ["000.png", "001.png"]
    assert len(reds("out")) == 2
