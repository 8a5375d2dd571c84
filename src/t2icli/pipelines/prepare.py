"""The work behind `t2i prepare`, and `open_data`, by which training and evaluation read anything."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from t2icli.data import dataset, places, shards
from t2icli.data.dataset import DatasetCard, PreparedDataset
from t2icli.data.places import ADDRESS, CARD
from t2icli.ground import files, locks, toml
from t2icli.ground.errors import T2IError, did_you_mean
from t2icli.pictures import images
from t2icli.pipelines.dedup import Dedup
from t2icli.prepare import duplicates, report, runners
from t2icli.prepare.captions import CaptionRules
from t2icli.prepare.chunks import RowBlock, blocks, cut
from t2icli.prepare.claims import LocalClaims
from t2icli.prepare.cluster import run_on_cluster
from t2icli.prepare.duplicates import WithoutDuplicates
from t2icli.prepare.report import Reports
from t2icli.prepare.scores import Scorer, Scoring, parse
from t2icli.prepare.settings import NEEDS_WORDS, PRESETS, FetchLimits, PreparePlan, Rules
from t2icli.prepare.work import Progress, Work, unwatched
from t2icli.registry import settings
from t2icli.registry.open import load
from t2icli.store import models

PERCENT = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)
PLAN = "plan.toml"
"""What the output was begun with; a later run must want the same."""


@dataclass(frozen=True)
class Preparation:
    """What is to be prepared, and how."""

    source: str
    path: Path
    output: Path
    plan: PreparePlan = field(default_factory=PreparePlan)
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    val: float = 0.05
    test: float = 0.0
    licence: str = ""
    about: str = ""
    rankers: Mapping[str, str] = field(default_factory=dict)
    """Those whose scores the source's rows carry, each with its identity."""
    dedup: Dedup | None = None
    """The near-duplicates to leave out."""
    stop: Event = field(default_factory=Event, compare=False, repr=False)
    """Set when the run ends early: the source is read in a thread of its own, which would continue."""

    def blocks(self, captions: CaptionRules) -> Iterator[RowBlock]:
        """The source's rows with the verdict on their captions."""
        source = load("dataset", self.source, **self.options)
        if self.dedup is not None:
            source = WithoutDuplicates(source, self.output / duplicates.NAME)
        return blocks(source, self.path, captions, self.stop)


def plan_of(
    preset: str | None,
    rules: Mapping[str, Any],
    limits: Mapping[str, Any],
    shard_rows: int = 5000,
    scoring: Scoring | None = None,
) -> PreparePlan:
    """A plan from a preset and the rules that override it."""
    if preset is not None and preset not in PRESETS:
        raise T2IError(f"there is no preset called {preset!r}", did_you_mean(preset, PRESETS))
    if preset in NEEDS_WORDS and "words" not in rules:
        raise T2IError(f"preset {preset!r} needs a list of words", "give it with -o rules.words=foodNames.txt")
    table = settings.merge(PRESETS.get(preset or "", {}), rules)
    return PreparePlan(
        settings.convert(Rules, table, "rules"), settings.convert(FetchLimits, limits, "fetch"), shard_rows, scoring
    )


def card_of(source: str, path: Path) -> DatasetCard | None:
    """The card of a source that is a prepared dataset itself."""
    return PreparedDataset.open(path).card if source == "prepared" else None


def scoring_of(
    conditions: str | None, noted: Sequence[str], options: Mapping[str, Any], source: DatasetCard | None
) -> Scoring | None:
    """What `--filter` and `--score` ask for, given the card of a source that has scores already."""
    wanted = parse(conditions) if conditions is not None else ()
    return Scoring.of(wanted, noted, options, source.rankers if source else {})


def dedup_of(job: Preparation, vectors: Path, threshold: float) -> Dedup:
    """What `--dedup` asks for, once the vectors are seen to be those of the source."""
    dedup = Dedup.of(vectors, threshold)
    dedup.check(job.source, job.path, job.options)
    return dedup


@dataclass(frozen=True)
class Sample:
    """What the caption rules would do, found without fetching or writing anything."""

    counts: Counter[str]
    """Rows by reason; '' are those whose pictures would be judged next."""
    examples: Mapping[str, Sequence[str]]
    """Some captions for each reason."""


def try_out(job: Preparation, most: int = 2) -> Sample:
    """Read all rows and judge their captions: `--dry-run`."""
    captions = CaptionRules(job.plan.rules)
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for block in job.blocks(captions):
        for number in np.unique(block.verdicts).tolist():
            places, reason = np.flatnonzero(block.verdicts == number), captions.reasons[number]
            counts[reason] += len(places)
            shown = examples.setdefault(reason, [])
            shown += [block.captions[i].as_py() for i in places[: most - len(shown)].tolist()]
    if not counts:
        raise T2IError(f"there are no rows in '{job.path}'")
    return Sample(counts, examples)


@dataclass(frozen=True)
class ScoreQuantiles:
    """How the scores of one ranker lie, those of dropped rows among them."""

    rows: int
    below: Mapping[int, float]
    """Quantiles of the scores, by percent of the rows."""


@dataclass(frozen=True)
class Summary:
    """What a run came to."""

    data: PreparedDataset
    counts: Counter[tuple[str, str]]
    """Input rows by status and reason, all runs together."""
    failed: Sequence[tuple[str, str]]
    """A few rows that failed, by name, each with the reason."""
    scores: Mapping[str, ScoreQuantiles] = field(default_factory=dict)
    """How the scores of all rows lie, by ranker."""

    def of(self, status: str) -> int:
        return sum(count for (has, _), count in self.counts.items() if has == status)


def prepare(
    job: Preparation,
    retry: frozenset[str] | None = None,
    progress: Progress = unwatched,
    *,
    wait: bool = False,
    cluster: str | None = None,
    compared: Callable[[int], None] = lambda pairs: None,
) -> Summary:
    """Prepare what is missing of a dataset and what failed before, or of these only rows with a reason of `retry`.

    `wait` waits for another run in the same folder instead of refusing; `cluster` is a Ray address, '' for one
    that is started here; `compared` is called for blocks of pictures that were compared with each other.
    """
    captions = CaptionRules(job.plan.rules)
    job.stop.clear()  # a job may be run again
    blocks_of_rows = job.blocks(captions)  # settings that are wrong are refused before anything is written
    taken = T2IError(
        f"another t2i prepare is running in '{job.output}'", "wait until it has finished, or use another --output"
    )
    with locks.locked(job.output / ".lock", taken=None if wait else taken):  # one run at a time in one folder
        _begin(job)
        if job.dedup is not None:
            job.dedup.listed(job.output, compared)
        reports = Reports(job.output)
        scorer = Scorer(job.plan.scoring) if job.plan.scoring else None
        work = Work(reports, job.plan, _claims(job, reports), retry, progress, job.stop, scorer)
        chunks = cut(blocks_of_rows, captions.reasons, job.plan.shard_rows)
        if cluster is None:
            runners.run_here(chunks, work)
        else:
            run_on_cluster(chunks, work, cluster)
        return _finish(job, reports)


def _claims(job: Preparation, reports: Reports) -> LocalClaims:
    """What earlier runs have kept."""
    claims = LocalClaims()
    for row, key, sha256, look in reports.kept():
        claims.key(key, row)
        claims.image(sha256, row)
        if look is not None:
            claims.look(look, row, job.plan.rules.distance)
    return claims


def _begin(job: Preparation) -> None:
    """Note what is wanted, and refuse to mix it with something else."""
    if job.output.resolve() == job.path.resolve():
        raise T2IError(f"'{job.path}' cannot be both SOURCE and --output", "give another --output")
    wanted = {
        "source": job.source,
        "shard_rows": job.plan.shard_rows,
        "option": dict(job.options),
        "rules": {key: value for key, value in settings.tables(job.plan.rules).items() if value is not None},
    }
    if job.plan.scoring:
        wanted["scoring"] = job.plan.scoring.plan
    if job.dedup:
        wanted["dedup"] = job.dedup.plan
    path = job.output / PLAN
    if not path.is_file() and (job.output / CARD).is_file():
        raise T2IError(f"'{job.output}' holds another dataset already", "give another --output")
    if not (path.is_file() and report.files(job.output)):  # a run without any rows binds no later one
        (job.output / report.FOLDER).mkdir(exist_ok=True)
        if not path.is_file() or toml.read(path).get("dedup") != wanted.get("dedup"):
            (job.output / duplicates.NAME).unlink(missing_ok=True)
        files.write(path, toml.dumps(wanted))
    before = toml.read(path)
    for key in {**before, **wanted}:
        if before.get(key) != wanted.get(key):
            then, now = _differing(before.get(key, {}), wanted.get(key, {}))
            raise T2IError(
                f"'{job.output}' was started with another {key.replace('_', ' ')}: {then}, now {now}",
                "use another --output, or the same settings",
            )


def _differing(before: Any, now: Any) -> tuple[str, str]:
    """What is not the same in both, as it is typed after -o."""
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        return str(before), str(now)
    sides = [
        " ".join(f"{key}={one[key]}" for key in one if one[key] != other.get(key)) or "none"
        for one, other in ((before, now), (now, before))
    ]
    return sides[0], sides[1]


def _finish(job: Preparation, reports: Reports) -> Summary:
    """Put the finished shards on the card."""
    counts = reports.counts()
    if not counts:
        raise T2IError(f"there are no rows in '{job.path}'")
    names = reports.shard_names()
    shards.sweep(job.output, names)
    card = DatasetCard(
        source=f"{job.source}: {places.title(job.path)}",
        about=job.about,
        licence=job.licence,
        rules=settings.tables(job.plan.rules),
        counts={" ".join(filter(None, which)): count for which, count in sorted(counts.items())},
        rankers={**job.rankers, **(job.plan.scoring.identities if job.plan.scoring else {})},
        seed=job.seed,
        val=job.val,
        test=job.test,
        shards=tuple(shards.entry_of(job.output, name) for name in names),
        versions=_versions(),
    )
    data = dataset.write_card(job.output, card)
    return Summary(data, counts, reports.failed(), _quantiles(job.output) if job.plan.scoring else {})


def _quantiles(output: Path) -> dict[str, ScoreQuantiles]:
    return {
        name: ScoreQuantiles(len(values), dict(zip(PERCENT, np.percentile(values, PERCENT).tolist(), strict=True)))
        for name, values in report.scores(output).items()
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("t2icli", "pillow")}


def check_data(path: Path) -> None:
    """Whether there is anything at all."""
    if not path.exists():
        raise T2IError(f"there is no data at '{path}'")


def is_prepared(path: Path) -> bool:
    """Whether a dataset was prepared here, be it half."""
    return (path / CARD).is_file() or (path / PLAN).is_file()


def open_data(path: Path | str, cache: Path | None = None) -> PreparedDataset:
    """A prepared dataset as it is; a plain folder, table or tars after preparing them once into `cache`."""
    path = places.where(path)
    if is_prepared(path):
        return PreparedDataset.open(path)
    check_data(path)
    folder = (cache or models.home() / "datasets") / _fingerprint(path)
    if not (folder / CARD).is_file():
        done = prepare(_OnTheWay(guess_source(path), path, folder), wait=True)
        _complain(path, done)
    return PreparedDataset.open(folder)


class _OnTheWay(Preparation):
    """Data given to a command that is not about preparing: nothing is fetched for it."""

    def blocks(self, captions: CaptionRules) -> Iterator[RowBlock]:
        for block in super().blocks(captions):
            if any(ADDRESS.match(image) for image in block.images.to_pylist()):
                raise T2IError(f"'{self.path}' lists images on the web", "fetch them first: t2i prepare")
            yield block


def _complain(path: Path, done: Summary) -> None:
    lost = {f"{reason} {count}" for (status, reason), count in done.counts.items() if status != "ok"}
    if not len(done.data):
        hint = "prepare it with t2i prepare, and say with -o root=FOLDER where its paths may lead"
        far = any(reason == "outside-root" for _, reason in done.counts)
        raise T2IError(f"no row of '{path}' can be used: {', '.join(sorted(lost))}", hint if far else None)
    if lost:
        count = done.of("failed") + done.of("dropped")
        message = f"{count} of {done.counts.total()} rows of '{path}' are left out: {', '.join(sorted(lost))}"
        warnings.warn(message, UserWarning, stacklevel=3)


ENDINGS = {
    ".tar": "webdataset",
    ".tar.gz": "webdataset",
    ".tgz": "webdataset",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".parquet": "parquet",
}


def guess_source(path: Path) -> str:
    """Which dataset source reads a file or folder of this look."""
    if not path.is_dir():
        by_name = next((source for ending, source in ENDINGS.items() if path.name.lower().endswith(ending)), None)
        if by_name is None:
            raise T2IError(f"'{path}' is not a known data format", f"a folder of images, or one of {' '.join(ENDINGS)}")
        return by_name
    if is_prepared(path):
        return "prepared"
    if any(path.glob("*.tar")):
        return "webdataset"
    if any(file.suffix.lower() in images.SUFFIXES for file in path.rglob("*")):
        return "folder"
    return next((source for ending, source in ENDINGS.items() if any(path.glob(f"*{ending}"))), "folder")


def _fingerprint(path: Path) -> str:
    """Changes when a file is added, removed or rewritten."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [file.stat() if file.exists() else file.lstat() for file in files]  # a link may lead nowhere
    state = [(str(f.relative_to(path)), stat.st_size, stat.st_mtime_ns) for f, stat in zip(files, stats, strict=True)]
    return hashlib.sha256(repr((str(path.resolve()), state)).encode()).hexdigest()[:16]
