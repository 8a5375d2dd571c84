from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from t2icli.contract.entries import Entry
from t2icli.contract.fields import NONE, Part, Start, base_of, part
from t2icli.contract.kinds import LatentCodec
from t2icli.contract.sampling import TopK
from t2icli.ground import toml
from t2icli.ground.errors import T2IError
from t2icli.registry import configure, settings
from t2icli.store.models import Model
from t2icli.testing import toys


class Loop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    lr: Annotated[float, Meta(description="peak learning rate", gt=0)] = 1e-3
    steps: Annotated[int, Meta(description="how many")] = 10


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    top_k: Annotated[int, Meta(description="how many codes may be drawn", ge=1)] = 16
    top_p: Annotated[float | None, Meta(description="how likely they must be")] = None
    mode: Annotated[Literal["fast", "good"], Meta(description="how")] = "good"
    flip: Annotated[bool, Meta(description="whether to mirror")] = False
    widths: Annotated[tuple[int, ...], Meta(description="per level")] = (8, 16)
    scales: Annotated[tuple[float, ...], Meta(description="per level")] = ()
    vocabulary: Annotated[Path | None, Meta(description="a file")] = None
    text: Annotated[str, Meta(description="anything")] = "any"
    codec: Annotated[Part[Any], Meta(description="what draws")] = part("codec", "vqgan")
    loop: Annotated[Loop, Meta(description="training")] = Loop(lr=0.5)


def read(*words: str) -> Settings:
    return settings.convert(Settings, settings.from_words(words), "generator 'sample'")


def test_words_get_the_types_of_their_fields() -> None:
    made = read("top-k=64", "top_p=0.9", "mode=fast", "flip=true", "widths=1,2,3", "vocabulary=~/v.txt", "text=a=b, c")
    assert (made.top_k, made.top_p, made.mode, made.flip, made.widths) == (64, 0.9, "fast", True, (1, 2, 3))
    assert made.vocabulary == Path("~/v.txt").expanduser()
    assert made.text == "a=b, c"


@pytest.mark.parametrize("word", ["true", "yes", "on", "1", "TRUE"])
def test_yes_is_said_in_many_ways(word: str) -> None:
    assert read(f"flip={word}").flip is True


@pytest.mark.parametrize("word", ["false", "no", "off", "0"])
def test_so_is_no(word: str) -> None:
    assert read(f"flip={word}").flip is False


def test_none_unsets_what_may_be_unset() -> None:
    assert read("top_p=none").top_p is None
    assert read("text=none").text == "none"


def test_a_nested_word_changes_one_setting_and_keeps_the_recipes_defaults() -> None:
    made = read("loop.steps=3")
    assert made.loop == Loop(lr=0.5, steps=3)


def test_a_part_may_be_named_and_set_in_any_order() -> None:
    for words in (["codec=dvae", "codec.batch=8"], ["codec.batch=8", "codec=dvae"]):
        assert settings.from_words(words) == {"codec": {"name": "dvae", "batch": "8"}}


def test_the_last_word_wins() -> None:
    assert read("top_k=1", "top_k=2").top_k == 2


def test_one_setting_in_two_spellings_is_refused() -> None:
    assert read("top-k=1", "top-k=2").top_k == 2
    with pytest.raises(T2IError, match="'top-k' and 'top_k' in -o are the same setting"):
        read("top-k=1", "top_k=2")


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("top_k", "option 'top_k' has no '='", "KEY=VALUE"),
        ("=3", "names no setting", "KEY=VALUE"),
        ("loop..lr=3", "names no setting", "KEY=VALUE"),
        ("topk=3", "generator 'sample' has no setting 'topk'", "did you mean 'top_k'?"),
        ("top_k=many", "'top_k' of generator 'sample' cannot be 'many'", "int"),
        ("top_k=0", "cannot be '0'", "int"),
        ("top_p=nan", "cannot be 'nan'", "float | none"),
        ("top_p=inf", "cannot be 'inf': not a finite number", "float | none"),
        ("loop.lr=inf", "'lr' of", "float"),
        ("scales=1,inf", "not a finite number", "float,..."),
        ("top_k=99999999999999999999", "does not fit into 64 bits", "int"),
        ("vocabulary=\udcff", "not valid utf-8", "path"),
        ("text=\udcff", "not valid utf-8", "text"),
        ("vocabulary=a\0", "cannot be", "path"),
        ("vocabulary=~nobody-of-that-name/v.txt", "cannot be", "path"),
        ("mode=best", "cannot be 'best'", "fast | good"),
        ("flip=perhaps", "cannot be 'perhaps'", "bool"),
        ("widths=1,x", "cannot be", "int,..."),
        ("loop.lr=-1", "'lr' of", "float"),
        ("loop.l=1", "has no setting 'l'", "did you mean 'lr'?"),
        ("loop=3", "is a table of settings", None),
    ],
)
def test_a_wrong_word_is_named_with_what_would_be_right(word: str, message: str, hint: str | None) -> None:
    with pytest.raises(T2IError) as caught:
        read(word)
    assert message in caught.value.message
    assert hint is None or hint in str(caught.value.hint)
    assert caught.value.code == 2


def test_a_required_setting_is_asked_for() -> None:
    class Needy(msgspec.Struct, frozen=True, kw_only=True):
        width: int

    with pytest.raises(T2IError, match="'x' needs width"):
        settings.convert(Needy, {}, "'x'")


def test_settings_survive_the_way_through_toml(tmp_path: Path) -> None:
    made = read("top_p=0.5", "widths=4", "vocabulary=v.txt", "loop.lr=2")
    path = tmp_path / "settings.toml"
    path.write_text(toml.dumps(settings.tables(made)), encoding="utf-8")
    back = settings.convert(Settings, {k: v for k, v in toml.read(path).items() if k != "codec"}, "it")
    assert back == made
    assert toml.read(path)["codec"] == {"name": "vqgan"}


def test_layers_merge_table_by_table() -> None:
    assert settings.merge({"a": {"x": 1, "y": 1}}, {"a": {"y": 2}}, {"b": 3}) == {"a": {"x": 1, "y": 2}, "b": 3}


def test_every_setting_is_described_for_people() -> None:
    shown = {field.name: (field.type, field.default, field.about) for field in settings.describe(Settings)}
    assert shown["top_k"] == ("int", "16", "how many codes may be drawn")
    assert shown["top_p"] == ("float | none", "none", "how likely they must be")
    assert shown["mode"][0] == "fast | good"
    assert shown["widths"][:2] == ("int,...", "8,16")
    assert shown["vocabulary"][:2] == ("path | none", "none")
    assert shown["codec"][1] == "vqgan"


def test_a_part_is_written_with_its_name_and_settings() -> None:
    class Batch(msgspec.Struct, frozen=True):
        batch: int = 3

    made = msgspec.structs.replace(Settings(), codec=Part("codec", "dvae", Batch()))
    assert settings.tables(made)["codec"] == {"name": "dvae", "batch": 3}


class Shared(msgspec.Struct, frozen=True):
    top_k: TopK | None = None


def test_a_setting_that_may_be_none_keeps_its_line_of_help() -> None:
    assert settings.describe(Shared) == [
        settings.Field("top_k", "int | none", "none", "sample from this many of the most likely codes only")
    ]


class Inner(msgspec.Struct, frozen=True):
    lr: Annotated[float, Meta(description="peak")] = 0.1
    betas: tuple[float, ...] = ()


class Outer(msgspec.Struct, frozen=True, kw_only=True):
    size: int
    inner: Inner = Inner(lr=0.5)


def test_a_nested_table_is_described_by_the_dotted_names_that_set_it() -> None:
    shown = {field.name: field.default for field in settings.describe(Outer)}
    assert shown == {"size": settings.NEEDED, "inner.lr": "0.5", "inner.betas": "none at all"}
    assert settings.convert(Outer, settings.from_words(["size=1", "inner.lr=2"]), "it").inner.lr == 2


@pytest.mark.parametrize(
    ("kind", "holds"),
    [
        (Annotated[Model | None, Meta(description="to go on from")], True),
        (Annotated[Model, Meta(description="a model")], True),
        (Annotated[int | None, Meta(description="the first step")], False),
        (str, False),
    ],
)
def test_a_setting_called_start_is_a_model_only_where_its_type_says_so(kind: Any, holds: bool) -> None:
    assert settings.is_model(kind) is holds


def test_settings_of_one_picture_are_those_that_are_marked() -> None:
    class Marked(msgspec.Struct, frozen=True):
        top_k: TopK | None = None
        batch: int = 4

    assert settings.per_picture(Marked) == {"top_k"}
    assert settings.for_one_picture(Marked, {"top_k": "64"}, "generator 'x'") == {"top_k": 64}
    assert settings.for_one_picture(Marked, {"top_k": "none"}, "generator 'x'") == {"top_k": None}
    with pytest.raises(T2IError, match="has no setting 'batch' that may differ per picture"):
        settings.for_one_picture(Marked, {"batch": 2}, "generator 'x'")
    with pytest.raises(T2IError, match="'top_k' of generator 'x' cannot be 0"):
        settings.for_one_picture(Marked, {"top_k": 0}, "generator 'x'")


class Optional(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    embedder: Annotated[Part[Any], Meta(description="what sees")] = part("embedder", NONE)


def test_a_part_may_be_left_out_where_its_default_is_none(t2i: Any) -> None:
    t2i.use(toys)
    entry = Entry("sample", "for tests", Optional, lambda chosen: chosen)
    assert configure.configure_entry("generator", entry).embedder.is_none
    assert configure.configure_entry("generator", entry, {"embedder": "none"}).embedder.is_none
    chosen = configure.configure_entry("generator", entry, {"embedder": "toy-vectors"})
    assert (chosen.embedder.name, chosen.embedder.load().width) == ("toy-vectors", 16)
    for made in (chosen, Optional()):
        assert configure.configure_entry("generator", entry, settings.tables(made)) == made
    with pytest.raises(T2IError, match="there is no embedder to set") as refused:
        configure.configure_entry("generator", entry, {"embedder": {"width": 8}})
    assert refused.value.hint == "name one: -o embedder=NAME"


def test_a_part_is_listed_by_its_kind() -> None:
    class Latent(msgspec.Struct, frozen=True):
        codec: Annotated[Part[LatentCodec], Meta(description="what draws")] = part("codec", "vqgan")

    assert settings.describe(Latent)[0].type == "codec name"


def test_the_model_that_a_recipe_starts_from_is_declared() -> None:
    class Beside(msgspec.Struct, frozen=True):
        base: Annotated[Model, Meta(description="a base", extra=base_of("sample"))]

    class Continuing(msgspec.Struct, frozen=True):
        begin_at: Annotated[Start, Meta(description="a model")] = None

    class Alone(msgspec.Struct, frozen=True):
        width: Annotated[int, Meta(description="width")] = 8

    assert settings.base(Beside) == ("base", "sample") and settings.base(Continuing) is None
    assert [settings.origin(struct) for struct in (Beside, Continuing, Alone)] == ["base", "begin_at", None]
    with pytest.raises(T2IError, match="recipe 'x' needs base") as caught:
        settings.convert(Beside, {}, "recipe 'x'")
    assert caught.value.hint == "set it with -m MODEL"
