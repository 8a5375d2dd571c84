"""Model folders and where they live. A model is a folder with a `model.toml`, weights as safetensors,
and its parts (a codec, a tokenizer) as sub-folders, so it is complete and cannot meet the wrong part."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shutil
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from t2icli.ground import files, toml
from t2icli.ground.errors import T2IError, did_you_mean
from t2icli.ground.home import home as home
from t2icli.store import verified
from t2icli.store.sources import ModelSource
from t2icli.store.verified import file_sha256 as file_sha256

CARD = "model.toml"
DEFAULTS = "defaults.toml"
WEIGHTS = "weights.safetensors"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*")
BESIDE = re.compile(r"\.\./\w[\w.-]*")
"""What a link may be, or a `NAME`: a model beside this one, one of the store, and nothing else of this machine."""
UNSAFE = '\\:*?"<>|' + "".join(map(chr, range(32)))
"""What a file's name cannot hold on Windows; the rest of a path on it."""


class Usual(msgspec.Struct, frozen=True):
    """What the best pictures of a generator score for prompts that it knows."""

    ranker: str
    """The sha256 of the ranker's model, or its name where it has none."""
    prompts: int
    """How many it was measured on."""
    least: dict[str, float]
    """What nearly all of them reach, by the number of pictures that the best is taken of."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What `model.toml` says. Unknown keys are ignored, so that newer cards still open."""

    kind: str
    backend: str
    about: str = ""
    licence: str = ""
    source: str = ""
    """Where it came from: the run, or the upstream files."""
    config: dict[str, Any] = {}
    """The network's shape, in the backend's own format."""
    settings: dict[str, Any] = {}
    """Defaults of the backend's settings that suit this model, such as a temperature."""
    files: dict[str, str] = {}
    """sha256 of every file, by its path below the card with `/`; those of the parts are on their own cards."""
    parts: dict[str, str] = {}
    """sha256 of every part, a sub-folder of that name."""
    links: dict[str, str] = {}
    """Parts that lie beside the model in place of within it: `codec = "../vqgan"`, which others share; or in the store:
    `base = "diffusers/z-image-turbo"`, which is never copied."""
    stand_in: str = ""
    """What it is, in words that follow "is"; for a model that is used only until there is another, and says so."""
    usual: list[Usual] = []
    """For a generator, by ranker: `t2i evaluate generation --calibrate` measures it, `t2i generate` reads it."""
    versions: dict[str, str] = {}

    def __post_init__(self) -> None:
        for name in self.files:
            if not is_inside(name):
                raise ValueError(f"its file {name!r} is not inside the model's folder")
        for part, folder in self.links.items():
            if not (part.isidentifier() and (BESIDE.fullmatch(folder) or NAME.fullmatch(folder))):
                raise ValueError(
                    f"its part {part!r} cannot be linked to {folder!r}, only to '../NAME' or a model's name"
                )


def is_inside(name: str) -> bool:
    """Whether a path with `/` names a file below a folder on every system, and nothing else."""
    steps = name.split("/")
    return not any(step in ("", ".", "..") or set(step) & set(UNSAFE) or step != step.rstrip(". ") for step in steps)


@dataclass(frozen=True)
class Model:
    """A model that is here, on disk."""

    folder: Path
    card: Card
    name: str

    @cached_property
    def sha256(self) -> str:
        """One hash for weights, shape and parts; what images and caches remember."""
        import hashlib  # here, because listing commands needs none

        card = self.card
        made_of = [card.kind, card.backend, card.config, card.files, card.parts]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()

    def check_made_for(self, backend: str, user: str | None = None) -> None:
        """Refuse a model of another backend; `user` names what it was for, if not `backend` itself."""
        if self.card.backend != backend:
            raise T2IError(f"model {self.name!r} is made for {self.card.backend!r}, not for {user or repr(backend)}")

    @property
    def bases(self) -> set[str]:
        """The parts that are models of the store in their own right."""
        return {part for part, link in self.card.links.items() if NAME.fullmatch(link)}

    @property
    def size(self) -> int:
        """Bytes on disk, parts included, but for those that are models of the store."""
        folders = [self.folder, *map(self._place, self.card.links.keys() - self.bases)]
        return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())

    def file(self, name: str = WEIGHTS, *, anew: bool = False) -> Path:
        """A file of the model, after its hash has been compared; `anew` hashes it even if it has not changed since."""
        if name not in self.card.files:
            raise T2IError(f"model {self.name!r} has no file {name!r}", did_you_mean(name, self.card.files))
        path = self.folder / name
        if not path.is_file():
            raise T2IError(f"file {name!r} of model {self.name!r} is missing", f"looked for {path}", code=1)
        actual, expected = (file_sha256 if anew else verified.sha256)(path), self.card.files[name]
        if actual != expected:
            raise T2IError(
                f"{name!r} of model {self.name!r} is damaged: sha256 is {actual}, expected {expected}",
                f"delete {self.folder} and get the model as before: pulled, imported, trained or with its plugin",
                code=1,
            )
        return path

    def files(self) -> dict[str, Path]:
        """All files of the model, after their hashes have been compared; parts are not among them."""
        return {name: self.file(name) for name in self.card.files}

    def part(self, name: str) -> Model:
        """A part of the model, after checking that it is the one the model was made with."""
        part = self._base(name) if name in self.bases else open_model(self._place(name), f"{self.name}:{name}")
        if part.sha256 != self.card.parts.get(name):
            raise T2IError(
                f"{name} of model {self.name!r} is not the one it was made with: "
                f"sha256 is {part.sha256}, expected {self.card.parts.get(name)}",
                code=1,
            )
        return part

    def _place(self, part: str) -> Path:
        return self.folder / self.card.links.get(part, part)

    def _base(self, part: str) -> Model:
        """A part in the store: the model that was meant, whatever its name is here."""
        link = self.card.links[part]
        if (same := in_store(self.card.parts.get(part))) is not None:
            return same
        if (store() / link / CARD).is_file():
            return open_model(store() / link, link)
        backend, _, what = link.partition("/")
        raise T2IError(
            f"model {self.name!r} needs {link!r}, its {part}, which is not installed",
            f"run: t2i models pull {link}, or t2i models import FOLDER --as {backend} --name {what}",
        )


def open_model(folder: Path, name: str | None = None) -> Model:
    """Read a model folder's card; the weights are left alone until they are asked for."""
    return Model(folder, _card(folder / CARD), name or str(folder))


_cards: dict[Path, tuple[tuple[int, ...], Card]] = {}
"""Cards that were read, each with the state of its file then: a run asks for the same ones again and again."""


def _card(path: Path) -> Card:
    with contextlib.suppress(OSError):
        status = path.stat()
        state = (status.st_mtime_ns, status.st_size, status.st_ino)
        if path in _cards and _cards[path][0] == state:
            return _cards[path][1]
        _cards[path] = state, _read_card(path)
        return _cards[path][1]
    return _read_card(path)  # which says why it cannot be read


def _read_card(path: Path) -> Card:
    try:
        return msgspec.convert(toml.read(path), Card)
    except msgspec.ValidationError as error:
        raise T2IError(f"'{path}' is not a model card: {error}") from error


def seal(folder: Path, card: Card) -> Model:
    """Write the card of a folder whose files and parts are in place, with the hash of each.

    The card comes last and by renaming, so a folder with a card is whole.
    """
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    places = {path.name: path for path in entries if path.is_dir() and (path / CARD).is_file()}
    inside = [path for entry in entries if entry.name not in places for path in _files(entry)]
    hashes = {path.relative_to(folder).as_posix(): verified.sha256(path) for path in inside}
    hashes.pop(CARD, None)
    places |= {part: store() / link if NAME.fullmatch(link) else folder / link for part, link in card.links.items()}
    parts = {part: open_model(place).sha256 for part, place in sorted(places.items())}
    return write_card(folder, msgspec.structs.replace(card, files=hashes, parts=parts))


def _files(path: Path) -> Iterator[Path]:
    """A file, or those in a folder and below; hidden ones are not a model's."""
    if path.is_file():
        yield path
    elif path.is_dir():
        for inner in sorted(path.iterdir()):
            if not inner.name.startswith("."):
                yield from _files(inner)


def copy(model: Model, folder: Path) -> None:
    """A self-contained copy: linked parts are copied into it.

    Its files are the same ones where the file system allows that: a large model takes no more room.
    """
    shutil.copytree(model.folder, folder, dirs_exist_ok=True, copy_function=verified.link)
    beside = model.card.links.keys() - model.bases
    for part in beside:
        copy(model.part(part), folder / part)
    if beside:
        links = {part: model.card.links[part] for part in model.bases}
        write_card(folder, msgspec.structs.replace(model.card, links=links))


def store() -> Path:
    """The folder of the models that were pulled, imported or put there; each is `backend/what`."""
    return home() / "models"


def places(sources: Iterable[ModelSource] = ()) -> dict[str, Path]:
    """Where every model that is here lies, by name: the store's first, then those shipped inside plugins."""
    root = store()
    folders = {path.parent.relative_to(root).as_posix(): path.parent for path in sorted(root.glob(f"*/*/{CARD}"))}
    for source in sources:
        if source.folder is not None:
            folders.setdefault(source.name, source.folder)
    return folders


def installed(sources: Iterable[ModelSource] = ()) -> dict[str, Model]:
    """Every model that is here, by name. One whose card cannot be read is left out with a warning."""
    return _opened(places(sources))


def in_store(sha256: str | None) -> Model | None:
    """The model of the store with this hash."""
    for name, folder in places().items():
        with contextlib.suppress(T2IError):
            if (model := open_model(folder, name)).sha256 == sha256:
                return model
    return None


def _opened(folders: Mapping[str, Path]) -> dict[str, Model]:
    models = {}
    for name, folder in folders.items():
        try:
            models[name] = open_model(folder, name)
        except T2IError as error:
            warnings.warn(f"skipped model {name!r}: {error.message}", UserWarning, stacklevel=2)
    return models


def folder_of(path: Path) -> Path | None:
    """The model folder that a path means: itself, or the `model` of a run; None if it is neither."""
    return next((folder for folder in (path, path / "model") if (folder / CARD).is_file()), None)


def find(word: str, sources: Iterable[ModelSource] = ()) -> Model:
    """The model a user means by a name such as `dalle/starter` or by the path of a folder."""
    if (folder := folder_of(Path(word))) is not None:
        return open_model(folder)
    known = places(sources)
    if word in known:
        return open_model(known[word], word)
    whole, *parts = _split(word, known)
    if parts:
        return functools.reduce(Model.part, parts, find(whole, sources))
    for source in sources:
        if source.name == word:
            raise T2IError(f"model {word!r} is not downloaded", f"run: {way_to_get(source)}")
    raise T2IError(f"no model called {word!r} and no model folder of that path", did_you_mean(word, known))


def _split(word: str, known: Collection[str]) -> list[str]:
    """A model's name and those of the parts behind it, as `Model.part` writes them: `dalle/starter:codec`."""
    pieces = word.split(":")
    for count in range(len(pieces) - 1, 0, -1):
        whole = ":".join(pieces[:count])
        if whole and (whole in known or folder_of(Path(whole)) is not None):
            return [whole, *pieces[count:]]
    return [word]


def way_to_get(source: ModelSource) -> str:
    """The command that brings a model here that a plugin only knows of."""
    backend, _, what = source.name.partition("/")
    if source.can_be_pulled:
        return f"t2i models pull {source.name}"
    return f"t2i models import FILE... --as {backend} --name {what}"


def default(backend: str, sources: Iterable[ModelSource] = ()) -> Model | None:
    """The model a bare backend name means: the chosen one, else the preferred one."""
    chosen = defaults().get(backend)
    if chosen is not None:
        return find(chosen, sources)
    own = {name: folder for name, folder in places(sources).items() if name.startswith(f"{backend}/")}
    return preferred(model for model in _opened(own).values() if model.card.backend == backend)


def preferred(known: Iterable[Model]) -> Model | None:
    """The largest; a placeholder only if there is no other, and then the one its plugin lists first."""
    listed = list(known)
    others = [model for model in listed if not model.card.stand_in]
    return max(others, key=lambda model: (model.size, model.name), default=next(iter(listed), None))


def defaults() -> Mapping[str, str]:
    """The user's choice of a model for each backend: `t2i models default`."""
    path = home() / DEFAULTS
    return toml.read(path) if path.is_file() else {}


def set_default(backend: str, name: str | None) -> None:
    """Choose the model a bare backend name means; None leaves it to the rule."""
    chosen = {key: value for key, value in defaults().items() if key != backend}
    if name is not None:
        chosen[backend] = name
    _write(home() / DEFAULTS, chosen)


def write_card(folder: Path, card: Card) -> Model:
    """Put the card of a folder in place, whole or not at all."""
    _write(folder / CARD, msgspec.to_builtins(card))
    return Model(folder, card, str(folder))


def _write(path: Path, tables: Mapping[str, Any]) -> None:
    files.write(path, toml.dumps(tables), durable=True)
