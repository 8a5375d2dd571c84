"""Model folders; `t2i models` itself is tested in tests/commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from t2icli.ground.errors import T2IError
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.store.sources import ModelSource


def make(folder: Path, content: bytes = b"weights", **card: object) -> models.Model:
    folder.mkdir(parents=True)
    (folder / models.WEIGHTS).write_bytes(content)
    return models.seal(folder, Card(kind="generator", backend="sample", **card))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("T2I_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_sealed_folder_opens_as_it_was(tmp_path: Path) -> None:
    card = {"about": "a 模型", "config": {"width": 8, "grid": [2, 2]}, "settings": {"top_k": 3}}
    sealed = make(tmp_path / "m", **card)
    opened = models.open_model(tmp_path / "m")
    assert opened.card == sealed.card and opened.sha256 == sealed.sha256
    assert opened.file().read_bytes() == b"weights"


@pytest.mark.parametrize(("what", "same"), [("content", False), ("config", False), ("about", True), ("settings", True)])
def test_the_hash_is_of_what_makes_the_pictures(tmp_path: Path, what: str, same: bool) -> None:
    changes = {"content": b"other", "config": {"width": 9}, "about": "other words", "settings": {"top_k": 9}}
    one, two = make(tmp_path / "1"), make(tmp_path / "2", **{what: changes[what]})
    assert (one.sha256 == two.sha256) is same


def test_a_part_must_be_the_one_the_model_was_made_with(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    make(folder / "codec", b"codec")
    (folder / models.WEIGHTS).write_bytes(b"prior")
    model = models.seal(folder, Card(kind="generator", backend="sample"))
    assert model.part("codec").file().read_bytes() == b"codec"
    (folder / "codec" / models.WEIGHTS).write_bytes(b"other")
    models.seal(folder / "codec", Card(kind="codec", backend="sample"))
    with pytest.raises(T2IError, match="is not the one it was made with"):
        model.part("codec")


@pytest.fixture
def linked(tmp_path: Path) -> models.Model:
    """A model whose codec lies beside it."""
    make(tmp_path / "shipped/codec", b"codec")
    (tmp_path / "shipped/prior").mkdir()
    (tmp_path / "shipped/prior" / models.WEIGHTS).write_bytes(b"prior")
    return models.seal(
        tmp_path / "shipped/prior", Card(kind="generator", backend="sample", links={"codec": "../codec"})
    )


def test_a_linked_part_is_as_good_as_one_inside(tmp_path: Path, linked: models.Model) -> None:
    shutil.copytree(tmp_path / "shipped/prior", tmp_path / "whole")
    shutil.copytree(tmp_path / "shipped/codec", tmp_path / "whole/codec")
    whole = models.seal(tmp_path / "whole", Card(kind="generator", backend="sample"))
    assert linked.part("codec").file().read_bytes() == b"codec"
    assert linked.sha256 == whole.sha256
    both = sum(file.stat().st_size for file in (tmp_path / "shipped").rglob("*") if file.is_file())
    assert linked.size == both > (linked.folder / models.CARD).stat().st_size + len(b"prior")


def test_a_linked_part_must_be_the_one_the_model_was_made_with(tmp_path: Path, linked: models.Model) -> None:
    (tmp_path / "shipped/codec" / models.WEIGHTS).write_bytes(b"other")
    models.seal(tmp_path / "shipped/codec", Card(kind="generator", backend="sample"))
    with pytest.raises(T2IError, match="is not the one it was made with"):
        linked.part("codec")


def test_a_copy_holds_the_linked_parts_itself(tmp_path: Path, linked: models.Model) -> None:
    models.copy(linked, tmp_path / "away/copy")
    shutil.rmtree(tmp_path / "shipped")
    copied = models.open_model(tmp_path / "away/copy")
    assert copied.sha256 == linked.sha256 and not copied.card.links
    assert copied.part("codec").file().read_bytes() == b"codec"


@pytest.mark.parametrize(
    ("part", "folder"),
    [
        ("codec", "/etc"),
        ("codec", "../../codec"),
        ("codec", ".."),
        ("codec", "../.."),
        ("codec", "../a/b"),
        ("codec", "..\\codec"),
        ("codec", "inside"),
        ("../codec", "../codec"),
        ("a/b", "../codec"),
    ],
)
def test_a_link_leads_beside_the_model_and_nowhere_else(tmp_path: Path, part: str, folder: str) -> None:
    make(tmp_path / "m")
    path = tmp_path / "m" / models.CARD
    link = f"[links]\n{json.dumps(part)} = {json.dumps(folder)}\n"
    path.write_text(path.read_text(encoding="utf-8").replace("[links]\n", link), encoding="utf-8")
    with pytest.raises(T2IError, match=r"is not a model card: its part .* cannot be linked"):
        models.open_model(tmp_path / "m")


def test_a_changed_byte_is_noticed_before_it_is_used(tmp_path: Path) -> None:
    model = make(tmp_path / "m")
    (tmp_path / "m" / models.WEIGHTS).write_bytes(b"weighty")
    with pytest.raises(T2IError, match="is damaged: sha256 is"):
        model.file()


def test_a_file_that_is_not_the_models_is_not_opened(tmp_path: Path) -> None:
    model = make(tmp_path / "m")
    (tmp_path / "secret").write_bytes(b"")
    with pytest.raises(T2IError, match="has no file"):
        model.file("../secret")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('kind = "generator"', "backend"),
        ("kind = 3\nbackend = 'x'", "kind"),
        ("kind", "not valid TOML"),
        (None, "read"),
    ],
)
def test_a_card_that_is_none_says_so(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / models.CARD).write_text(text, encoding="utf-8")
    with pytest.raises(T2IError, match=says):
        models.open_model(tmp_path)


def test_a_newer_card_still_opens(tmp_path: Path) -> None:
    make(tmp_path / "m")
    path = tmp_path / "m" / models.CARD
    path.write_text('invented_later = "yes"\n' + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert models.open_model(tmp_path / "m").card.backend == "sample"


def test_what_a_crash_left_beside_the_card_is_not_sealed(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/.model.toml.part").write_text("half a", encoding="utf-8")
    assert models.seal(tmp_path / "m", Card(kind="codec", backend="sample")).card.files == {}


def test_a_model_is_found_by_path_in_the_store_and_in_plugins(tmp_path: Path, home: Path) -> None:
    shipped = make(tmp_path / "shipped", b"shipped")
    own = make(home / "models/sample/mine", b"mine")
    sources = [ModelSource("sample/starter", "", "", folder=tmp_path / "shipped")]
    assert models.find(str(tmp_path / "shipped"), sources).sha256 == shipped.sha256
    assert models.find("sample/starter", sources).sha256 == shipped.sha256
    assert models.find("sample/mine", sources).sha256 == own.sha256
    assert list(models.installed(sources)) == ["sample/mine", "sample/starter"]


def test_a_part_of_a_part_is_found_by_its_name(home: Path) -> None:
    folder = home / "models/sample/mine"
    for inner in ("embedder/tokenizer", "embedder"):
        (folder / inner).mkdir(parents=True, exist_ok=True)
        (folder / inner / models.WEIGHTS).write_bytes(inner.encode())
    models.seal(folder / "embedder/tokenizer", Card(kind="tokenizer", backend="sample"))
    models.seal(folder / "embedder", Card(kind="embedder", backend="sample"))
    model = models.seal(folder, Card(kind="generator", backend="sample"))
    part = model.part("embedder").part("tokenizer")
    for word in ("sample/mine:embedder:tokenizer", f"{folder}:embedder:tokenizer"):
        assert models.find(word).sha256 == part.sha256
    with pytest.raises(T2IError, match="no model called 'sample/other:embedder:tokenizer'"):
        models.find("sample/other:embedder:tokenizer")


def test_the_stores_model_goes_before_a_shipped_one_of_its_name(tmp_path: Path, home: Path) -> None:
    make(tmp_path / "shipped", b"shipped")
    make(home / "models/sample/starter", b"mine")
    sources = [ModelSource("sample/starter", "", "", folder=tmp_path / "shipped")]
    assert models.find("sample/starter", sources).file().read_bytes() == b"mine"


def test_the_default_is_the_chosen_one_else_the_largest(tmp_path: Path, home: Path) -> None:
    assert models.default("sample") is None
    make(home / "models/sample/small")
    make(home / "models/sample/large", b"x" * 1000)
    make(home / "models/other/huge", b"x" * 5000)
    models.write_card(home / "models/other/huge", Card(kind="codec", backend="other"))
    assert models.default("sample") == models.find("sample/large")
    models.set_default("sample", "sample/small")
    assert models.default("sample") == models.find("sample/small")
    models.set_default("sample", None)
    assert models.default("sample") == models.find("sample/large")


def test_a_model_that_stands_in_gives_way_to_any_other(tmp_path: Path, home: Path) -> None:
    make(tmp_path / "shipped", b"x" * 1000, stand_in="a small one")
    sources = [ModelSource("sample/starter", "", "", folder=tmp_path / "shipped")]
    assert models.default("sample", sources) == models.find("sample/starter", sources)
    make(home / "models/sample/own")
    assert models.default("sample", sources) == models.find("sample/own")


def test_a_card_that_cannot_be_read_leaves_the_others_usable(home: Path) -> None:
    make(home / "models/sample/whole")
    make(home / "models/sample/rotten")
    (home / "models/sample/rotten" / models.CARD).write_bytes(b"\xff")
    with pytest.warns(UserWarning, match="skipped model 'sample/rotten'"):
        assert list(models.installed()) == ["sample/whole"]
    assert models.find("sample/whole")


def test_home_may_be_written_with_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_HOME", "~/t2i")
    assert models.home() == Path.home() / "t2i"


@pytest.fixture
def beside_the_store() -> models.Model:
    """A model whose base is one of the store."""
    make(models.store() / "sample/base", b"base")
    folder = models.home() / "runs/model"
    folder.mkdir(parents=True)
    (folder / models.WEIGHTS).write_bytes(b"adapter")
    return models.seal(folder, Card(kind="generator", backend="sample", links={"base": "sample/base"}))


def test_a_part_of_the_store_is_found_by_its_name_or_its_hash_and_never_copied(
    tmp_path: Path, beside_the_store: models.Model
) -> None:
    base = models.open_model(models.store() / "sample/base", "sample/base")
    assert beside_the_store.part("base") == base
    assert beside_the_store.size < base.size + len(b"adapter") + (beside_the_store.folder / models.CARD).stat().st_size
    models.copy(beside_the_store, tmp_path / "copy")
    copied = models.open_model(tmp_path / "copy")
    assert copied.card == beside_the_store.card and not (tmp_path / "copy/base").exists()
    (models.store() / "sample/base").rename(models.store() / "sample/other-name")
    assert copied.part("base").name == "sample/other-name"
    shutil.rmtree(models.store() / "sample")
    with pytest.raises(T2IError, match="needs 'sample/base', its base, which is not installed"):
        copied.part("base")


def test_a_part_of_the_store_must_be_the_one_the_model_was_made_with(beside_the_store: models.Model) -> None:
    (models.store() / "sample/base" / models.WEIGHTS).write_bytes(b"other")
    models.seal(models.store() / "sample/base", Card(kind="generator", backend="sample"))
    with pytest.raises(T2IError, match="is not the one it was made with"):
        beside_the_store.part("base")
