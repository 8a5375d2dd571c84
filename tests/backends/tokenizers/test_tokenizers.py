"""Text to ids: as the originals do, padded with 0, and nothing cut without a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from t2icli import load
from t2icli.backends.tokenizers import FitSettings
from t2icli.backends.tokenizers.train import TokenizerFit
from t2icli.contract.entries import Upstream
from t2icli.contract.fields import Part
from t2icli.data import shards
from t2icli.ground.errors import T2IError
from t2icli.registry import configure, discovery, parts
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.testing import Runner, check_tokenizer

VOCABULARY = [
    "[PAD]",
    "[unused1]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "红",
    "烧",
    "牛",
    "肉",
    "面",
    "a",
    "red",
    "app",
    "##le",
]


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def real_vocabulary(golden: Callable[[str], Path]) -> Path:
    return golden("chinese") / "vocab.txt"


def test_chinese_ids_are_those_of_berts_own_tokenizer(golden: Callable[[str], Path], real_vocabulary: Path) -> None:
    tokenizer = load("tokenizer", "chinese", vocabulary=str(real_vocabulary))
    for case in json.loads((golden("chinese") / "tokenizer.json").read_text(encoding="utf-8")):
        row = tokenizer.encode([case["text"]], 24)[0].tolist()
        assert row == case["ids"] + [0] * (24 - len(case["ids"]))
    assert tokenizer.vocabulary == 21128


@pytest.mark.slow
def test_chinese_ids_are_those_of_transformers(real_vocabulary: Path) -> None:
    from transformers import BertTokenizer

    ours = load("tokenizer", "chinese", vocabulary=str(real_vocabulary))
    theirs = BertTokenizer(str(real_vocabulary))
    texts = ["Crème brûlée 法式焦糖布丁！", "１２３ＡＢＣ　全角", "a[MASK]b", "émoji 😀 ok", "x" * 120, "don't—stop…"]
    for text in texts:
        assert ours.to_ids(text) == theirs.encode(text, add_special_tokens=False), text


def test_each_tokenizer_keeps_its_promises(vocabulary: Path) -> None:
    words = ["a red apple", "红烧牛肉面"]
    check_tokenizer(discovery.find("tokenizer", "chinese"), texts=words, vocabulary=str(vocabulary))
    check_tokenizer(discovery.find("tokenizer", "clip"))


def test_clip_ids_are_open_clips_without_start_and_end() -> None:
    from open_clip import tokenize

    tokenizer = load("tokenizer", "clip")
    theirs = tokenize(["a bowl of beef noodles!"])[0]
    ours = tokenizer.encode(["a bowl of beef noodles!"], 77)[0]
    n = int((theirs != 0).sum()) - 2
    assert torch.equal(ours[:n], theirs[1 : n + 1]) and not ours[n:].any()
    assert (tokenizer.vocabulary, tokenizer.padding) == (49408, 0)


def test_a_text_that_is_too_long_is_cut_and_said_to_be(vocabulary: Path) -> None:
    tokenizer = load("tokenizer", "chinese", vocabulary=str(vocabulary))
    with pytest.warns(UserWarning, match=r"'红烧牛肉面' is 5 tokens long, the model takes 3: cut after '红 烧 牛'"):
        assert tokenizer.encode(["红烧牛肉面"], 3).tolist() == [[6, 7, 8]]


def test_strict_refuses_a_text_that_is_too_long(vocabulary: Path) -> None:
    tokenizer = load("tokenizer", "chinese", vocabulary=str(vocabulary), strict=True)
    with pytest.raises(T2IError, match="5 tokens long, the model takes 3"):
        tokenizer.encode(["红烧牛肉面"], 3)


def test_a_vocabulary_is_found_by_file_and_by_folder(vocabulary: Path) -> None:
    by_file = load("tokenizer", "chinese", vocabulary=str(vocabulary))
    by_folder = load("tokenizer", "chinese", vocabulary=str(vocabulary.parent))
    assert torch.equal(by_file.encode(["牛肉"], 4), by_folder.encode(["牛肉"], 4))


def test_imported_ones_are_models_and_can_be_parts(t2i: Runner, vocabulary: Path, tmp_path: Path) -> None:
    t2i.ok("models", "import", vocabulary, "--as", "chinese", "--name", "small")
    model = models.find("chinese/small")
    parts.keep(
        Part("tokenizer", "chinese", configure.configure("tokenizer", "chinese/small")[1]), tmp_path / "m", "tokenizer"
    )
    (tmp_path / "m/weights").write_text("x")
    whole = models.seal(tmp_path / "m", Card(kind="generator", backend="x"))
    inside = whole.part("tokenizer")
    assert inside.sha256 == model.sha256
    assert load("tokenizer", "chinese", model=inside).encode(["面"], 2).tolist() == [[10, 0]]


def test_what_is_not_a_vocabulary_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "words.txt").write_text("one\ntwo\n")
    with pytest.raises(T2IError, match="not a BERT vocabulary"):
        load("tokenizer", "chinese", vocabulary=str(tmp_path / "words.txt"))
    with pytest.raises(T2IError, match="no vocabulary"):
        load("tokenizer", "chinese", vocabulary=str(tmp_path / "none.txt"))
    monkeypatch.setenv("T2I_OFFLINE", "1")
    with pytest.raises(T2IError, match=r"cannot get vocab\.txt of 'nobody/nothing'"):
        load("tokenizer", "chinese", vocabulary="nobody/nothing")


def test_what_is_not_a_tokenizer_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(T2IError, match="is not a tokenizer"):
        load("tokenizer", "json", file=str(tmp_path))
    with pytest.raises(T2IError, match="no file"):
        load("tokenizer", "json", file=str(tmp_path / "absent.json"))


def test_a_json_file_may_ask_for_start_and_end_ids(tmp_path: Path, vocabulary: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    from t2icli.backends.tokenizers.chinese import word_pieces

    tokenizer = word_pieces(vocabulary)
    tokenizer.post_processor = TemplateProcessing("[CLS] $0 [SEP]", special_tokens=[("[CLS]", 3), ("[SEP]", 4)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (folder := tmp_path / "model").mkdir()
    discovery.find("tokenizer", "json").convert(Upstream((tmp_path / "tokenizer.json",), {}), folder)
    model = models.open_model(folder)
    assert load("tokenizer", "json", model=model).encode(["面"], 4).tolist() == [[3, 10, 4, 0]]
    assert load("tokenizer", "json", model=model, special=False).encode(["面"], 4).tolist() == [[10, 0, 0, 0]]
    check_tokenizer(discovery.find("tokenizer", "json"), texts=["a red apple", "红烧牛肉面"], model=model)


CAPTIONS = ["红烧牛肉面", "a bowl of beef noodles", "牛肉面加鸡蛋", "A bowl of red noodles", "红烧肉"] * 4


@pytest.mark.parametrize("pieces", ["wordpiece", "bytes"])
def test_a_vocabulary_is_trained_on_a_caption_file(t2i: Runner, pieces: str) -> None:
    Path("captions.txt").write_text("\n".join(CAPTIONS) + "\n", encoding="utf-8")
    t2i.ok("train", "tokenizer", "--train-data", "captions.txt", "--output", "run", "-o", f"pieces={pieces}")
    model = models.open_model(Path("run/model"))
    assert (model.card.kind, model.card.backend) == ("tokenizer", "json")
    check_tokenizer(discovery.find("tokenizer", "json"), texts=["a bowl of noodles", "红烧牛肉"], model=model)
    assert load("tokenizer", "json", model=model).encode(["牛肉面"], 8)[0].count_nonzero() <= 3


def test_words_that_a_trained_vocabulary_lacks_are_left_out_and_named(t2i: Runner) -> None:
    """No caption it was trained with had an unknown token, so nothing has learnt what one means."""
    Path("captions.txt").write_text("\n".join(CAPTIONS) + "\n", encoding="utf-8")
    t2i.ok("train", "tokenizer", "--train-data", "captions.txt", "--output", "run")
    tokenizer = load("tokenizer", "json", model="run/model")
    with pytest.warns(UserWarning, match="'北京红烧牛肉面': not in the vocabulary, ignored: 北 京"):
        read = tokenizer.encode(["北京红烧牛肉面"], 8)
    assert torch.equal(read, tokenizer.encode(["红烧牛肉面"], 8))
    kept = load("tokenizer", "json", model="run/model", unknown="keep")
    assert kept.encode(["北京红烧牛肉面"], 8).count_nonzero() == tokenizer.encode(["红烧牛肉面"], 8).count_nonzero() + 2


@pytest.mark.parametrize(("pieces", "end"), [("wordpiece", "[SEP]"), ("bytes", "<|endoftext|>")])
def test_a_trained_vocabulary_has_a_token_for_captioners_to_end_with(t2i: Runner, pieces: str, end: str) -> None:
    Path("captions.txt").write_text("\n".join(CAPTIONS) + "\n", encoding="utf-8")
    t2i.ok("train", "tokenizer", "--train-data", "captions.txt", "--output", "run", "-o", f"pieces={pieces}")
    assert f'"{end}"' in Path("run/model/tokenizer.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("pieces", ["wordpiece", "bytes"])
def test_the_same_captions_give_the_same_vocabulary(t2i: Runner, pieces: str) -> None:
    for folder in ("a", "b"):
        (place := Path(folder)).mkdir()
        for i, caption in enumerate(CAPTIONS):
            (place / f"{i:02}.txt").write_text(caption, encoding="utf-8")
        t2i.ok("train", "tokenizer", "--train-data", folder, "--output", f"run-{folder}", "-o", f"pieces={pieces}")
    one, two = (models.open_model(Path(f"run-{folder}/model")) for folder in "ab")
    assert one.sha256 == two.sha256


def test_captions_of_a_prepared_dataset_train_one_too(t2i: Runner) -> None:
    from PIL import Image

    from t2icli.data import dataset

    Image.new("RGB", (8, 8)).save("a.png")
    rows = [dataset.SourceRow(str(i), Path("a.png"), (caption,)) for i, caption in enumerate(CAPTIONS)]
    shards.write("data", rows)
    said = t2i.ok("train", "tokenizer", "--train-data", "data", "--output", "run", "--dry-run")
    assert "20" in said.stdout
    t2i.ok("train", "tokenizer", "--train-data", "data", "--output", "run")
    assert load("tokenizer", "json", model="run/model").vocabulary > 10


def test_flags_of_the_loop_are_ignored_with_a_warning(t2i: Runner) -> None:
    Path("captions.txt").write_text("\n".join(CAPTIONS), encoding="utf-8")
    words = ("train", "tokenizer", "--train-data", "captions.txt")
    said = t2i.ok(*words, "--max-steps", 2, "--lr", 1, "--batch-size", "auto", "--size", "original").stderr
    assert "recipe 'tokenizer' reads the data once and has no steps; ignored: --lr, --max-steps" in said
    assert "next: t2i train dalle --train-data captions.txt -o tokenizer=runs/tokenizer" in said


def test_empty_captions_are_refused(t2i: Runner) -> None:
    Path("captions.txt").write_text("\n\n")
    t2i.fails("train", "tokenizer", "--train-data", "captions.txt", says="nothing to learn")
    t2i.fails("train", "tokenizer", "--train-data", "none.txt", "--output", "y", says="no data at")


def test_a_vocabulary_that_cannot_be_written_is_no_bug(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").mkdir()  # the library's own way of saving raises a bare Exception
    with pytest.raises(T2IError, match="cannot write"):
        TokenizerFit(FitSettings()).fit(["红烧牛肉面", "a red bowl"], tmp_path)
