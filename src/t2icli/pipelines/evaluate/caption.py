"""How well a captioner describes pictures that people have described."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from t2icli.contract.kinds import Captioner
from t2icli.pipelines import scoring
from t2icli.pipelines.evaluate import caption_scores
from t2icli.pipelines.evaluate.pairs import CaptionedPicture, EvaluationSet
from t2icli.registry.open import Opened

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


def evaluate(
    source: Opened[Captioner],
    pairs: EvaluationSet,
    n: int = 1,
    *,
    seed: int = 0,
    by: By = "character",
    judges: Sequence[scoring.Judge] = (),
    batch: int = 16,
    advance: Callable[[int], None] = lambda n: None,
) -> CaptionResult:
    """Describe every picture n times and compare with its references."""
    captions: list[list[str]] = []
    judged: dict[str, list[tuple[float, float]]] = {judge.name: [] for judge in judges}
    for start in range(0, len(pairs.pictures), batch):
        some = pairs.pictures[start : start + batch]
        images = [picture.open() for picture in some]
        batch_captions = source.thing.caption(images, n, seed=seed + start)
        for picture, image, texts in zip(some, images, batch_captions, strict=True):
            for judge in judges:
                judged[judge.name].append(_judged(judge, image, texts, picture.captions))
        captions += batch_captions
        advance(len(some))
    return CaptionResult(
        source.name,
        len(captions),
        by,
        compared(captions, pairs.pictures, by),
        sum(len(set(texts)) / n for texts in captions) / len(captions),
        {
            name: (_mean([own for own, _ in both]), _mean([theirs for _, theirs in both]))
            for name, both in judged.items()
        },
    )


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
