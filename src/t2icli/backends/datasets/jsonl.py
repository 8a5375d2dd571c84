"""One JSON object a line: text2img's for DALL-E, BriVL's test sets, or simply image and caption."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from t2icli.backends.datasets import Jsonl
from t2icli.backends.datasets.columns import AUDIO, CAPTION, IMAGE, choose, located, name_of, problem_of
from t2icli.backends.datasets.tables import with_audio
from t2icli.backends.datasets.text import Lines, bad_row, files, open_text, problem_in
from t2icli.data.dataset import SourceRow
from t2icli.ground.errors import T2IError, did_you_mean


class JsonlSource:
    def __init__(self, settings: Jsonl) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        for path in files(source, ".jsonl", ".json"):
            root = Path(self.settings.root) if self.settings.root else path.parent
            with open_text(path, self.settings.encoding) as stream:
                lines = Lines(stream)
                for line in lines:
                    if line.strip():
                        yield self._row(line, root, path, lines.first)
                    lines.begin()

    def _row(self, line: str, root: Path, path: Path, number: int) -> SourceRow:
        if problem := problem_in(line):
            return bad_row(path, number, problem)
        try:
            record = json_in(line)
        except ValueError as error:
            return bad_row(path, number, "bad-json", str(error))
        if not isinstance(record, dict):
            return bad_row(path, number, "bad-json", "not an object")
        try:
            cell = record[choose(self.settings.image, IMAGE, record, "image", path)]
            text = record[choose(self.settings.caption, CAPTION, record, "caption", path)]
            captions = captions_in(text, self.settings.text)
        except T2IError as error:
            return bad_row(path, number, "missing-column", error.message)
        if not isinstance(cell, (str, int, type(None))):
            return bad_row(path, number, "bad-json", "its image is not a text")
        name = "" if cell is None else str(cell)
        image = located(name, root)
        key = str(record.get(self.settings.key, "")) if self.settings.key else name_of(image, name, captions)
        row = SourceRow(key, image, captions, _extra(record, image, root))
        return with_audio(row, record.get(self.settings.audio or AUDIO), root)


def json_in(text: str | bytes) -> Any:
    """What some JSON says; also what is nested too deeply to be read is a ValueError."""
    try:
        return msgspec.json.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


def captions_in(value: Any, kind: str | None = None) -> tuple[str, ...]:
    """`"a"`, `["a", "b"]`, or BriVL's `[["sur_text", "a"], ...]`: of those every text, or the ones of one kind."""
    if isinstance(value, str):
        return (value,) if value else ()
    if not isinstance(value, list):
        return ()
    kinds = [item[0] if isinstance(item, list) and len(item) == 2 else kind for item in value]
    if kind is not None and value and kind not in kinds:
        raise T2IError(f"there is no caption of kind {kind!r}", did_you_mean(kind, map(str, kinds)))
    chosen = [item for item, of in zip(value, kinds, strict=True) if kind in (None, of)]
    texts = [item[1] if isinstance(item, list) and len(item) == 2 else item for item in chosen]
    return tuple(text for text in texts if isinstance(text, str) and text)


def _extra(record: Mapping[str, Any], image: Path | str | None, root: Path) -> dict[str, Any]:
    extra: dict[str, Any] = {"split": record["split"]} if isinstance(record.get("split"), str) else {}
    if record.get("bbox") and is_boxes(record["bbox"]):
        extra["bbox"] = record["bbox"]
    return {**extra, **problem_of(image, root)}


def is_boxes(value: Any) -> bool:
    """BriVL's `[[x1, y1, x2, y2], ...]`; anything else in the file is dropped."""
    return isinstance(value, list) and all(
        isinstance(box, list) and all(isinstance(number, (int, float)) and abs(number) < 1e9 for number in box)
        for box in value
    )
