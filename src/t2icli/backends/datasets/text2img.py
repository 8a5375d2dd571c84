"""What text2img's notebook made of its rows between filtering and fetching, slips included, to compare with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from t2icli.data.dataset import SourceRow

TRAIN = 0.9
MARK = "###"


def as_the_notebook_does(rows: Iterable[SourceRow]) -> Iterator[SourceRow]:
    """Nine of ten rows for training, drawn as pandas' `sample(random_state=0)` does; then both through text files."""
    listed = list(rows)
    drawn = np.random.RandomState(0).choice(len(listed), round(TRAIN * len(listed)), replace=False)
    rest = np.setdiff1d(np.arange(len(listed)), drawn)
    for split, chosen in (("train", drawn), ("val", rest)):
        yield from read_back("".join(written(listed[i]) for i in chosen), split)


def written(row: SourceRow) -> str:
    return f"{row.captions[0]}{MARK}{row.image!s}\n"


def read_back(text: str, split: str) -> Iterator[SourceRow]:
    """Lines of `caption###address`: a caption with a newline loses its first line, one with ### its address."""
    for number, line in enumerate(text.split("\n")[:-1]):
        caption, *rest = line.split(MARK)
        extra = {"split": split}
        if not rest:
            extra["problem"] = "text2img-no-address"
        elif "\t" in caption:
            extra["problem"] = "text2img-tab"  # its output table had one column too many, and the row was skipped
        key = f"cc_data/{split}/{number % 1000}/{number}"
        yield SourceRow(key, rest[0] if rest else None, (caption,), extra)
