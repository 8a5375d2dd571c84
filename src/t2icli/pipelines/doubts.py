"""Notes on prompts that may be beyond a generator: unknown words, or scores below those of prompts it knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from t2icli.pictures import vocabulary
from t2icli.pipelines.scoring import Judge
from t2icli.registry import discovery
from t2icli.store.models import Card, Model, Usual

OFTEN = 50
"""All but one of so many prompts that a model knows score at least the value on its card."""


def lines(model: Model | None, judges: Sequence[Judge], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each prompt that gives reason to doubt; `rows` are those of `results.jsonl` that a run added."""
    if model is None:
        return []
    by_prompt: dict[str, list[Mapping[str, float]]] = {}
    for row in rows:
        by_prompt.setdefault(row["prompt"], []).append(row["scores"])
    reasons = {
        prompt: [*_unknown(model, prompt), *_low(model.card, judges, scores)] for prompt, scores in by_prompt.items()
    }
    return [
        f"{prompt!r} may be beyond {model.name}: {'; '.join(doubts)}" for prompt, doubts in reasons.items() if doubts
    ]


def _unknown(model: Model, prompt: str) -> Iterator[str]:
    sources = discovery.installed().sources
    learnt = next((source.words for source in sources if source.name == model.name), None)
    if learnt is not None and (words := vocabulary.unknown(prompt, learnt())):
        yield f"it has not learnt {', '.join(words)}"


def _low(card: Card, judges: Sequence[Judge], scores: Sequence[Mapping[str, float]]) -> Iterator[str]:
    for judge in judges:
        judged = [each[judge.name] for each in scores if judge.name in each]
        usual = _usual(card, judge)
        if usual is None or not judged:
            continue
        least = max(((int(n), score) for n, score in usual.least.items() if int(n) <= len(judged)), default=None)
        if least is not None and max(judged) < least[1]:
            yield (
                f"the best of {len(judged)} scores {max(judged):.2f} with {judge.name}, "
                f"where {OFTEN - 1} of {OFTEN} prompts it knows reach {least[1]:.2f}"
            )


def _usual(card: Card, judge: Judge) -> Usual | None:
    return next((each for each in card.usual if each.ranker == identity(judge.name, judge.model)), None)


def identity(name: str, model: Model | None) -> str:
    """What tells a ranker from all others: the hash of its model, or its name where it has none."""
    return model.sha256 if model is not None else name
