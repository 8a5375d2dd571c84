"""The recipe `dalle`: from pairs and a codec to a model that draws."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import t2icli
from t2icli.backends.dalle.train import DallERecipe
from t2icli.backends.dvae import DvaeShape
from t2icli.backends.dvae.model import DiscreteVAE
from t2icli.data import shards
from t2icli.data.dataset import PreparedDataset, SourceRow
from t2icli.nn import weights
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.testing import Runner, toys
from t2icli.testing.contracts import check_recipe

WORDS = ["red", "green", "blue", "白", "黑"]
COLOURS = [(230, 20, 20), (20, 200, 20), (20, 20, 230), (250, 250, 250), (5, 5, 5)]
TINY = ["-o", "text_length=4", "-o", "dim=32", "-o", "depth=1", "-o", "heads=2", "-o", "dim_head=16"]


picture = partial(toys.picture, size=(4, 4))


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataset:
    rows = [
        SourceRow(f"{i}", picture(COLOURS[i % 5]), (WORDS[i % 5],), {"split": "train" if i < 10 else "val"})
        for i in range(15)
    ]
    return shards.write(tmp_path / "data", rows)


@pytest.fixture
def codec(tmp_path: Path) -> Path:
    """Each quarter of a picture by the nearest of eight corners of the colour cube, worked out by hand."""
    shape = DvaeShape(image_size=4, num_layers=1, num_tokens=8, codebook_dim=8, hidden_dim=8)
    vae = DiscreteVAE(shape)
    corners = torch.tensor([[r, g, b] for r in (-1.0, 1.0) for g in (-1.0, 1.0) for b in (-1.0, 1.0)])
    with torch.no_grad():
        for p in vae.parameters():
            p.zero_()
        down, up = vae.encoder[0][0], vae.decoder[0][0]
        for c in range(3):  # the mean of each channel, its positive and its negative part
            down.weight[2 * c, c, 1:3, 1:3] = 0.25
            down.weight[2 * c + 1, c, 1:3, 1:3] = -0.25
            vae.encoder[-1].weight[:, 2 * c, 0, 0] = corners[:, c]
            vae.encoder[-1].weight[:, 2 * c + 1, 0, 0] = -corners[:, c]
            for sign in (0, 1):
                up.weight[:, 2 * c + sign, 1:3, 1:3] = ((1 - 2 * sign) * corners[:, c]).clamp(min=0)[:, None, None]
                vae.decoder[-1].weight[c, 2 * c + sign, 0, 0] = 1.0 - 2 * sign
        vae.codebook.weight.copy_(torch.eye(8))
    folder = tmp_path / "codec"
    weights.save(vae, folder)
    config = {name: getattr(shape, name) for name in DvaeShape.__struct_fields__}
    models.seal(folder, Card(kind="codec", backend="dvae", config=config))
    return folder


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", *WORDS]) + "\n", encoding="utf-8")
    return path


def parts(codec: Path, vocabulary: Path) -> list[str]:
    return ["-o", f"codec={codec}", "-o", "tokenizer=chinese", "-o", f"tokenizer.vocabulary={vocabulary}"]


def load(codec: Path, vocabulary: Path, **chosen: object) -> DallERecipe:
    return t2icli.load(
        "recipe",
        "dalle",
        codec=str(codec),
        tokenizer={"name": "chinese", "vocabulary": str(vocabulary)},
        **{"text_length": 4, "dim": 32, "depth": 1, "heads": 2, "dim_head": 16, **chosen},
    )


def test_the_recipe_keeps_the_promises_of_a_recipe(
    data: PreparedDataset, codec: Path, vocabulary: Path, tmp_path: Path
) -> None:
    tokenizer = {"name": "chinese", "vocabulary": str(vocabulary)}
    entry, tiny = discovery.find("recipe", "dalle"), {"dim": 32, "depth": 1, "heads": 2, "text_length": 4}
    check_recipe(entry, data, tmp_path / "model", codec=str(codec), tokenizer=tokenizer, **tiny)


def test_training_gives_a_whole_model_that_draws_what_it_was_told(
    t2i: Runner, data: PreparedDataset, codec: Path, vocabulary: Path
) -> None:
    flags = ["--max-steps", 60, "--batch-size", 10, "--lr", 0.01, "--report-to", "none", "--seed", 1]
    t2i.ok("train", "dalle", "--train-data", data.folder, *TINY, *parts(codec, vocabulary), *flags)
    codec.rename(codec.with_name("gone"))
    vocabulary.unlink()
    dalle = t2icli.load("generator", "dalle", model="runs/dalle/model", temperature=0, precision="fp32")
    for word, colour in zip(WORDS, COLOURS, strict=True):
        (image,) = dalle.generate(word, 1, seed=0)
        pixel = image.convert("RGB").getpixel((1, 1))
        assert [value > 127 for value in pixel] == [value > 127 for value in colour], (word, pixel)
    assert Path("runs/dalle/previews/step-000000060.png").is_file()


def test_training_goes_on_from_a_model_with_its_own_network_and_parts(
    t2i: Runner, data: PreparedDataset, codec: Path, vocabulary: Path
) -> None:
    flags = ["--train-data", data.folder, "--batch-size", 10, "--report-to", "none"]
    t2i.ok("train", "dalle", *TINY, *parts(codec, vocabulary), *flags, "--max-steps", 1, "--output", "first")
    codec.rename(codec.with_name("gone"))
    vocabulary.unlink()
    more = ["train", "dalle", "-o", "start=first/model", *flags, "--output", "more", "--lr", 1e-9]
    t2i.ok(*more, "-o", "feed_forward_dropout=0.1", "--max-steps", 1)
    first, second = (models.open_model(Path(name, "model")) for name in ("first", "more"))
    assert second.card.config == {**first.card.config, "feed_forward_dropout": 0.1}
    torch.testing.assert_close(load_file(second.file()), load_file(first.file()), rtol=0, atol=1e-8)
    assert second.part("codec").sha256 == first.part("codec").sha256
    t2i.ok(*more, "-o", "feed_forward_dropout=0.1", "--max-steps", 1, "--resume")
    assert "its dim is 32, but 64 was requested" in t2i.fails(*more, "-o", "dim=64", "--output", "other").stderr


def test_grad_checkpointing_changes_no_weight(
    t2i: Runner, data: PreparedDataset, codec: Path, vocabulary: Path
) -> None:
    flags = ["--max-steps", 3, "--batch-size", 5, "--report-to", "none", "-o", "feed_forward_dropout=0.2"]
    words = ["train", "dalle", "--train-data", data.folder, *TINY, *parts(codec, vocabulary), *flags]
    t2i.ok(*words, "--output", "plain")
    t2i.ok(*words, "--output", "less", "--grad-checkpointing")
    plain, less = (models.open_model(Path(name, "model")).file().read_bytes() for name in ("plain", "less"))
    assert plain == less


def test_no_start_is_a_training_from_nothing(codec: Path, vocabulary: Path) -> None:
    assert load(codec, vocabulary, start="none").settings.start is None


def encoded() -> dict[Path, int]:
    """Results of frozen parts, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in models.home().rglob("*.npy")}


def test_codes_are_encoded_once_for_all_runs(t2i: Runner, data: PreparedDataset, codec: Path, vocabulary: Path) -> None:
    words = ["train", "dalle", "--train-data", data.folder, *TINY, *parts(codec, vocabulary)]
    flags = ["--max-steps", 1, "--batch-size", 5, "--report-to", "none"]
    kept = [t2i.ok(*words, *flags, "--output", name) and encoded() for name in ("x", "y")]
    assert kept[0] == kept[1] and kept[0]


def test_pictures_without_captions_are_refused_before_anything_is_encoded(
    t2i: Runner, codec: Path, vocabulary: Path, tmp_path: Path
) -> None:
    rows = [SourceRow(f"{i}", picture(COLOURS[i % 5])) for i in range(6)]
    bare = shards.write(tmp_path / "bare", rows, val=0.0)
    words = ["train", "dalle", "--train-data", bare.folder, *TINY, *parts(codec, vocabulary)]
    done = t2i.fails(*words, "--report-to", "none", says="none of the 6 pictures to train on has a caption")
    assert "t2i caption FOLDER --txt" in done.stderr and "encode" not in done.stderr
    t2i.fails(*words, "--dry-run", says="none of the 6 pictures to train on has a caption")


def test_it_is_said_how_many_pictures_have_no_caption(
    t2i: Runner, codec: Path, vocabulary: Path, tmp_path: Path
) -> None:
    rows = [SourceRow(f"{i}", picture(COLOURS[i % 5]), (WORDS[i % 5],) if i > 1 else ()) for i in range(6)]
    some = shards.write(tmp_path / "some", rows, val=0.0)
    words = ["train", "dalle", "--train-data", some.folder, *TINY, *parts(codec, vocabulary)]
    said = t2i.ok(*words, "--max-steps", 1, "--batch-size", 5, "--report-to", "none").stderr
    assert said.count("2 of 6 pictures to train on have no caption: they are learnt without words") == 1


def test_texts_are_left_out_as_often_as_asked(codec: Path, vocabulary: Path) -> None:
    recipe, seen = load(codec, vocabulary, null_condition=0.25), []
    recipe.model.loss = lambda text, codes: (seen.append(text), {})  # type: ignore[method-assign]
    text = torch.full((4000, 4), 2)
    torch.manual_seed(0)
    recipe.loss((text, torch.zeros(4000, 4, dtype=torch.long)), 0)
    left_out = (seen[0] == 0).all(1).float().mean()
    assert left_out == pytest.approx(0.25, abs=0.03)
    assert (text == 2).all()
    recipe.model.eval()
    recipe.loss((text, torch.zeros(4000, 4, dtype=torch.long)), 0)
    assert (seen[1] == 2).all()


def test_a_picture_may_be_encoded_in_several_cuts(
    t2i: Runner, data: PreparedDataset, codec: Path, vocabulary: Path
) -> None:
    words = ["train", "dalle", "--train-data", data.folder, *TINY, *parts(codec, vocabulary), "-o", "crops=3"]
    flags = ["--max-steps", 2, "--batch-size", 5, "--report-to", "none"]
    t2i.ok(*words, *flags)
    assert 30 in [len(np.load(path)) for path in encoded()]


def test_a_text_that_is_cut_is_told_of_once(codec: Path, vocabulary: Path, tmp_path: Path) -> None:
    rows = [SourceRow(f"{i}", picture(COLOURS[0]), ("red " * 9,)) for i in range(2)]
    data = shards.write(tmp_path / "long", rows)
    pairs = load(codec, vocabulary).dataset(data, "train", {"codes": torch.zeros(2, 4, dtype=torch.int32)})
    with pytest.warns(UserWarning, match="9 tokens long, the model takes 4") as told:
        assert [pairs[i][0].tolist() for i in range(2)] == [[2] * 4] * 2
    assert len(told) == 1


def test_words_that_are_lost_are_told_of_beside_texts_that_are_cut(t2i: Runner, codec: Path, tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a red apple\n" * 4)
    t2i.ok("train", "tokenizer", "--train-data", tmp_path / "captions.txt", "--output", tmp_path / "words")
    rows = [SourceRow(f"{i}", picture(COLOURS[i]), ("red " * 9,) if i < 2 else ("a pear",)) for i in range(4)]
    data = shards.write(tmp_path / "pairs", rows)
    tokenizer = {"name": "json", "model": tmp_path / "words/model"}
    recipe = t2icli.load("recipe", "dalle", codec=str(codec), tokenizer=tokenizer, text_length=4, dim=32, depth=1)
    pairs = recipe.dataset(data, "train", {"codes": torch.zeros(4, 4, dtype=torch.int32)})
    with pytest.warns(UserWarning) as told:
        [pairs[i] for i in range(len(pairs))]
    first, second = (str(each.message) for each in told)
    assert "cut after" in first and "not in the vocabulary" in second
