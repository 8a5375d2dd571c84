"""Prompts to a folder of pictures: draw, judge while the next are drawn, keep the best, file them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2icli.contract.kinds import Generator
from t2icli.contract.requests import Request, drawing, numbered
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch, unwatched
from t2icli.pictures.album import Album, ResultRows
from t2icli.pipelines import conditions, provenance, scoring
from t2icli.registry.open import Opened

if TYPE_CHECKING:
    from PIL.Image import Image


File = Callable[["Iterator[tuple[Image | None, dict[str, Any]]]", dict[str, Any], list[dict[str, Any]]], None]
"""Files pictures with their rows, and the record of how they were made; the list gets the rows as filed."""


FILED_AT_ONCE = 16
"""Pictures that wait to be filed, without judges: as many as a power cut may cost."""


AHEAD = 4
"""Batches that drawing may be ahead of judging; then it waits, or memory would grow."""


GRACE = 1.0
"""Seconds that a run which is stopped waits for the batch being judged."""


@dataclass(frozen=True)
class GenerationPlan:
    """What to draw."""

    prompts: Sequence[str]
    n: int
    seed: int
    source: Opened[Generator]
    judges: Sequence[scoring.Judge] = ()
    top: int | None = None
    """How many of each prompt's pictures to keep, all different; None is every one that was drawn."""
    examples: conditions.Examples = field(default_factory=conditions.Examples)
    """The conditions besides the prompts."""

    def __post_init__(self) -> None:
        # All share the conditions: what cannot be drawn is refused before anything is drawn.
        for request in islice(self._firsts(), 1):
            conditions.check(request, drawing(self.source.thing).abilities, repr(self.source.name))

    def requests(self) -> Iterator[Request]:
        """Every picture, prompt after prompt."""
        return (request for first in self._firsts() for request in numbered(first, self.n))

    def _firsts(self) -> Iterator[Request]:
        return (conditions.request(prompt, self.seed, self.examples) for prompt in self.prompts)


def check_top(top: int | None, n: int, *, judged: bool) -> None:
    """Whether the best `top` of n can be chosen."""
    if top is not None and not judged:
        raise T2IError("--top needs a ranker", "add --rerank RANKER")
    if top is not None and top > n:
        raise T2IError(f"--top {top} is more than the {n} pictures drawn", f"draw more: -n {top}")


@dataclass
class Candidate:
    """A picture that was drawn; once judged it waits for its rank on disk, so that many need no more memory."""

    seed: int
    drawn: Image | Path
    pixels: str
    """The hash of its pixels."""
    first: int
    """The seed of the first picture of the prompt with these pixels: its own, unless it is a duplicate."""
    scores: dict[str, float] = field(default_factory=dict)
    """By judge; empty while it has not been judged. A duplicate is not: it has the scores of the first."""
    score: float | None = None

    @property
    def same_as(self) -> int | None:
        return self.first if self.first != self.seed else None

    @property
    def image(self) -> Image:
        if not isinstance(self.drawn, Path):
            return self.drawn
        from t2icli.pictures.images import opened

        return opened(self.drawn.read_bytes()).convert("RGB")

    def put_away(self, folder: Path) -> None:
        path = folder / f"{self.seed}.bmp"
        self.image.save(path)
        self.drawn = path


def generate(
    plan: GenerationPlan,
    album: Album,
    settings: str,
    drawn: Callable[[Candidate], None] = lambda candidate: None,
    watch: Watch = unwatched,
) -> ResultRows:
    """Fill `album`; returns its new rows. Whatever stops it, what was drawn before is filed.

    `settings` is the name of the file with the run's settings; `drawn` is called with each picture as it comes, and
    `watch` follows the steps on the way. All prompts are one stream of requests, so that few pictures of each make
    full batches.
    """
    try:
        draw(plan, album.add, album.space, settings, drawn, watch)
    except BaseException as error:
        with contextlib.suppress(T2IError):
            album.publish(grid=isinstance(error, Exception))  # no large sheet after Ctrl-C
        raise
    album.publish()
    return album.filed


def draw(
    plan: GenerationPlan,
    file: File,
    space: Path,
    settings: str,
    drawn: Callable[[Candidate], None] = lambda candidate: None,
    watch: Watch = unwatched,
) -> None:
    """Draw and judge every picture and hand it to `file`; `space` is for those that wait for their rank."""
    record = functools.cache(lambda: provenance.record(plan.source))  # asked once drawing has begun
    images = iter(drawing(plan.source.thing).draw(plan.requests(), watch))
    for prompt in plan.prompts:
        _one_prompt(plan, prompt, images, file, space, settings, record, drawn)
    if next(images, None) is not None:
        raise T2IError(f"the generator gave more than {plan.n * len(plan.prompts)} pictures", code=1)


def _one_prompt(
    plan: GenerationPlan,
    prompt: str,
    images: Iterator[Image],
    file: File,
    space: Path,
    settings: str,
    record: Callable[[], dict[str, Any]],
    drawn: Callable[[Candidate], None],
) -> None:
    """File the next n of `images`: with judges when all are ranked, without a few at a time.

    What an interruption keeps from being filed is filed on the way out.
    """
    waiting: list[Candidate] = []
    ranks: dict[int, int] = {}

    def file_all() -> None:
        if not waiting:
            return
        batch = [dataclasses.replace(each) for each in waiting]  # as they are now: the judge may still be at work
        filed: list[dict[str, Any]] = []
        try:
            file(filed_rows(plan, prompt, batch, settings, ranks), record(), filed)
        finally:
            done = {row["seed"] for row in filed}
            waiting[:] = [each for each in waiting if each.seed not in done]

    with contextlib.ExitStack() as stack:
        shelf = space / "judged"
        if plan.judges:
            shelf.mkdir(exist_ok=True)
            stack.callback(shutil.rmtree, shelf, ignore_errors=True)
        stack.callback(file_all)
        with _judging(plan.judges, prompt, shelf) as judge:
            for candidate in candidates(images, plan.n, seed=plan.seed):
                waiting.append(candidate)
                judge(candidate)
                drawn(candidate)
                if not plan.judges and len(waiting) == FILED_AT_ONCE:
                    file_all()


def candidates(images: Iterator[Image], n: int, *, seed: int) -> Iterator[Candidate]:
    """The next n pictures, which are of one prompt and the seeds from `seed` on."""
    from PIL.Image import Image as PILImage

    from t2icli.pictures.images import pixels_sha256, to_rgb

    first: dict[str, int] = {}
    for own in range(seed, seed + n):
        image = next(images, None)
        if image is None:
            raise T2IError(f"the generator gave {own - seed} pictures instead of {n}", code=1)
        if not (isinstance(image, PILImage) and image.width and image.height):
            raise T2IError(f"the generator gave {image!r} instead of a picture", code=1)
        picture = to_rgb(image)
        pixels = pixels_sha256(picture)
        yield Candidate(own, picture, pixels, first.setdefault(pixels, own))


@contextlib.contextmanager
def _judging(judges: Sequence[scoring.Judge], prompt: str, shelf: Path) -> Iterator[Callable[[Candidate], None]]:
    """A function to hand candidates to; they are judged, a few at once, in a thread beside the one that draws."""
    waiting: list[Candidate] = []
    running: list[Future[None]] = []

    def hand_in() -> None:
        for job in running:
            if job.done():
                job.result()  # a judge that has failed need not wait for the rest to be drawn
        ahead = [job for job in running if not job.done()]
        if len(ahead) == AHEAD:
            ahead[0].result()
        if waiting:
            running.append(pool.submit(_judge, judges, prompt, list(waiting), shelf))
            waiting.clear()

    def take(candidate: Candidate) -> None:
        if candidate.same_as is not None:
            candidate.put_away(shelf)
            return
        waiting.append(candidate)
        if len(waiting) == scoring.AT_ONCE:
            hand_in()

    if not judges:
        yield lambda candidate: None
        return
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="judge")
    try:
        yield take
        hand_in()
        for job in running:
            job.result()
    finally:  # all are done, or something stopped the run
        pool.shutdown(wait=False, cancel_futures=True)
        wait([job for job in running if not job.cancelled()], timeout=GRACE)


def _judge(judges: Sequence[scoring.Judge], prompt: str, candidates: Sequence[Candidate], shelf: Path) -> None:
    images = [candidate.image for candidate in candidates]
    scores = {judge.name: judge.score(prompt, images) for judge in judges}
    for index, candidate in enumerate(candidates):
        candidate.put_away(shelf)
        candidate.scores = {name: column[index] for name, column in scores.items()}


def ranked(candidates: Sequence[Candidate], judges: Sequence[scoring.Judge]) -> list[Candidate]:
    """Best first, equal pictures together; those that were never judged last, in the order they were drawn."""
    judged = [candidate for candidate in candidates if candidate.scores]
    combined = scoring.combined(judges, [candidate.scores for candidate in judged]) if judged else []
    known = {each.first: (each.scores, score) for each, score in zip(judged, combined, strict=True)}
    scored = [
        dataclasses.replace(each, scores=known[each.first][0], score=known[each.first][1])
        for each in candidates
        if each.first in known
    ]
    scored.sort(key=lambda candidate: (-(candidate.score or 0.0), candidate.first, candidate.seed))
    return [*scored, *(candidate for candidate in candidates if candidate.first not in known)]


def filed_rows(
    plan: GenerationPlan, prompt: str, candidates: Sequence[Candidate], settings: str, ranks: dict[int, int]
) -> Iterator[tuple[Image | None, dict[str, Any]]]:
    """Equal pictures share a rank; of the best `top` ranks one picture each is kept. `ranks` is by the first's seed."""
    model = {"model": plan.source.name, "sha256": plan.source.model.sha256 if plan.source.model else None}
    examples = conditions.record(plan.examples)
    for each in ranked(candidates, plan.judges):
        rank = ranks.setdefault(each.first, len(ranks) + 1)
        row = {"prompt": prompt, "rank": rank, "seed": each.seed, "same_as": each.same_as}
        row |= {"score": each.score, "scores": each.scores, "pixels": each.pixels}
        row |= {**model, "settings_file": settings, **examples}
        is_kept = plan.top is None or (rank <= plan.top and each.same_as is None)
        yield each.image if is_kept else None, row
