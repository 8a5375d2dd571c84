"""Which guidance, temperature and top-p draw what was asked for, on names that no figure is measured with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import starter_data as data
from starter_candidates import RANDOM, Clock, candidates, percentages
from starter_checker import Judge

from t2icli import load
from t2icli.contract.kinds import Ranker
from t2icli.registry import configure

SWEEP: Mapping[str, Sequence[Any]] = {
    "cfg_scale": (1.0, 2.0, 3.0, 4.0),
    "temperature": (0.7, 0.85, 1.0),
}


def settings(model: str, sweep: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of the swept settings that this generator has."""
    entry, _ = configure.resolve("generator", model)
    known = {field.name for field in msgspec.structs.fields(entry.settings)}
    names = [name for name in sweep if name in known]
    for values in itertools.product(*(sweep[name] for name in names)):
        yield dict(zip(names, values, strict=True))


def tune(
    model: str, judge: Judge, rankers: Mapping[str, Ranker], sweep: Mapping[str, Sequence[Any]], prompts: int, n: int
) -> Iterator[list[object]]:
    """A row for each combination: settings, chooser, vessel, ingredients, all right, unasked, CPU seconds a picture."""
    requests = data.validation(prompts)
    for options in settings(model, sweep):
        generator, clock = load("generator", model, **options), Clock()
        drawn = [candidates(generator, each, requests, n, rankers, judge, clock=clock) for each in requests]
        spent = clock.seconds["drawing"] / (n * prompts)
        said = " ".join(f"{name}={value}" for name, value in options.items())
        for ranker in (RANDOM, *rankers):
            k = 1 if ranker == RANDOM else n
            found = percentages([each.shown[each.chosen(ranker, k)] for each in drawn])
            chosen = f"best of {n} by {ranker}" if ranker != RANDOM else ranker
            yield [said, chosen, *(round(found[name], 1) for name in ("vessel", "visible", "every", "strange")), spent]
