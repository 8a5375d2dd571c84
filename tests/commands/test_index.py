"""`t2i embed --index` and searching with it, and the page of `t2i search`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from t2icli.contract.entries import Entry
from t2icli.contract.hookspecs import hookimpl
from t2icli.data import shards
from t2icli.data.dataset import SourceRow
from t2icli.pipelines import vector_index
from t2icli.pipelines.vectors import Vectors
from t2icli.testing import Runner, toys

WIDTH = 32
TEXTS = 3000


class Settings(msgspec.Struct, frozen=True): ...


class Families:
    """The vectors of `7 of 40` and `7 of 41` are near to each other; a picture is the text of its width."""

    width = WIDTH
    embedded = 0

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        Families.embedded += len(texts)
        return torch.stack([self._vector(*map(int, text.split(" of "))) for text in texts])

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        return self.embed_texts([f"{image.width} of {image.height}" for image in images])

    def _vector(self, family: int, member: int) -> Tensor:
        middle, own = (np.random.default_rng(seed).standard_normal(WIDTH) for seed in (family, 1000 + member))
        return torch.nn.functional.normalize(torch.tensor(middle + 0.2 * own, dtype=torch.float32), dim=0)


class Plugin:
    @hookimpl
    def t2i_embedders(self) -> list[Entry[Any]]:
        return [Entry("families", "families of vectors", Settings, lambda settings: Families())]


@pytest.fixture
def texts(t2i: Runner) -> Path:
    pytest.importorskip("faiss")
    t2i.use(Plugin())
    Path("texts.txt").write_text("".join(f"{i % 60} of {i}\n" for i in range(TEXTS)))
    return Path("texts.txt")


EMBED = ("-m", "families", "--output", "vectors", "--shard-rows", 700)


def found(t2i: Runner, *words: object) -> list[tuple[str, float]]:
    results = t2i.ok("search", "7 of 99999", "vectors", *words, "--json").json()["results"]
    return [(result["text"], pytest.approx(result["score"], abs=1e-6)) for result in results]


def test_an_index_finds_what_comparing_all_finds(t2i: Runner, texts: Path) -> None:
    shown = t2i.ok("embed", texts, *EMBED, "--index").stderr
    assert "of the 10 nearest, asked for 200 vectors" in shown
    exact = found(t2i, "--exact")
    assert len(exact) == 10 and all(text.startswith("7 of ") for text, _ in exact)
    assert found(t2i) == exact
    vectors = Vectors.at(Path("vectors"))
    assert vectors is not None
    query = Families().embed_texts(["7 of 99999"])[0].numpy()
    among = vector_index.open_index(vectors).candidates(query, 10)
    assert len(among) <= 104  # rather than all 3,000
    assert vectors.nearest(query, 10, among) == vectors.nearest(query, 10)


def test_an_index_is_made_for_vectors_that_are_there_and_once(t2i: Runner, texts: Path) -> None:
    t2i.ok("embed", texts, *EMBED)
    Families.embedded = 0
    assert t2i.ok("embed", texts, *EMBED, "--index", "--json").json()["recall"] > 0.9
    before = Path("vectors/index.faiss").stat()
    assert "recall" not in t2i.ok("embed", texts, *EMBED, "--index", "--json").json()
    assert Path("vectors/index.faiss").stat().st_mtime_ns == before.st_mtime_ns
    assert Families.embedded == 0


def test_pictures_are_tried_with_their_captions_and_those_without_vector_are_left_out(t2i: Runner, texts: Path) -> None:
    sizes = {f"{i:03d}": (30 + i % 20, 30 + i) for i in range(300)}
    rows = [SourceRow(key, toys.picture("red", size), ("{} of {}".format(*size),)) for key, size in sizes.items()]
    data = shards.write("data", rows)
    with Path("data/000000.tar").open("r+b") as tar:  # a picture that is damaged since
        tar.seek(Path("data/000000.tar").read_bytes().index(data.image_bytes(5)))
        tar.write(b"<html>")
    shown = t2i.fails("embed", "data", *EMBED, "--index", code=3, says="skipped").stderr
    assert "asked for 200 captions" in shown
    vectors = Vectors.at(Path("vectors"))
    assert vectors is not None and vector_index.open_index(vectors).faiss.ntotal == 299
    best = t2i.ok("search", "35 of 55", "vectors", "--top", 3, "--json").json()["results"]
    assert best[0]["picture"] == "025" and best[0]["captions"] == ["35 of 55"]


def test_a_damaged_index_is_named_before_it_is_opened(t2i: Runner, texts: Path) -> None:
    t2i.ok("embed", texts, *EMBED, "--index")
    path = Path("vectors/index.faiss")
    content = path.read_bytes()
    for bad in (content[:-100], b"x" * len(content)):
        path.write_bytes(bad)
        t2i.fails("search", "7 of 1", "vectors", code=1, says="'vectors/index.faiss' is damaged")
    Path("vectors/index.toml").unlink()
    t2i.ok("search", "7 of 1", "vectors")


def test_without_faiss_all_vectors_are_compared_and_it_is_said_how_to_install_it(
    t2i: Runner, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    t2i.ok("embed", texts, *EMBED, "--index")
    exact = found(t2i, "--exact")
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(vector_index, "is_usable", lambda: False)
    result = t2i.ok("search", "7 of 99999", "vectors")
    assert "t2i install 't2icli[search]'" in result.stderr and result.stdout.splitlines() == [text for text, _ in exact]
    Path("vectors/index.toml").unlink()
    t2i.fails("embed", texts, *EMBED, "--index", says="an index of vectors needs faiss")


def test_above_a_million_vectors_an_index_is_recommended(
    t2i: Runner, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    t2i.ok("embed", texts, *EMBED)
    assert "--index" not in t2i.ok("search", "7 of 1", "vectors").stderr
    monkeypatch.setattr(vector_index, "EXACT", 2000)
    assert "all of 3000 vectors are compared; t2i embed --index" in t2i.ok("search", "7 of 1", "vectors").stderr


def test_few_vectors_can_have_an_index_too(t2i: Runner, texts: Path) -> None:
    texts.write_text("1 of 1\n2 of 2\n")
    t2i.ok("embed", texts, *EMBED, "--index")
    assert [text for text, _ in found(t2i)] == [text for text, _ in found(t2i, "--exact")]


def test_an_index_works_in_the_process_of_a_real_embedder(t2i: Runner, texts: Path) -> None:
    """Torch and faiss bring an OpenMP each."""
    pytest.importorskip("t2i_starter")
    pytest.importorskip("t2i_brivl")
    Path("menu.txt").write_text("红烧牛肉面\n番茄炒蛋\na bowl of rice\n" * 20, encoding="utf-8")
    words = [sys.executable, "-m", "t2icli"]
    subprocess.run([*words, "embed", "menu.txt", "-m", "brivl", "--output", "real", "--index"], check=True, timeout=120)
    told = subprocess.run(
        [*words, "search", "番茄炒蛋", "real", "--top", "1"], capture_output=True, text=True, timeout=120
    )
    assert told.stdout.strip() == "番茄炒蛋"


def test_the_pictures_found_are_one_page_with_everything_in_it(t2i: Runner) -> None:
    t2i.use(toys)
    rows = [SourceRow(colour, toys.picture(colour), (f"<b>{colour}</b>",)) for colour in ("red", "lime", "blue")]
    shards.write("data", rows)
    t2i.ok("embed", "data", "-m", "toy-vectors", "--output", "vectors")
    for data in ("vectors", "data"):
        words = ("-r", "toy-vectors") if data == "data" else ()
        t2i.ok("search", "a <i>dish</i>", data, "--top", 2, "--page", f"{data}.html", *words)
        page = Path(f"{data}.html").read_text(encoding="utf-8")
        assert page.count("<figure") == page.count('src="data:image/jpeg') == page.count("src=") == 2
        assert "&lt;b&gt;" in page and "<b>red" not in page and "<i>dish" not in page


def test_sentences_have_no_page(t2i: Runner) -> None:
    t2i.use(toys)
    Path("lines.txt").write_text("a\nb\n")
    t2i.ok("embed", "lines.txt", "-m", "toy-vectors", "--output", "vectors")
    t2i.fails("search", "a", "vectors", "--page", "x.html", says="omit --copy, --page and --show")
    t2i.fails(
        "search", "a", "lines.txt", "-r", "toy-vectors", "--page", "x.html", says="omit --copy, --page and --show"
    )
