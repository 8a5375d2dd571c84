"""Repositories that settings name: fetched once, of one commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2icli.backends.clip import hub as clip_hub
from t2icli.backends.tokenizers import chinese
from t2icli.ground.errors import T2IError
from t2icli.store import snapshots
from t2icli.testing import FakeHub, Runner

NAME = "some-owner/Some-Model"
FILES = {"config.json": b"{}", "model.safetensors": b"weights", "vocab.txt": "[UNK]\n面\n".encode(), "run.py": b"no"}
pytestmark = pytest.mark.filterwarnings("ignore:downloading")


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the hub's own client, which is read when it is imported: an empty one."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    return tmp_path / "hub-cache"


def test_a_branch_that_moves_changes_nothing_here(fake_hub: FakeHub) -> None:
    fake_hub.add(NAME, FILES)
    with pytest.warns(UserWarning, match=r"downloading hf:some-owner/Some-Model@[0-9a-f]{40}: 0.0 MB"):
        folder = snapshots.fetch(NAME)
    fake_hub.add(NAME, {**FILES, "model.safetensors": b"other"})
    asked = len(fake_hub.asked)
    assert snapshots.fetch(NAME) == folder and len(fake_hub.asked) == asked
    assert (folder / "model.safetensors").read_bytes() == b"weights" and not (folder / "run.py").exists()


def test_more_files_of_it_come_from_the_same_commit(fake_hub: FakeHub) -> None:
    fake_hub.add(NAME, FILES)
    snapshots.fetch(NAME, ["vocab.txt"])
    fake_hub.add(NAME, {**FILES, "config.json": b"[]"})
    folder = snapshots.fetch(NAME)
    assert (folder / "config.json").read_bytes() == b"{}"


def test_another_revision_is_another_folder(fake_hub: FakeHub) -> None:
    old = fake_hub.add(NAME, FILES)
    fake_hub.add(NAME, {**FILES, "model.safetensors": b"new"})
    for word, content in ((NAME, b"new"), (f"hf:{NAME}@{old}", b"weights")):
        assert (snapshots.fetch(word) / "model.safetensors").read_bytes() == content


def test_what_the_hubs_own_client_has_fetched_is_used(fake_hub: FakeHub, no_cache: Path) -> None:
    root = no_cache / "models--some-owner--Some-Model"
    folder = root / "snapshots/abc"
    folder.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs/main").write_text("abc")
    (folder / "config.json").write_text("{}")
    assert snapshots.find(NAME) is None  # its weights are missing
    (folder / "model.safetensors").write_bytes(b"here")
    assert snapshots.fetch(NAME) == folder and not fake_hub.asked


def test_a_part_of_a_download_is_not_taken_for_the_whole(fake_hub: FakeHub) -> None:
    fake_hub.add(NAME, FILES)
    fake_hub.faults["model.safetensors"] = "cut"
    with pytest.raises(T2IError, match=r"cannot download 'model\.safetensors'"):
        snapshots.fetch(NAME)
    assert snapshots.find(NAME) is None
    del fake_hub.faults["model.safetensors"]
    assert (snapshots.fetch(NAME) / "model.safetensors").read_bytes() == b"weights"


def test_a_vocabulary_may_be_named_by_its_repository(fake_hub: FakeHub) -> None:
    fake_hub.add(NAME, FILES)
    assert chinese.find(NAME).read_text(encoding="utf-8").split() == ["[UNK]", "面"]
    assert fake_hub.files_asked() == ["vocab.txt"]
    with pytest.raises(T2IError, match=r"cannot get vocab\.txt of 'some-owner/none': there is no repository"):
        chinese.find("some-owner/none")


def test_chinese_roberta_is_pulled_through_the_hub(t2i: Runner, fake_hub: FakeHub) -> None:
    commit = fake_hub.add("hfl/chinese-roberta-wwm-ext", FILES)
    t2i.ok("models", "pull", "chinese/roberta")
    card = t2i.ok("models", "show", "chinese/roberta", "--json").json()
    assert card["source"] == f"hf:hfl/chinese-roberta-wwm-ext@{commit}"
    assert (card["licence"], fake_hub.files_asked()) == ("apache-2.0", ["vocab.txt"])


def test_open_clips_tags_are_fetched_from_one_commit(fake_hub: FakeHub) -> None:
    fake_hub.add("laion/Some-CLIP", {"open_clip_pytorch_model.bin": b"pickle", "config.json": b"{}"})
    fake_hub.add("timm/Other", {"named.safetensors": b"named", "open_clip_model.safetensors": b"usual"})
    for place, name in (
        ("laion/Some-CLIP/", "open_clip_pytorch_model.bin"),
        ("timm/Other/named.safetensors", "named.safetensors"),
    ):
        assert clip_hub.fetch("ViT-B-32", "tag", {"hf_hub": place, "url": ""}).name == name
    assert fake_hub.files_asked() == ["open_clip_pytorch_model.bin", "named.safetensors"]
