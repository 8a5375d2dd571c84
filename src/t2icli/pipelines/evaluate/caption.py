"""How well a captioner describes pictures that people have described."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from t2icli.contract.kinds import Captioner
from t2icli.engine.jobs import Job
from t2icli.ground.batches import batched
from t2icli.pipelines import scoring
from t2icli.pipelines.caption import Captioning
from t2icli.pipelines.evaluate import caption_scores
from t2icli.pipelines.evaluate.pairs import CaptionedPicture, EvaluationSet
from t2icli.registry.open import Opened

AT_ONCE = 16
SUFFIX = ".jsonl"
By = Literal["character", "word"]


@dataclass(frozen=True)
class CaptionResult:
    """What one captioner wrote, against what people wrote."""

    model: str
    pictures: int
    by: By
    figures: dict[str, float]
    """BLEU-4 in [0, 1], ROUGE-L in [0, 1], CIDEr-D in [0, 10]; with several captions a picture, the mean over them."""
    different: float
    """The share of a picture's captions that differ from each other, as a mean over the pictures."""
    judged: dict[str, tuple[float, float]]
    """For each ranker its mean score for the captions, and for the references."""

    def table(self) -> dict[str, Any]:
        """As plain data."""
        judged = {name: {"captions": own, "references": theirs} for name, (own, theirs) in self.judged.items()}
        table = {"model": self.model, "pictures": self.pictures, "by": self.by, **self.figures}
        return {**table, "different": self.different, "judged": judged}


class DescribedPicture(msgspec.Struct):
    """What is kept of one picture."""

    captions: list[str]
    judged: dict[str, tuple[float, float]]
    """For each ranker its mean score for the captions, and for the references."""


def evaluate(
    source: Opened[Captioner],
    pairs: EvaluationSet,
    n: int = 1,
    *,
    seed: int = 0,
    by: By = "character",
    judges: Sequence[scoring.Judge] = (),
    advance: Callable[[int], None] = lambda n: None,
) -> CaptionResult:
    """Describe every picture n times and compare with its references."""
    described = list(_described(enumerate(pairs.pictures), source.thing, n, seed, judges, advance))
    return result(source.name, pairs, described, by)


def _described(
    rows: Iterable[tuple[int, CaptionedPicture]],
    captioner: Captioner,
    n: int,
    seed: int,
    judges: Sequence[scoring.Judge],
    advance: Callable[[int], None] = lambda n: None,
) -> Iterator[DescribedPicture]:
    """The picture at position i is described with `seed + i`."""
    for some in batched(rows, AT_ONCE):
        images = [picture.open() for _, picture in some]
        captions = captioner.caption(images, n, seed=seed + some[0][0])
        for (_, picture), image, texts in zip(some, images, captions, strict=True):
            judged = {judge.name: _judged(judge, image, texts, picture.captions) for judge in judges}
            yield DescribedPicture(list(texts), judged)
        advance(len(some))


def result(name: str, pairs: EvaluationSet, described: Sequence[DescribedPicture], by: By) -> CaptionResult:
    """The figures of all pictures."""
    captions = [each.captions for each in described]
    return CaptionResult(
        name,
        len(captions),
        by,
        compared(captions, pairs.pictures, by),
        _mean([len(set(texts)) / len(texts) for texts in captions]),
        {
            judge: (
                _mean([each.judged[judge][0] for each in described]),
                _mean([each.judged[judge][1] for each in described]),
            )
            for judge in described[0].judged
        },
    )


def job(pairs: EvaluationSet, data: Path, output: Path, how: Captioning, shard_rows: int) -> Job:
    """The job that describes the pictures of `data`."""
    count, chunks = len(pairs.pictures), batched(enumerate(pairs.pictures), shard_rows)
    plan = {"job": "evaluate-caption", "pictures": count, "data": pairs.identity, **how.plan(shard_rows)}
    return Job(output, plan, chunks, partial(how.make, _write), SUFFIX, (data.resolve(),))


def _write(
    how: Captioning,
    captioner: Captioner,
    judges: Sequence[scoring.Judge],
    rows: Sequence[tuple[int, CaptionedPicture]],
    draft: Path,
) -> None:
    """The shard of some pictures: a line for each."""
    with draft.open("wb") as stream:
        for each in _described(rows, captioner, how.n, how.seed, judges):
            stream.write(msgspec.json.encode(each) + b"\n")


def joined(shards: Sequence[Path], how: Captioning, pairs: EvaluationSet, by: By) -> CaptionResult:
    """The figures of all shards."""
    lines = (line for path in shards for line in path.read_bytes().splitlines())
    described = [msgspec.json.decode(line, type=DescribedPicture) for line in lines]
    return result(how.captioner.name, pairs, described, by)


def compared(captions: Sequence[Sequence[str]], pictures: Sequence[CaptionedPicture], by: By) -> dict[str, float]:
    """Every figure, as a mean over the first captions of all pictures, the second ones, and so on."""
    cut = caption_scores.cutter(by)
    references = [[cut(text) for text in picture.captions] for picture in pictures]
    rounds = [caption_scores.scores([cut(text) for text in texts], references) for texts in zip(*captions, strict=True)]
    return {name: _mean([each[name] for each in rounds]) for name in rounds[0]}


def _judged(
    judge: scoring.Judge, image: Any, captions: Sequence[str], references: Sequence[str]
) -> tuple[float, float]:
    own, theirs = ([judge.score(text, [image])[0] for text in texts] for texts in (captions, references))
    return _mean(own), _mean(theirs)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
