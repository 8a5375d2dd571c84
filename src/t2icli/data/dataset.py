"""Prepared datasets: tar shards any WebDataset trainer reads, each with a parquet index beside it, so that
row i is one positioned read. `dataset.toml` is the card: the shards that belong, where they came from, the split.

A shard is never changed once it is on the card, so a second `t2i prepare` does not affect readers.
"""

from __future__ import annotations

import contextlib
import hashlib
import stat
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
import numpy as np

from t2icli.data import places
from t2icli.data.index import Index, ShardEntry
from t2icli.data.places import CARD, Folder, Mirror
from t2icli.ground import files, toml
from t2icli.ground.errors import T2IError, Unreachable, did_you_mean

if TYPE_CHECKING:
    from PIL.Image import Image

    from t2icli.contract.kinds import AudioClip

Split = Literal["train", "val", "test", "all"]
AT_ONCE = 8
"""Indexes that are downloaded at a time."""
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class SourceRow(msgspec.Struct, frozen=True, gc=False):
    """One picture and its captions, as a source yields them."""

    key: str
    """Names the row within its source, the same in every run; empty: `key_of` its address and captions."""
    image: Path | str | bytes | Callable[[], bytes] | None
    """A file, an address on the web, the bytes themselves, or what gives them when they are wanted; None when the
    source lacks it. What gives them may be called in any thread, and is pickled when a cluster does the work."""
    captions: tuple[str, ...] = ()
    extra: dict[str, Any] = {}
    """Kept in the row's JSON; `split` decides the split, `problem` fails the row with that reason, `skip` drops it."""
    audio: Path | bytes | Callable[[], bytes] | None = None
    """A sound that belongs to the picture, kept as it is."""

    def read(self) -> bytes:
        """The bytes of a local image; an image given as a function is made again at each call."""
        content = None if isinstance(self.image, str) else _content(self.image)
        if content is None:
            raise UnreadableImage("no-image", f"row {self.key!r} has no local image")
        return content

    def read_audio(self) -> bytes | None:
        """The bytes of its sound, if it has one."""
        return _content(self.audio)

    def name(self, content: bytes | None = None) -> str | None:
        """The key, else one made of address or bytes and captions; None where the bytes have to be read for that."""
        if self.key:
            return self.key
        image = self.image if content is None else content
        return None if callable(image) else key_of(image if isinstance(image, bytes) else str(image), self.captions)


class UnreadableImage(T2IError):
    """An image that this machine cannot get; `reason` is how reports name that."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def _content(source: Path | bytes | Callable[[], bytes] | None) -> bytes | None:
    if source is None or isinstance(source, bytes):
        return source
    return _read_file(source) if isinstance(source, Path) else source()


def _read_file(path: Path) -> bytes:
    from t2icli.pictures.images import MAX_BYTES

    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImage("not-a-file", f"'{path}' is not a file")  # a pipe or a device may never end
        if status.st_size > MAX_BYTES:
            raise UnreadableImage("too-many-bytes", f"'{path}' is too large")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UnreadableImage("no-such-file", f"there is no file '{path}'") from error
    except OSError as error:
        raise UnreadableImage("unreadable-file", f"cannot read '{path}': {error.strerror}") from error
    except ValueError as error:  # a NUL in it
        raise UnreadableImage("bad-path", f"{str(path)!r} is not a path") from error


def key_of(address: str | bytes, captions: Iterable[str]) -> str:
    """A key for a row whose source has none: the same row gets the same key wherever it is prepared."""
    digest = hashlib.blake2b(address if isinstance(address, bytes) else address.encode(), digest_size=10)
    for caption in captions:
        digest.update(b"\0" + caption.encode())
    return digest.hexdigest()


class DatasetCard(msgspec.Struct, frozen=True, kw_only=True):
    """What `dataset.toml` says. Unknown keys are ignored, so that newer cards still open."""

    source: str = ""
    about: str = ""
    licence: str = ""
    rules: dict[str, Any] = {}
    counts: dict[str, int] = {}
    """Input rows by status: `ok`, `failed`, `dropped`, and by reason."""
    rankers: dict[str, str] = {}
    """Those whose scores are in the rows' JSON, each with a hash of its settings and model."""
    seed: int = 0
    val: float = 0.05
    test: float = 0.0
    shards: tuple[ShardEntry, ...] = ()
    versions: dict[str, str] = {}


def share(key: str, seed: int) -> float:
    """Where a key falls in [0, 1): depends on nothing else, so added rows move no other row to another split."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class PreparedDataset:
    """Rows by number. A split is a view; sending one to another process sends only its row numbers."""

    def __init__(self, place: Folder | Mirror, card: DatasetCard, rows: np.ndarray | None = None) -> None:
        self.place = place
        self.card = card
        self._rows = rows
        self._indexes: dict[int, Index] = {}
        self._at = -1
        """The shard read last."""

    @property
    def folder(self) -> Path:
        return self.place.folder

    @classmethod
    def open(cls, folder: Path | str) -> PreparedDataset:
        folder = places.where(folder)
        if not (folder / CARD).is_file():
            hint = "preparation is incomplete: run the same t2i prepare again" if (folder / "report").is_dir() else None
            raise T2IError(f"'{folder}' is not a prepared dataset: it has no {CARD}", hint)
        try:
            return cls(places.at(folder), msgspec.convert(toml.read(folder / CARD), DatasetCard))
        except msgspec.ValidationError as error:
            raise T2IError(f"'{folder / CARD}' is not a dataset card: {error}") from error

    @cached_property
    def sha256(self) -> str:
        """What the data is: rows, their order, and for a view which of them."""
        digest = hashlib.sha256(repr([(shard.rows, shard.sha256) for shard in self.card.shards]).encode())
        if self._rows is not None:
            digest.update(self._rows.tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return self._ends[-1] if self._rows is None else len(self._rows)

    def split(self, name: Split) -> PreparedDataset:
        """`train`, `val`, `test` or `all`, by the fractions on the card and each key's hash."""
        if name not in get_args(Split):
            raise T2IError(f"there is no split called {name!r}", did_you_mean(name, get_args(Split)))
        if name == "all":
            return self
        rows = np.flatnonzero(self._splits == SPLITS.index(name))
        if self._rows is not None:
            rows = self._rows[np.isin(self._rows, rows)]
        view = PreparedDataset(self.place, self.card, rows)
        view._indexes = self._indexes
        return view

    @cached_property
    def _splits(self) -> np.ndarray:
        """Of every row of the whole dataset, as numbers into SPLITS."""
        if isinstance(self.place, Mirror):
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(self._index, range(len(self.card.shards))))
        splits = np.empty(self._ends[-1], dtype=np.int8)
        for shard, (start, end) in enumerate(zip(self._ends, self._ends[1:], strict=False)):
            index = self._index(shard)
            columns = index.column("key").to_pylist(), index.column("split").to_pylist()
            splits[start:end] = [SPLITS.index(each or self._split_of(key)) for key, each in zip(*columns, strict=True)]
        return splits

    def _split_of(self, key: str) -> str:
        place = share(key, self.card.seed)
        return "val" if place < self.card.val else "test" if place < self.card.val + self.card.test else "train"

    def key(self, i: int) -> str:
        return str(self._value("key", i))

    def captions(self, i: int) -> tuple[str, ...]:
        """Every caption of image i; none at all for images without."""
        return tuple(self._value("captions", i))

    def size(self, i: int) -> tuple[int, int]:
        """Width and height, without opening the image."""
        return self._value("width", i), self._value("height", i)

    def format(self, i: int) -> str:
        """`jpg`, `png` or `webp`: how the image is stored."""
        return str(self._value("format", i))

    def image_sha256(self, i: int) -> str:
        return str(self._value("sha256", i))

    def image(self, i: int) -> Image:
        """The image, RGB and fully read."""
        from t2icli.pictures.images import stored

        return stored(self.image_bytes(i), f"image {self.key(i)!r} in '{self.place}'")

    def image_bytes(self, i: int) -> bytes:
        """The bytes of the image file in the shard: one positioned read."""
        return self._read(i, "")

    def audio_bytes(self, i: int) -> bytes | None:
        """The sound that belongs to image i, if there is one."""
        return self._read(i, "audio_") if self.has_audio(i) else None

    def has_audio(self, i: int) -> bool:
        index, row = self._find(i)
        return index.has("audio_size") and bool(index.column("audio_size")[row].as_py())

    def clip(self, i: int) -> AudioClip | None:
        """The sound, read and mixed to one channel."""
        from t2icli.sounds.clips import decode

        content = self.audio_bytes(i)
        return None if content is None else decode(content, f"the sound of {self.key(i)!r} in '{self.place}'")

    def extra(self, i: int) -> dict[str, Any]:
        """Everything in the row's JSON: the source's fields and the measured ones."""
        return dict(msgspec.json.decode(self._read(i, "json_")))

    def _read(self, i: int, what: str) -> bytes:
        """One part of a row; whoever reads shards one after another gets the next one meanwhile."""
        shard, row = self._place_of(i)
        if shard == self._at + 1:
            self.soon(shard + 1)
        self._at = shard
        index = self._index(shard)
        return index.read(*(index.column(f"{what}{each}")[row].as_py() for each in ("offset", "size")))

    def _value(self, column: str, i: int) -> Any:
        index, row = self._find(i)
        return index.column(column)[row].as_py()

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate((shard.rows for shard in self.card.shards), initial=0))

    def _find(self, i: int) -> tuple[Index, int]:
        """The index that holds row i of this view, and the row's place in it."""
        shard, row = self._place_of(i)
        return self._index(shard), row

    def _place_of(self, i: int) -> tuple[int, int]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        row = i % len(self) if self._rows is None else int(self._rows[i])
        shard = bisect_right(self._ends, row) - 1
        return shard, row - self._ends[shard]

    def shards_of(self, rows: np.ndarray) -> np.ndarray:
        """The numbers of the shards that hold rows of this view."""
        rows = rows if self._rows is None else self._rows[rows]
        return np.searchsorted(self._ends, rows, side="right") - 1

    def size_of(self, shard: int) -> int:
        """Bytes of a shard's pictures and sounds."""
        return self._index(shard).size

    def soon(self, shard: int) -> None:
        """Get a shard here in the background, where the data is at an address."""
        if shard < len(self.card.shards) and not self.place.is_here(f"{self.card.shards[shard].name}.tar"):
            threading.Thread(target=self.bring, args=[shard], daemon=True).start()

    def bring(self, shard: int) -> None:
        """Get a shard here, unless another process does; whoever reads it reports what goes wrong."""
        with contextlib.suppress(T2IError, Unreachable, OSError):
            self._index(shard).bring()

    def _index(self, shard: int) -> Index:
        if shard not in self._indexes:
            self._indexes[shard] = Index(self.place, self.card.shards[shard])
        return self._indexes[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {"place": self.place, "card": self.card, "rows": self._rows}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["place"], state["card"], state["rows"])  # type: ignore[misc]


def write_card(folder: Path, card: DatasetCard) -> PreparedDataset:
    """Put the card in place by renaming: the moment from which readers see the shards it lists."""
    files.write(folder / CARD, toml.dumps(msgspec.to_builtins(card)), durable=True)
    return PreparedDataset.open(folder)
