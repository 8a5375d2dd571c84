"""The output folder: an album for each request, of the kind that `t2i generate` writes."""

from __future__ import annotations

import contextlib
import datetime
import re
import secrets
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2icli.ground import files, toml, workspace
from t2icli.ground.errors import T2IError
from t2icli.pictures import images, prompts
from t2icli.pictures.album import GALLERY, RESULTS, Album
from t2icli.pipelines import conditions, generate, mixture, scoring
from t2icli.registry.open import Opened

if TYPE_CHECKING:
    from t2i_serve.studio import Order

SETTINGS = re.compile(r"settings(-\d+)?\.toml")
OURS = re.compile(r"\d{8}-\d{6}-.*-[0-9a-f]{8}")
"""What our albums are called: when, what, and a number by chance."""


@dataclass(frozen=True)
class Filed:
    """An album, as far as an answer tells of it."""

    album: str
    folder: Path
    rows: Sequence[Mapping[str, Any]]
    command: str
    """What draws the same with `t2i generate`."""

    def content(self, row: Mapping[str, Any]) -> bytes:
        """The PNG of a row."""
        return (self.folder / str(row["file"])).read_bytes()


class Shelf:
    """The output folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """Make the folder; finish or remove what a server that was killed has left."""
        with files.writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        for folder in self.folder.iterdir():
            if OURS.fullmatch(folder.name) and not folder.is_symlink() and folder.is_dir():
                _recover(folder)

    def file(
        self,
        order: Order,
        opened: Opened[Any],
        record: Mapping[str, Any],
        candidates: Sequence[generate.Candidate],
        judges: Sequence[scoring.Judge],
        mixed: mixture.Mixture | None = None,
    ) -> Filed:
        """Write the pictures of an order as an album of their own."""
        album = Album(self.folder / _name(order.prompt))
        rows: list[dict[str, Any]] = []
        with album.opened():
            examples = {name: _saved(album.folder, name, image) for name, image in order.examples.items()}
            sound = order.sound.saved(album.folder) if order.sound is not None else None
            shown = conditions.Examples(examples, sound, mixture=mixed)
            plan = generate.GenerationPlan([order.prompt], order.n, order.seed, opened, judges, order.top, shown)
            written = album.keep_settings(_tables(order, record, judges, sound))
            album.add(generate.filed_rows(plan, order.prompt, candidates, written, {}), record, rows)
            album.publish(grid=len(rows) > 1)
        return Filed(album.folder.name, album.folder, rows, command(order, opened.name, sound))

    def names(self) -> list[str]:
        """Albums, ours and those of `t2i generate`, the newest first."""
        with contextlib.suppress(OSError):
            folders = [(_changed(folder), folder.name) for folder in self.folder.iterdir()]
            return [name for changed, name in sorted(folders, reverse=True) if changed]
        return []

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        """The rows of an album, up to where it is damaged; none if there is no such album."""
        if _is_name(name):
            with contextlib.suppress(T2IError, OSError):
                yield from Album(self.folder / name).rows()

    def settings_file(self, name: str, row: Mapping[str, Any]) -> Path:
        """What a row of an album was drawn with."""
        file = str(row.get("settings_file", ""))
        return self.folder / name / (file if SETTINGS.fullmatch(file) else "settings.toml")

    def settings(self, name: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """The model's settings among it."""
        with contextlib.suppress(T2IError):
            option = toml.read(self.settings_file(name, row)).get("option", {})
            return {key: value for key, value in option.items() if key != "ranker"}
        return {}

    def created(self, name: str) -> float:
        return _changed(self.folder / name)

    def picture(self, name: str, file: str) -> Path | None:
        """The file of a picture that an album lists."""
        for row in self.rows(name):
            if row["file"] == file and (path := self.folder / name / file).is_file():
                return path
        return None

    def sound(self, name: str) -> Path | None:
        """The sound that an album was drawn from, if the album holds it."""
        noted = next((row.get("audio") for row in self.rows(name)), None)
        path = self.folder / name / Path(str(noted)).name
        return path if noted and path.is_file() else None


def _is_name(name: str) -> bool:
    """Whether it may be the name of a folder here: no path, and nothing hidden."""
    return not (name.startswith(".") or {"/", "\\", "\0"} & set(name)) and name == Path(name).name


def command(order: Order, model: str, sound: mixture.AudioFile | None = None) -> str:
    """The words that draw the same in a terminal; example pictures have no path there."""
    words = ["t2i", "generate", "-n", str(order.n), "--seed", str(order.seed), "-m", model]
    if order.rerank:
        words += ["--rerank", ",".join(f"{name}={weight:g}" for name, weight in order.rerank.items())]
    words += ["--top", str(order.top)] if order.top is not None else []
    for name, value in order.settings.items():
        words += ["-o", f"{name}={_word(value)}"]
    for name, value in _of_sound(order, sound).items():
        words += [f"--{name.replace('_', '-')}", value]
    if not order.has_prompt:
        return shlex.join(words)
    return shlex.join([*words, *(["--"] if order.prompt.startswith("-") else []), order.prompt])


def _of_sound(order: Order, sound: mixture.AudioFile | None) -> dict[str, str]:
    """What `t2i generate` takes for the sound."""
    if sound is None or order.sound is None:
        return {}
    weights = ",".join(f"{part}={weight!r}" for part, weight in order.sound.weights.items())
    like = {"like": str(sound.path.with_name("like.png"))} if "like" in order.examples else {}
    return {**like, "audio": str(sound.path), "weights": weights, "audio_embedder": order.sound.listener}


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else "none" if value is None else str(value)


def _name(prompt: str) -> str:
    now = datetime.datetime.now()
    return f"{now:%Y%m%d-%H%M%S}-{prompts.slug(prompt) or 'pictures'}-{secrets.token_hex(4)}"


def _saved(folder: Path, name: str, image: Any) -> conditions.Example:
    """An example picture, stored in the album so that `t2i replay` finds it."""
    path = (folder / f"{name}.png").absolute()
    images.save_png(image, path)
    return conditions.Example(path, image)


def _tables(
    order: Order, record: Mapping[str, Any], judges: Sequence[scoring.Judge], sound: mixture.AudioFile | None
) -> dict[str, Any]:
    """What `t2i generate --config` reads."""
    tables: dict[str, Any] = {"n": order.n, "seed": order.seed, "model": record["model"], **_of_sound(order, sound)}
    if order.has_prompt:
        tables = {"prompt": [order.prompt], **tables}
    if judges:
        tables["rerank"] = [f"{judge.name}={judge.weight:g}" for judge in judges]
    if order.top is not None:
        tables["top"] = order.top
    of_rankers = {judge.name: judge.settings for judge in judges} or None
    return {**tables, "option": {**record["settings"], "ranker": of_rankers}}


def _changed(folder: Path) -> float:
    """When an album last got pictures; 0 for other folders."""
    if folder.name.startswith("."):
        return 0.0
    try:
        return (folder / RESULTS).stat().st_mtime
    except OSError:
        return 0.0


def _recover(folder: Path) -> None:
    """Finish the album of a server that was killed, or remove it if nothing was filed in it."""
    if not _workspaces(folder) and (folder / GALLERY).exists():
        return
    with contextlib.suppress(T2IError, OSError):
        album = Album(folder)
        with album.opened():  # which puts in place what is noted
            if rows := album.results():
                album.publish(grid=len(rows) > 1)
        if not rows and not _workspaces(folder):  # else another server is at work in it
            shutil.rmtree(folder)


def _workspaces(folder: Path) -> list[Path]:
    return list(folder.glob(f"{workspace.PREFIX}*"))
