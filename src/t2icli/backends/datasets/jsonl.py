"""One JSON object a line: text2img's for DALL-E, BriVL's test sets, or simply image and caption."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from t2icli.backends.datasets import Table
from t2icli.backends.datasets.columns import CAPTION, IMAGE, choose, escapes, located, name_of
from t2icli.backends.datasets.text import files, open_text
from t2icli.dataset import SourceRow
from t2icli.errors import T2IError


class JsonlSource:
    def __init__(self, settings: Table) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        for path in files(source, ".jsonl", ".json"):
            root = Path(self.settings.root) if self.settings.root else path.parent
            with open_text(path, self.settings.encoding) as stream:
                for number, line in enumerate(stream, start=1):
                    if line.strip():
                        yield self._row(line, root, f"{path}:{number}")

    def _row(self, line: str, root: Path, where: str) -> SourceRow:
        try:
            found = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            return SourceRow("", None, (), {"problem": "bad-json", "where": where, "error": str(error)})
        if not isinstance(found, dict):
            return SourceRow("", None, (), {"problem": "bad-json", "where": where})
        try:
            cell = found[choose(self.settings.image, IMAGE, found, "image", Path(where))]
            text = found[choose(self.settings.caption, CAPTION, found, "caption", Path(where))]
        except T2IError as error:
            return SourceRow("", None, (), {"problem": "missing-column", "where": where, "error": error.message})
        image = located(str(cell), root)
        captions = captions_in(text)
        key = str(found.get(self.settings.key, "")) if self.settings.key else name_of(image, str(cell), captions)
        return SourceRow(key, image, captions, _extra(found, image, root))


def captions_in(value: Any) -> tuple[str, ...]:
    """`"a"`, `["a", "b"]`, or BriVL's `[["sur_text", "a"], ...]`, where every kind of text is a caption."""
    if isinstance(value, str):
        return (value,) if value else ()
    if not isinstance(value, list):
        return ()
    texts = [item[1] if isinstance(item, list) and len(item) == 2 else item for item in value]
    return tuple(text for text in texts if isinstance(text, str) and text)


def _extra(found: Mapping[str, Any], image: Path | str | None, root: Path) -> dict[str, Any]:
    kept = {name: found[name] for name in ("bbox", "split") if found.get(name)}
    return {**kept, "problem": "outside-root"} if escapes(image, root) else kept
