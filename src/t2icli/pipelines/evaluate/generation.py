"""How well a generator draws what it is asked for, and what reranking its candidates gains."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from t2icli.contract.kinds import Embedder, Generator
from t2icli.contract.requests import Request, drawing, numbered
from t2icli.engine.jobs import Job, Make
from t2icli.ground.batches import batched
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch, unwatched
from t2icli.pipelines.doubts import OFTEN, identity
from t2icli.pipelines.evaluate import pairs
from t2icli.pipelines.evaluate.distances import frechet, kernel_distance
from t2icli.pipelines.evaluate.embeddings import Advance
from t2icli.pipelines.evaluate.pairs import EvaluationSet
from t2icli.pipelines.generate import candidates
from t2icli.registry import configure, discovery
from t2icli.registry.open import Choice, Opened, choose_several
from t2icli.store.models import Usual, write_card

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

CURVE = (1, 4, 16, 64)
"""Of how many candidates the best is taken."""
AT_ONCE = 64
"""Pictures held in memory; what is kept of each is some numbers."""
SUFFIX = ".npz"
FIELDS = ("by_ranker", "by_judge", "fits")
"""Those of `ScoredPrompt`, as a shard holds them."""
Features = Callable[[Sequence["Image"]], Any]
Judge = Callable[[Sequence[str], Sequence["Image"]], "NDArray[np.float64]"]
"""Scores of every picture (columns) for every prompt (rows)."""


@dataclass(frozen=True)
class BestOf:
    """What taking the ranker's best of n candidates comes to, in the judge's eyes."""

    n: int
    score: float
    """Mean score for the prompt it was drawn for."""
    r_precision: float
    """Percent of pictures that fit their own prompt better than every other prompt."""


@dataclass(frozen=True)
class ScoredPrompt:
    """Scores of one prompt's candidates by the choosing and the judging ranker, (n,) each."""

    by_ranker: NDArray[np.float64]
    by_judge: NDArray[np.float64]
    fits: NDArray[np.bool_]
    """Whether the judge finds that it fits its own prompt better than every other prompt."""


@dataclass(frozen=True)
class GenerationResult:
    """How one generator did."""

    model: str
    prompts: int
    candidates: int
    curve: list[BestOf]
    frechet: float | None = None
    """Distance of all candidates from real pictures, on the judge's features."""
    fid: float | None = None
    """The same on Inception's features."""
    kid: float | None = None
    clip_score: float = 0.0
    """Mean of 100 x the judge's score of all candidates, negative ones as 0: CLIPScore, if the judge is a CLIP."""
    least: dict[int, float] = field(default_factory=dict)
    """What the ranker's best of n candidates scores for nearly all prompts, in its own eyes..."""
    least_by_judge: dict[int, float] = field(default_factory=dict)
    """...and what the judge's best scores in the judge's."""

    def table(self) -> dict[str, Any]:
        """As plain data."""
        curve = [{"n": each.n, "score": each.score, "r_precision": each.r_precision} for each in self.curve]
        return {
            "model": self.model,
            "prompts": self.prompts,
            "candidates": self.candidates,
            "best_of": curve,
            "least": self.least,
            "frechet": self.frechet,
            "fid": self.fid,
            "kid": self.kid,
            "clip_score": self.clip_score,
        }


def prompts_in(path: Path) -> list[str]:
    """The lines of a text file, or the first sentence of every row of data, each once."""
    from t2icli.pictures import prompts

    if path.suffix.lower() == ".txt":
        return list(dict.fromkeys(prompts.read(path)))
    return list(dict.fromkeys(prompts.clean(picture.captions[0]) for picture in pairs.read(path).pictures))


def evaluate(
    generator: Opened[Generator],
    prompts: Sequence[str],
    n: int,
    ranker: Judge,
    judge: Judge,
    *,
    seed: int,
    distance: Distance | None = None,
    inception: Distance | None = None,
    drawn: Advance = lambda count: None,
    watch: Watch = unwatched,
) -> GenerationResult:
    """Draw n candidates of every prompt, let `ranker` choose and `judge` decide whether the choice was good.

    With one and the same for both, the curve shows how much the scores rise, not whether the pictures get better.
    """
    prompts = tuple(dict.fromkeys(prompts))
    _check(prompts)
    distances = [each for each in (distance, inception) if each is not None]
    rows = range(len(prompts))
    scored = list(_scored(generator.thing, prompts, rows, n, ranker, judge, seed, distances, drawn, watch))
    return result(generator.name, len(prompts), n, scored, distance, inception)


def _check(prompts: Sequence[str]) -> None:
    if len(prompts) < 2:
        raise T2IError("R-precision needs at least two different prompts")


def _scored(
    generator: Generator,
    prompts: Sequence[str],
    rows: Sequence[int],
    n: int,
    ranker: Judge,
    judge: Judge,
    seed: int,
    distances: Sequence[Distance],
    drawn: Advance = lambda count: None,
    watch: Watch = unwatched,
) -> Iterator[ScoredPrompt]:
    """Draw the candidates of some of the prompts, `rows`, and score them against all."""
    requests = (request for row in rows for request in numbered(Request(prompts[row], seed), n))
    stream = iter(drawing(generator).draw(requests, watch))
    for row in rows:
        own = (candidate.image for candidate in candidates(stream, n, seed=seed))
        fields = []
        for images in batched(own, AT_ONCE):
            by_ranker = ranker(prompts, images)
            fields.append(_seen(row, by_ranker, by_ranker if judge is ranker else judge(prompts, images)))
            for each in distances:
                each.see(images)
            drawn(len(images))
        yield ScoredPrompt(*(np.concatenate(column) for column in zip(*fields, strict=True)))


def result(
    name: str,
    prompts: int,
    n: int,
    scored: Sequence[ScoredPrompt],
    distance: Distance | None = None,
    inception: Distance | None = None,
) -> GenerationResult:
    """The figures of all that was scored."""
    curve = [best_of(k, scored) for k in CURVE if k <= n]
    features = inception.features() if inception is not None else None
    return GenerationResult(
        name,
        prompts,
        n,
        curve,
        frechet=frechet(*distance.features()) if distance is not None else None,
        fid=frechet(*features) if features else None,
        kid=kernel_distance(*features)[0] if features else None,
        clip_score=float(np.mean([100 * each.by_judge.clip(min=0) for each in scored])),
        least={k: least(k, [each.by_ranker for each in scored]) for k in CURVE if k <= n},
        least_by_judge={k: least(k, [each.by_judge for each in scored]) for k in CURVE if k <= n},
    )


@dataclass(frozen=True)
class Measuring:
    """How prompts become scores; what every worker of a job is given."""

    generator: Choice
    ranker: Choice
    judge: Choice
    prompts: Sequence[str]
    n: int
    seed: int
    features: Mapping[str, Choice] = field(default_factory=dict)
    """What to compare with real pictures by: an embedder as `distance`, a metric as `inception`."""

    def __call__(self) -> Make:
        ranker = judging(self.ranker.open())
        judge = ranker if self.judge == self.ranker else judging(self.judge.open())
        features = {name: features_of(choice) for name, choice in self.features.items()}
        return partial(_write, self, self.generator.open().thing, ranker, judge, features)


def job(output: Path, how: Measuring, shard_rows: int) -> Job:
    """The job that draws and scores; a chunk is some prompts, which are scored against all."""
    _check(how.prompts)
    size, rows = max(1, shard_rows // how.n), range(len(how.prompts))
    plan = {
        "job": "evaluate",
        "prompts": len(how.prompts),
        "text": hashlib.sha256("\n".join(how.prompts).encode()).hexdigest(),
        "n": how.n,
        "seed": how.seed,
        "shard_rows": shard_rows,
        "generator": how.generator.plan,
        "ranker": how.ranker.plan,
        "judge": how.judge.plan,
        "features": {name: choice.plan for name, choice in how.features.items()},
    }
    return Job(output, plan, batched(rows, size), how, SUFFIX)


def _write(
    how: Measuring,
    generator: Generator,
    ranker: Judge,
    judge: Judge,
    features: Mapping[str, Features],
    rows: Sequence[int],
    draft: Path,
) -> None:
    """The shard of some prompts: a row of scores for each, and the features of all pictures."""
    distances = {name: Distance(each) for name, each in features.items()}
    scored = list(_scored(generator, how.prompts, rows, how.n, ranker, judge, how.seed, list(distances.values())))
    columns: dict[str, Any] = {name: np.stack([getattr(each, name) for each in scored]) for name in FIELDS}
    columns |= {name: np.concatenate(each.drawn) for name, each in distances.items()}
    with draft.open("wb") as stream:
        np.savez(stream, **columns)


def joined(shards: Sequence[Path], how: Measuring, real: Mapping[str, Distance]) -> GenerationResult:
    """The figures of all shards; `real` has the pictures to compare with, by the names of `Measuring.features`."""
    scored: list[ScoredPrompt] = []
    for path in shards:
        with np.load(path) as columns:
            scored += [ScoredPrompt(*row) for row in zip(*(columns[name] for name in FIELDS), strict=True)]
            for name, distance in real.items():
                distance.drawn.append(columns[name])
    return result(how.generator.name, len(how.prompts), how.n, scored, real.get("distance"), real.get("inception"))


def distances(features: Mapping[str, Choice], real: EvaluationSet | None) -> dict[str, Distance]:
    """What compares drawn pictures with real ones, loaded."""
    return {name: Distance(features_of(choice), real) for name, choice in features.items()}


def features_of(choice: Choice) -> Features:
    """What an embedder or a metric sees in pictures."""
    thing = choice.open().thing
    features: Features = thing.embed_images if choice.kind == "embedder" else thing.features
    return features


def _seen(
    row: int, by_ranker: NDArray[np.float64], by_judge: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """The fields of `ScoredPrompt`: scores of the pictures (columns) that were drawn for prompt `row`."""
    own = by_judge[row]
    return by_ranker[row], own, own > np.delete(by_judge, row, axis=0).max(axis=0)


def best_of(k: int, scored: Sequence[ScoredPrompt]) -> BestOf:
    """The ranker's best of every k candidates, averaged over all the groups of k there are."""
    scores, hits = [], []
    for each in scored:
        for start in range(0, len(each.fits) - k + 1, k):
            chosen = start + int(np.argmax(each.by_ranker[start : start + k]))
            scores.append(each.by_judge[chosen])
            hits.append(each.fits[chosen])
    return BestOf(k, float(np.mean(scores)), float(100 * np.mean(hits)))


def least(k: int, scored: Sequence[NDArray[np.float64]]) -> float:
    """What the best of every k candidates scores in all but one of `OFTEN` cases."""
    best = [scores[at : at + k].max() for scores in scored for at in range(0, len(scores) - k + 1, k)]
    return float(np.quantile(best, 1 / OFTEN))


def calibrate(generator: Choice, ranker: Choice, judge: Choice, result: GenerationResult) -> None:
    """Keep in a generator's card what its best scored: prompts that score less are drawn with a note."""
    if (model := generator.model) is None:
        raise T2IError(f"{generator.name!r} has no model whose card could keep it", "leave out --calibrate")
    usual = {each.ranker: each for each in model.card.usual}
    for choice, scores in ((ranker, result.least), (judge, result.least_by_judge)):
        name = identity(choice.name, choice.model)
        usual[name] = Usual(name, result.prompts, {str(k): round(score, 4) for k, score in scores.items()})
    write_card(model.folder, msgspec.structs.replace(model.card, usual=list(usual.values())))


def of_embedder(embedder: Embedder) -> Judge:
    texts = functools.lru_cache(maxsize=1)(embedder.embed_texts)

    def judge(prompts: Sequence[str], images: Sequence[Image]) -> NDArray[np.float64]:
        pictures = embedder.embed_images(images)
        cosines: NDArray[np.float64] = (texts(tuple(prompts)) @ pictures.T).double().numpy()
        return cosines

    return judge


def choose_ranker(word: str, options: Mapping[str, Any], **flags: Any) -> Choice:
    """An embedder where there is one of that name, for it reads each prompt and each picture once; else a ranker."""
    embeds = configure.resolve("ranker", word)[0].name in discovery.installed().offers["embedder"]
    kind = "embedder" if embeds else "ranker"
    return Choice.of(kind, *choose_several(kind, [word], options, **flags)[word])


def judging(source: Opened[Any]) -> Judge:
    thing = source.thing
    if isinstance(thing, Embedder):
        return of_embedder(thing)
    return lambda prompts, images: np.asarray([thing.score(prompt, images) for prompt in prompts])


class Distance:
    """Drawn pictures and real ones to be compared by their features, which alone are kept."""

    def __init__(self, features: Features, real: EvaluationSet | None = None, most: int = 10_000) -> None:
        self.of, self.real = features, real.pictures[:most] if real is not None else ()
        self.drawn: list[NDArray[Any]] = []

    def see(self, images: Sequence[Image]) -> None:
        self.drawn.append(self.of(images).numpy())

    def features(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Those of the drawn pictures and of the real ones, after every drawn picture was seen."""
        batches = batched((picture.open() for picture in self.real), AT_ONCE)
        real = [self.of(batch).numpy() for batch in batches]
        if not real:
            raise T2IError("a Frechet distance needs real pictures, and there are none")
        return np.concatenate(self.drawn), np.concatenate(real)
