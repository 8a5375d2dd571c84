"""A folder of pictures becomes a training set in two commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from t2icli.data.dataset import PreparedDataset


def test_captioned_pictures_are_prepared_and_trained_on(fake: Any, tiny_model: Path, few_words: Path) -> None:
    folder = Path("pictures")
    (folder / "more").mkdir(parents=True)
    for name, colour in (("a.png", "red"), ("b.jpg", "green"), ("more/c.png", "blue")):
        Image.new("RGB", (16, 16), colour).save(folder / name)
    options = ("-o", "embedder=fake", "-o", "max_tokens=8")
    told = fake.ok("caption", folder, "-m", tiny_model, "-n", 2, "--seed", 1, "--txt", "--json", *options).json()
    written = {Path(each["path"]).stem: each["captions"] for each in told["results"]}
    assert {path.stem: path.read_text(encoding="utf-8").splitlines() for path in folder.rglob("*.txt")} == written

    fake.ok("prepare", "folder", folder, "--output", "data", "--val", 0)
    data = PreparedDataset.open("data")
    said = {data.key(i).split("/")[-1]: list(dict.fromkeys(data.captions(i))) for i in range(len(data))}
    assert said == {name: list(dict.fromkeys(filter(None, captions))) for name, captions in written.items()}

    tiny = {"embedder": "fake", "vocabulary": few_words, "prefix": 2, "width": 32, "layers": 1, "heads": 2}
    words = [word for key, value in tiny.items() for word in ("-o", f"{key}={value}")]
    fake.ok("train", "clipcap", "--train-data", "data", "--output", "run", *words, "--max-steps", 1, "--batch-size", 2)
    fake.ok("caption", folder / "a.png", "-m", "run/model", *options, "--json")


def test_a_picture_that_cannot_be_opened_is_left_out_and_said(fake: Any, tiny_model: Path) -> None:
    Image.new("RGB", (16, 16), "red").save("good.png")
    Path("bad.png").write_bytes(b"no picture")
    words = ("caption", "good.png", "bad.png", "-m", tiny_model, "-o", "embedder=fake", "-o", "max_tokens=4", "--json")
    told = fake.run(*words)
    assert told.code == 3
    assert [each["path"] for each in told.json()["unreadable"]] == ["bad.png"]
    assert len(told.json()["results"]) == 1
