"""The dataset `spoken`: captions, spoken when they are read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from random import Random

from t2i_wavbrivl import SpokenSettings, speech
from t2icli.contract.kinds import AudioClip
from t2icli.data.dataset import SPLITS, PreparedDataset, SourceRow, UnreadableImage
from t2icli.ground.errors import T2IError
from t2icli.ground.files import read_text
from t2icli.sounds import clips, spectrogram
from t2icli.sounds.clips import resampled

TOGETHER = 32
"""Captions that one process speaks, in one voice and tempo."""
Line = tuple[str, str, Callable[[], bytes] | None]
"""Key, caption, and what gives the picture."""


@dataclass(frozen=True)
class SpokenGroup:
    """Captions that are spoken together."""

    captions: tuple[str, ...]
    settings: SpokenSettings
    name: str
    """From which voice, tempo, pitch and room follow."""
    is_test: bool


class SpokenSource:
    """Rows of the test split are spoken by voices that no other row has, unless voices are given."""

    def __init__(self, settings: SpokenSettings) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        speech.check()
        data = PreparedDataset.open(source) if source.is_dir() else None
        if data is None and not source.is_file():
            raise T2IError(f"'{source}' is neither a prepared dataset nor a file of captions")
        for copy in range(self.settings.copies):
            if data is None:
                yield from self._spoken(_of_file(source), copy)
            else:
                for split in SPLITS:
                    yield from self._spoken(self._of_data(data.split(split)), copy, split)

    def _of_data(self, data: PreparedDataset) -> Iterator[Line]:
        own = self.settings.pictures == "own"
        for i in range(len(data)):
            for number, caption in enumerate(data.captions(i)):
                yield f"{data.key(i)}-{number}", caption, partial(data.image_bytes, i) if own else None

    def _spoken(self, lines: Iterable[Line], copy: int, split: str = "") -> Iterator[SourceRow]:
        wanted = (line for line in lines if speech.is_wanted(line[1], self.settings))
        while some := list(islice(wanted, TOGETHER)):
            captions = tuple(caption for _, caption, _ in some)
            group = SpokenGroup(captions, self.settings, f"{some[0][0]}-{copy}", split == "test")
            for place, (key, caption, image) in enumerate(some):
                look, sound = partial(_look, group, place), partial(_file, group, place)
                extra = {"split": split} if split else {}
                yield SourceRow(f"{key}-{copy}", image or look, (caption,), extra, sound)


def _of_file(path: Path) -> Iterator[Line]:
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if caption := line.strip():
            yield f"{path.stem}-{number:06d}", caption, None


def _look(group: SpokenGroup, place: int) -> bytes:
    return spectrogram.picture(_clip(group, place))


def _file(group: SpokenGroup, place: int) -> bytes:
    return clips.wave_bytes(_clip(group, place))


@lru_cache(maxsize=TOGETHER)  # a row's picture and its sound are read one after the other
def _clip(group: SpokenGroup, place: int) -> AudioClip:
    how, chance = group.settings, Random(f"{group.settings.seed} {group.name} {place}")
    with _SPEAKING:  # rows that are read at the same time are mostly of one group
        spoken = _spoken(group)[place]
    if not len(spoken.samples):
        raise UnreadableImage("not-spoken", f"espeak-ng cannot speak {group.captions[place]!r}")
    return AudioClip(speech.disturbed(resampled(spoken, speech.RATE), how.noise, chance), speech.RATE)


_SPEAKING = threading.Lock()


@lru_cache(maxsize=4)
def _spoken(group: SpokenGroup) -> list[AudioClip]:
    how, chance = group.settings, Random(f"{group.settings.seed} {group.name}")
    voice = speech.variant(how, chance, speech.UNSEEN if group.is_test else speech.VARIANTS)
    try:
        return speech.speak_all(group.captions, voice, chance.randint(*how.speed), chance.randint(*how.pitch))
    except T2IError as error:
        raise UnreadableImage("not-spoken", error.message) from error
