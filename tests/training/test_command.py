"""`t2i train` as a user meets it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import picture
from PIL import Image

from t2icli.ground import toml
from t2icli.store import models
from t2icli.testing import Runner

QUICK = ("--max-steps", "2", "--report-to", "none")


def test_without_a_recipe_it_lists_them(tiny_t2i: Runner) -> None:
    listed = tiny_t2i.ok("train").stdout
    assert "a recipe for tests" in listed and "discrete VAE" in listed


def test_a_dry_run_says_what_would_be_trained_and_writes_nothing(tiny_t2i: Runner, data: Path) -> None:
    said = tiny_t2i.ok("train", "tiny", "--train-data", data, "--dry-run", "--epochs", 2, "-o", "loop.max_steps=none")
    assert "10 to train on, 4 held out" in said.stdout
    assert "5 of at most 4 samples" in said.stdout
    assert not Path("runs").exists()


def test_a_run_that_is_refused_leaves_nothing(tiny_t2i: Runner, data: Path) -> None:
    tiny_t2i.fails("train", "tini", "--train-data", data, says="did you mean 'tiny'?")
    tiny_t2i.fails("train", "tiny", says="--train-data is missing")
    assert not Path("runs").exists()
    Path("mine").mkdir()
    tiny_t2i.fails("train", "tini", "--train-data", data, "--output", "mine", says="no recipe called 'tini'")
    assert Path("mine").is_dir(), "a folder that was there stays"


def test_the_settings_of_a_run_can_be_given_back(tiny_t2i: Runner, data: Path) -> None:
    tiny_t2i.ok("train", "tiny", "--train-data", data, *QUICK, "--lr", "0.005", "-o", "width=4", "--output", "x")
    written = toml.read(Path("x/settings.toml"))
    assert written["option"]["width"] == 4 and written["option"]["loop"]["lr"] == 0.005
    tiny_t2i.ok("train", "--config", "x/settings.toml", "--output", "y")
    assert Path("x/model", models.WEIGHTS).read_bytes() == Path("y/model", models.WEIGHTS).read_bytes()
    assert Path("x/settings.toml").read_text() == Path("y/settings.toml").read_text()


def test_flags_beat_variables_beat_the_file(tiny_t2i: Runner, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("f.toml").write_text(f"train_data = '{data}'\nlr = 0.1\nwarmup = 3\nmax_steps = 1\n[option]\nwidth = 4\n")
    monkeypatch.setenv("T2I_LR", "0.2")
    monkeypatch.setenv("T2I_WARMUP", "4")
    tiny_t2i.ok("train", "tiny", "--config", "f.toml", "--lr", "0.3", "--report-to", "none")
    option = toml.read(Path("runs/tiny/settings.toml"))["option"]
    assert (option["loop"]["lr"], option["loop"]["warmup"], option["width"]) == (0.3, 4, 4)


def test_a_mistake_in_the_file_names_the_file(tiny_t2i: Runner, data: Path) -> None:
    Path("f.toml").write_text(f"train_data = '{data}'\ndevices = 0\n")
    tiny_t2i.fails("train", "tiny", "--config", "f.toml", "--dry-run", says="it is set in the file of --config: f.toml")


def test_a_plain_folder_is_prepared_on_the_way(tiny_t2i: Runner) -> None:
    Path("pictures").mkdir()
    for i in range(8):
        Image.open(io.BytesIO(picture(i))).save(f"pictures/{i}.png")
        Path(f"pictures/{i}.txt").write_text("a picture\n")
    tiny_t2i.ok("train", "tiny", "--train-data", "pictures", *QUICK)


def test_what_is_left_out_of_a_folder_on_the_way_is_said(tiny_t2i: Runner) -> None:
    Path("pictures").mkdir()
    for i in range(8):
        Path(f"pictures/{i}.png").write_bytes(picture(i % 5))
    Path("pictures/bad.png").write_text("no picture")
    said = tiny_t2i.ok("train", "tiny", "--train-data", "pictures", *QUICK).stderr
    assert "4 of 9 rows of '" in said and "left out: duplicate-image 3, not-an-image 1" in said


def test_held_out_data_may_be_given(tiny_t2i: Runner, data: Path) -> None:
    said = tiny_t2i.ok("train", "tiny", "--train-data", data, "--val-data", data, *QUICK).stderr
    assert "evaluate 2/2" in said


def test_tensorboard_is_left_alone_when_told_so(tiny_t2i: Runner, data: Path) -> None:
    tiny_t2i.ok("train", "tiny", "--train-data", data, *QUICK)
    assert not Path("runs/tiny/tensorboard").exists()


def test_averaged_weights_are_what_is_saved(tiny_t2i: Runner, data: Path) -> None:
    for name, decay in (("plain", "0"), ("slow", "0.999")):
        tiny_t2i.ok("train", "tiny", "--train-data", data, *QUICK, "--ema", decay, "--output", name)
    assert Path("plain/model", models.WEIGHTS).read_bytes() != Path("slow/model", models.WEIGHTS).read_bytes()


@pytest.mark.slow
def test_two_devices_are_started_for_the_user(tmp_path: Path, data: Path) -> None:
    tiny = "image_size=4 num_layers=1 num_tokens=8 codebook_dim=8 hidden_dim=8".split()
    words = [
        "train",
        "vae",
        "--train-data",
        str(data),
        *QUICK,
        "--devices",
        "2",
        "--device",
        "cpu",
        "--batch-size",
        "4",
    ]
    options = [part for word in tiny for part in ("-o", word)]
    done = subprocess.run(
        [sys.executable, "-m", "t2icli", *words, *options], cwd=tmp_path, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "runs/vae/model"
    assert done.stderr.count("train 2/2") == 1
    models.open_model(tmp_path / "runs/vae/model").file()
