"""Pictures of many prompts, drawn by the engine: a WebDataset tar for each shard, of which an album may be made.

A prompt's pictures are drawn and ranked by one worker. What is not kept of them has no file, but its row stands in the
JSON of the picture before it, so that an album is made of the shards alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2icli.engine.jobs import Job, Make
from t2icli.ground import runfile
from t2icli.ground.batches import batched
from t2icli.pictures import images
from t2icli.pictures.album import Album
from t2icli.pipelines import conditions, generate, scoring
from t2icli.pipelines.conditions import Examples
from t2icli.pipelines.generate import GenerationPlan
from t2icli.registry.open import Choice

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIX = ".tar"
Numbered = Sequence[tuple[int, str]]
"""Prompts with their places among all."""


@dataclass(frozen=True)
class Drawing:
    """How prompts become pictures; what every worker of a job is given."""

    generator: Choice
    n: int
    seed: int
    judges: Mapping[str, tuple[float, Choice]] = field(default_factory=dict)
    top: int | None = None
    examples: Examples = field(default_factory=Examples)
    listener: str | None = None
    """The embedder of --audio, and its settings."""
    listener_settings: Mapping[str, Any] = field(default_factory=dict)
    has_words: bool = True
    """Whether there is a prompt to rank by."""

    def open(self, prompts: Sequence[str] = ()) -> GenerationPlan:
        """Load all models."""
        source = self.generator.open()
        examples = self.examples.mixed(source, self.listener, self.listener_settings)
        judges = scoring.opened(self.judges)
        sound = examples.mixture.sound if examples.mixture is not None else None
        if sound is not None and not self.has_words:
            judges = scoring.by_sound(judges, sound)
        return GenerationPlan(prompts, self.n, self.seed, source, judges, self.top, examples)

    def __call__(self) -> Make:
        return partial(_write, self.open())


def job(prompts: Callable[[], Iterable[str]], output: Path, how: Drawing, shard_rows: int) -> Job:
    """The job that draws them; they are read twice, and a later run must have the same ones."""
    digest, count = hashlib.sha256(), 0
    for prompt in prompts():
        digest.update(f"{prompt}\n".encode())
        count += 1
    plan = {
        "job": "generate",
        "prompts": count,
        "text": digest.hexdigest(),
        "n": how.n,
        "seed": how.seed,
        "top": how.top,
        "shard_rows": shard_rows,
        "generator": how.generator.plan,
        "ranker": scoring.plan(how.judges),
        "examples": {**conditions.record(how.examples), "weights": dict(how.examples.weights)},
        "audio": {"embedder": how.listener, "option": dict(how.listener_settings)},
    }
    return Job(output, plan, batched(enumerate(prompts()), max(1, shard_rows // how.n)), how, SUFFIX)


def _write(plan: GenerationPlan, chunk: Numbered, draft: Path) -> None:
    """The shard of some prompts."""
    plan = replace(plan, prompts=[prompt for _, prompt in chunk])
    with tempfile.TemporaryDirectory(prefix="t2i-") as space, tarfile.open(draft, "w") as tar:
        shard = _Shard(tar, chunk[0][0], plan.n)
        generate.draw(plan, shard.add, Path(space), runfile.NAME)
        shard.end()


class _Shard:
    """Takes rows as an album does: n of each prompt, one prompt after the other."""

    def __init__(self, tar: tarfile.TarFile, first: int, n: int) -> None:
        self.tar, self.first, self.n = tar, first, n
        self.rows = 0
        self.waiting: tuple[str, bytes, dict[str, Any]] | None = None
        """A picture whose JSON waits for rows that belong to it."""

    def add(
        self,
        rows: Iterator[tuple[Image | None, dict[str, Any]]],
        record: Mapping[str, Any],
        filed: list[dict[str, Any]],
    ) -> None:
        for image, row in rows:
            if image is not None:
                self.end()
                key = f"{self.first + self.rows // self.n:08d}-{row['seed']}"
                self.waiting = key, images.png(image, {**row, **record}), {**row, "not_kept": []}
            elif self.waiting is not None:
                self.waiting[2]["not_kept"].append(row)
            self.rows += 1
            filed.append(row)

    def end(self) -> None:
        """Write the picture that waits, with its JSON."""
        if self.waiting is not None:
            key, png, row = self.waiting
            self._member(f"{key}.png", png)
            self._member(f"{key}.txt", row["prompt"].encode())
            self._member(f"{key}.json", json.dumps(row, ensure_ascii=False).encode())
            self.waiting = None

    def _member(self, name: str, content: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        self.tar.addfile(info, io.BytesIO(content))


def file(shards: Sequence[Path], album: Album, advance: Callable[[int], None] = lambda rows: None) -> None:
    """Make the album of the shards. Its rows are in their order, so their number says how far a killed run came."""
    done = sum(1 for _ in album.rows())
    for path in shards:
        rows = list(_rows(path))
        if rest := rows[done:]:
            album.add(rest, {}, [])
        done = max(0, done - len(rows))
        advance(len(rows))
    album.publish()


def _rows(path: Path) -> Iterator[tuple[bytes | None, dict[str, Any]]]:
    """Every row of a shard, those of pictures with their PNG."""
    png = b""
    with tarfile.open(path) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            content = stream.read() if stream is not None else b""
            if member.name.endswith(".png"):
                png = content
            elif member.name.endswith(".json"):
                row = json.loads(content)
                others = row.pop("not_kept")
                yield png, row
                yield from ((None, other) for other in others)
