"""Typed settings from words and tables: `-o codec.weights=x`, TOML files, T2I_* variables, defaults.

A backend's settings are one frozen `msgspec.Struct`; every field has a default and a line of help.
Some field types are ours: a `Part` is another backend chosen by name, a field called `model` of type `Model` is the
model folder the backend loads, a `Start` the model that a recipe continues from, whose parts are kept unless others are
chosen, and a `Model` marked with `base_of` the one that it trains beside (`t2icli.contract.fields`).
`t2icli.registry.configure` fills them in.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Meta

from t2icli.contract.fields import Part
from t2icli.contract.kinds import KINDS
from t2icli.ground.errors import T2IError, did_you_mean
from t2icli.store.models import Model

SPOKEN = {"yes": True, "on": True, "no": False, "off": False}
"""What msgspec does not take for a bool, but people do."""

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


def names(struct: type) -> set[str]:
    """The settings that there are."""
    return {field.name for field in msgspec.structs.fields(struct)}


def is_replaced(struct: type, values: Mapping[str, Any], name: str) -> bool:
    """Whether `values` have a setting that replaces `name`."""
    for field in msgspec.structs.fields(struct):
        marked = any(name in extra.get("in_place_of", ()) for extra in _extras(field.type))
        if marked and not is_none(values.get(field.name)):
            return True
    return False


def begins_from_weights(struct: type, values: Mapping[str, Any]) -> bool:
    """Whether training continues from a model, or from weights of another project."""
    fields = msgspec.structs.fields(struct)
    return any(_is_first(field) and not is_none(values.get(field.name)) for field in fields)


def start_of(struct: type) -> str | None:
    """The name of the `Start` among the settings of a recipe."""
    fields = msgspec.structs.fields(struct)
    return next((field.name for field in fields if _is_first(field) and is_model(field.type)), None)


def base(struct: type) -> tuple[str, str] | None:
    """The name of the base among the settings of a recipe, and its backend."""
    for field in msgspec.structs.fields(struct):
        for extra in _extras(field.type):
            if "base_of" in extra:
                return field.name, extra["base_of"]
    return None


def origin(struct: type) -> str | None:
    """The setting of a recipe that `t2i train -m` is short for: the model to continue from, or its base."""
    beside = base(struct)
    return beside[0] if beside else start_of(struct)


def _is_first(field: msgspec.structs.FieldInfo) -> bool:
    return any(extra.get("first_weights") for extra in _extras(field.type))


def has(struct: type, name: str, kind: type) -> bool:
    """Whether there is a setting of that name and type."""
    return any(field.name == name and bare(field.type)[0] is kind for field in msgspec.structs.fields(struct))


def model_of(chosen: msgspec.Struct) -> Model | None:
    """The model that settings name; None also where they have none."""
    model: Model | None = value(chosen, "model")
    return model


def value(chosen: msgspec.Struct, name: str, default: Any = None) -> Any:
    """A setting that not every backend has."""
    return getattr(chosen, name) if name in chosen.__struct_fields__ else default


NEEDED = "(required)"
"""Stands where a setting has no default."""


@dataclass(frozen=True)
class Field:
    """One setting, as it is shown to users."""

    name: str
    type: str
    default: str
    about: str


def describe(struct: type, defaults: msgspec.Struct | None = None, within: str = "") -> list[Field]:
    """Every setting of a backend with type, default and meaning; those of a nested table by dotted names."""
    rows = []
    for field in msgspec.structs.fields(struct):
        kind, about = bare(field.type)
        default = _default(field) if defaults is None else getattr(defaults, field.name)
        if isinstance(default, msgspec.Struct):
            rows += describe(kind, default, f"{within}{field.name}.")
            continue
        shown = NEEDED if default is msgspec.NODEFAULT else _shown(default)
        rows.append(Field(within + field.name, _type_name(kind), shown, about))
    return rows


def from_words(words: Iterable[str]) -> dict[str, Any]:
    """`["top_k=64", "codec.batch=8"]` as nested tables; values stay text until their field is known."""
    tables: dict[str, Any] = {}
    spellings: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise T2IError(f"option {word!r} has no '='", "write it as -o KEY=VALUE")
        *tables_on_the_way, last = with_underscores(key.strip(), spellings, "-o").split(".")
        if not all([*tables_on_the_way, last]):
            raise T2IError(f"option {word!r} names no setting", "write it as -o KEY=VALUE or -o PART.KEY=VALUE")
        here = tables
        for step in tables_on_the_way:
            inner = here.setdefault(step, {})
            if not isinstance(inner, dict):  # -o codec=dvae -o codec.batch=8
                inner = here[step] = {"name": inner}
            here = inner
        before = here.get(last)
        if isinstance(before, dict):  # -o codec.batch=8 -o codec=dvae
            before["name"] = value
        else:
            here[last] = value
    return tables


def with_underscores(key: str, spellings: dict[str, str], where: str) -> str:
    """A key as its field is called; `spellings` remembers how it was written, for one name has one spelling."""
    name = key.replace("-", "_")
    if (before := spellings.setdefault(name, key)) != key:
        raise T2IError(f"{before!r} and {key!r} in {where} are the same setting", "keep one of them")
    return name


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win, table by table."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            before = merged.get(key)
            both = isinstance(before, Mapping) and isinstance(value, Mapping)
            merged[key] = merge(cast(Mapping[str, Any], before), value) if both else value
    return merged


def take_table(options: dict[str, Any], name: str) -> dict[str, Any]:
    """The settings under `name`, which are then no longer among the `options`."""
    table = options.pop(name, {})
    if not isinstance(table, Mapping):
        raise T2IError(f"{name!r} is a table of settings, not {table!r}", f"write: -o {name}.KEY=VALUE")
    return dict(table)


def for_audio(options: dict[str, Any], *, alone: bool) -> dict[str, Any]:
    """The settings of the embedder of --audio, `-o audio.KEY=VALUE`; all of them, if no other model is loaded."""
    table = take_table(options, "audio")
    return merge(options, table) if alone else table


def chosen_in(values: msgspec.Struct) -> set[str]:
    """The settings that are not their defaults."""
    return {
        field.name for field in msgspec.structs.fields(type(values)) if getattr(values, field.name) != _default(field)
    }


def convert(struct: type[S], values: Mapping[str, Any], owner: str) -> S:
    """A settings struct from values of any source; the error names the key and what would be right.

    Values that already have their final type (a `Part`, a `Model`, a nested struct) pass as they are.
    """
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    for key in values:
        if key not in fields:
            raise T2IError(f"{owner} has no setting {key!r}", did_you_mean(key, fields))
    ready = {key: _value(fields[key], value, f"setting {key!r} of {owner}") for key, value in values.items()}
    missing = [name for name, field in fields.items() if field.required and name not in ready]
    if missing:
        flag = "-m MODEL" if missing[0] == origin(struct) else f"-o {missing[0]}=..."
        raise T2IError(f"{owner} needs {', '.join(missing)}", f"set it with {flag}")
    return struct(**ready)


def per_picture(struct: type) -> set[str]:
    """The settings that may differ from picture to picture."""
    return {
        field.name
        for field in msgspec.structs.fields(struct)
        if any(extra.get("per_picture") for extra in _extras(field.type))
    }


def names_files(struct: type) -> set[str]:
    """Those of them whose value may be a path."""
    return {
        field.name
        for field in msgspec.structs.fields(struct)
        if field.name in per_picture(struct) and any(extra.get("names_file") for extra in _extras(field.type))
    }


def for_one_picture(struct: type, values: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """`Request.settings` from values of any source, refused where a setting is not one of `per_picture`."""
    fields = {field.name: field for field in msgspec.structs.fields(struct) if field.name in per_picture(struct)}
    for key in values:
        if key not in fields:
            raise T2IError(f"{owner} has no setting {key!r} that may differ per picture", did_you_mean(key, fields))
    return {key: _value(fields[key], value, f"{key!r} of {owner}") for key, value in values.items()}


def _extras(kind: Any) -> list[Mapping[str, Any]]:
    """The marks of a field's type: `Meta(extra=...)`, also those of `TopK` in `TopK | None`."""
    extras = [meta.extra for meta in getattr(kind, "__metadata__", ()) if getattr(meta, "extra", None)]
    inner = typing.get_args(kind) if typing.get_origin(kind) is typing.Annotated or _is_union(kind) else ()
    return extras + [extra for each in inner for extra in _extras(each)]


def _value(field: msgspec.structs.FieldInfo, value: Any, owner: str) -> Any:
    kind, _ = bare(field.type)
    if isinstance(value, (Part, Model, msgspec.Struct)):
        return value
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if not isinstance(value, Mapping):
            raise T2IError(f"{owner} is a table of settings, not {value!r}", did_you_mean("", kind.__struct_fields__))
        default = _default(field)
        known = {} if default is msgspec.NODEFAULT else msgspec.structs.asdict(default)
        return convert(kind, merge(known, value), owner)
    if isinstance(value, str) and _is_sequence(kind):
        value = [item.strip() for item in value.split(",") if item.strip()]
    if is_none(value) and type(None) in typing.get_args(kind):
        return None
    if isinstance(value, str) and bool in (kind, *typing.get_args(kind)):
        value = SPOKEN.get(value.lower(), value)
    try:
        return _within_bounds(msgspec.convert(value, field.type, strict=False, dec_hook=_from_text))
    except msgspec.ValidationError as error:
        raise T2IError(f"{owner} cannot be {value!r}: {str(error).lower()}", f"it is {_type_name(kind)}") from error


def _within_bounds(value: Any) -> Any:
    """The value, if torch and a file of settings can hold it: finite numbers of 64 bits, text in UTF-8."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(_within_bounds, value))
    if isinstance(value, (str, Path)) and not is_utf8(value):
        raise msgspec.ValidationError("not valid utf-8")
    if isinstance(value, float) and not math.isfinite(value):
        raise msgspec.ValidationError("not a finite number")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise msgspec.ValidationError("integer does not fit into 64 bits")
    return value


def is_utf8(text: str | Path) -> bool:
    """Whether it can be written into a file; file names may hold bytes that are not text."""
    try:
        str(text).encode()
    except UnicodeEncodeError:
        return False
    return True


def _from_text(kind: type, value: Any) -> Any:
    if issubclass(kind, Path) and isinstance(value, (str, Path)):
        if "\0" in str(value):
            raise msgspec.ValidationError("a path cannot contain NUL")
        try:
            return Path(value).expanduser()
        except RuntimeError as error:  # ~USER without a home
            raise msgspec.ValidationError(str(error)) from error
    raise msgspec.ValidationError(f"Expected `{kind.__name__}`")


def tables(settings: msgspec.Struct) -> dict[str, Any]:
    """Settings as plain tables that `convert` takes back; what runs write beside their results."""
    return {name: _plain(getattr(settings, name)) for name in settings.__struct_fields__}


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return {"name": value.name, **(tables(value.settings) if value.settings is not None else {})}
    if isinstance(value, Model):
        return value.name
    if isinstance(value, msgspec.Struct):
        return tables(value)
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def bare(kind: Any) -> tuple[Any, str]:
    """`Annotated[int, Meta(description=...)]` as the type alone and its one line of help."""
    about = ""
    while typing.get_origin(kind) is typing.Annotated:
        kind, *extras = typing.get_args(kind)
        about = next((e.description for e in extras if isinstance(e, Meta) and e.description), about)
    if not about and _is_union(kind):  # `TopK | None` keeps TopK's description
        about = next(filter(None, (bare(choice)[1] for choice in typing.get_args(kind))), "")
    return kind, about


def is_none(value: Any) -> bool:
    """Whether a setting is left empty: nothing, or the word for it."""
    return value is None or (isinstance(value, str) and value.lower() == "none")


def is_model(kind: Any) -> bool:
    """Whether a field of this type holds a model, or none."""
    kind, _ = bare(kind)
    return kind is Model or (_is_union(kind) and any(is_model(choice) for choice in typing.get_args(kind)))


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _is_sequence(kind: Any) -> bool:
    choices = typing.get_args(kind) if _is_union(kind) else (kind,)
    return any(typing.get_origin(choice) in (tuple, list) for choice in choices)


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def _type_name(kind: Any) -> str:
    kind, _ = bare(kind)
    inner = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return " | ".join(map(str, inner))
    if _is_union(kind):
        return " | ".join(_type_name(choice) for choice in inner)
    if origin is Part:
        return f"{_kind_of(inner[0])} name"
    if origin in (tuple, list):
        return f"{_type_name(inner[0])},..."
    name = str(kind.__name__)
    return {"NoneType": "none", "str": "text", "Model": "model", "Path": "path"}.get(name, name)


def _kind_of(protocol: Any) -> str:
    """The kind of part that a protocol is for."""
    for kind, protocols in KINDS.items():
        if protocol in (protocols if isinstance(protocols, tuple) else (protocols,)):
            return kind
    return str(protocol.__name__.lower())


def _shown(value: Any) -> str:
    if isinstance(value, Part):
        return value.name
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value)) or "none at all"
    return "none" if value is None else str(value)
