"""The starter's figures: every generator on names that nothing was trained on, and each part alone.

    python benchmarks/starter.py ready
    python benchmarks/starter.py bench [FOLDER] [--only dalle flow] [-n 16] [--prompts 160]
    python benchmarks/starter.py tune [FOLDER] --model dalle [--cfg-scale 1 3] [--temperature 0.8 1] [--steps 4 8]
    python benchmarks/starter.py page

FOLDER holds models as they ship, which are judged unless another is given, or trained runs, which are assembled first
as they would ship. What it lacks is left out. Nothing is trained but the checker, once (`ready`). Figures and contact
sheets are kept in --cache, where `page` takes them from for docs/starter.md.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import starter_checker
import starter_data as data
import starter_page
import starter_parts
import starter_tune
from starter_candidates import RANDOM, Candidates, Clock, best_of, candidates, distance, obeyed, pairs, percentages
from starter_checker import Judge
from starter_data import Request
from table import as_markdown

from t2i_starter import MODELS
from t2icli import load
from t2icli.contract.kinds import Generator, Ranker
from t2icli.store.models import CARD

ROOT = Path(__file__).parents[1]
COUNTS = (1, 4, 16)
GENERATORS = {"dalle": 16, "flow": 4, "clipgen": 16, "dalle2": 16}
"""How many candidates there are of each name: the flow is judged by its first try."""
PARTS = ("codec", "brivl", "clip", "clipcap", *GENERATORS, "honest")
ASKED = (
    *("红烧牛肉面", "番茄炒蛋", "鱼香肉丝", "麻婆豆腐", "宫保鸡丁", "北京烤鸭", "麻辣火锅", "清蒸鲈鱼"),
    *("皮蛋瘦肉粥", "小笼包", "扬州炒饭", "蒜蓉西兰花", "珍珠奶茶", "草莓蛋糕", "水果沙拉", "两碗牛肉面"),
    *("beef noodles", "tofu in a blue bowl", "three bowls of tomato and egg soup", "grilled fish and lemon"),
)
"""The mission's own dish, what is on every menu, and odd ones: drawn to be looked at, and to count what differs."""
ACROSS = 16
BARE = 4
"""Pictures of each name without ingredients."""


@contextlib.contextmanager
def models_in(folder: Path, assemble: Callable[[Path, Path], object] | None = None) -> Iterator[dict[str, str]]:
    """Where each model is, by its backend; `assemble` makes them of trained runs, as they would ship."""
    with tempfile.TemporaryDirectory() as draft:
        if not any(folder.glob(f"*/{CARD}")):
            (assemble or _assembling().assemble)(folder, Path(draft) / "models")
            folder = Path(draft) / "models"
        yield {path.name: str(path) for path in sorted(folder.iterdir()) if (path / CARD).is_file()}


def _assembling() -> ModuleType:
    spec = importlib.util.spec_from_file_location("assemble", ROOT / "recipes/starter/assemble.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def judge_of(chosen: argparse.Namespace) -> Judge:
    return starter_checker.ready(chosen.cache, steps=chosen.checker_steps)


def keep(chosen: argparse.Namespace, name: str, figures: Any) -> None:
    starter_page.save(chosen.cache / "figures", name, figures)


def ready(chosen: argparse.Namespace) -> None:
    requests, pixels = data.gallery(chosen.gallery)
    marks = starter_parts.exam(judge_of(chosen), requests, pixels)
    keep(chosen, "checker", {"true pictures": marks})
    print({key: value for key, value in marks.items() if key != "by_ingredient"})
    print("least seen:", list(marks["by_ingredient"].items())[:12])


def bench(chosen: argparse.Namespace) -> None:
    judge = judge_of(chosen)
    if not (chosen.cache / "figures/checker.json").is_file():
        ready(chosen)
    with models_in(chosen.folder) as models:
        rankers = {name: load("ranker", models[name]) for name in chosen.rankers if name in models}
        for part in chosen.only or PARTS:
            needed = {"codec": "vqgan", "honest": "dalle"}.get(part, part)
            if needed not in models:
                print(f"left out: there is no {needed} in {chosen.folder}", file=sys.stderr)
            elif part in GENERATORS:
                drawn(chosen, part, load("generator", models[part]), rankers, judge)
            elif part == "honest":
                keep(chosen, part, starter_parts.honest(models["dalle"], models.get("brivl"), chosen.n or 16))
            else:
                keep(chosen, part, alone(chosen, part, models[needed], judge))
    print(*starter_page.sections(starter_page.load(chosen.cache / "figures")).values(), sep="\n")


def alone(chosen: argparse.Namespace, part: str, model: str, judge: Judge) -> Any:
    """The figures of a part that is no generator."""
    requests, pixels = data.gallery(chosen.gallery)
    if part == "codec":
        some = slice(0, 300)
        return starter_parts.fidelity_of(load("codec", model), requests[some], pixels[some], judge)
    if part == "clipcap":
        return starter_parts.captioned(model, requests[:300], pixels[:300])
    return starter_parts.retrieved(model, requests, pixels)


def drawn(
    chosen: argparse.Namespace, name: str, generator: Generator, rankers: Mapping[str, Ranker], judge: Judge
) -> None:
    """All that is asked of a generator: names, names with colour or count, and names that are looked at."""
    requests, clock = data.prompts()[: chosen.prompts], Clock()
    n = chosen.n or GENERATORS[name]
    found = []
    for at, request in enumerate(requests):
        found.append(candidates(generator, request, requests, n, rankers, judge, clock=clock, keep=at < ACROSS))
        print(f"{name} {at + 1}/{len(requests)} {request.prompt}", file=sys.stderr, flush=True)
    figures = result(requests, found, clock, list(rankers), judge)
    figures["rows"][0]["bare"] = bare(generator, judge)
    rows = [best(each.images, list(each.by_ranker.values())) for each in found if each.images]
    starter_page.sheet(rows, chosen.cache / "figures" / f"starter-{name}-held-out.webp")
    rows, differ = [], {}
    for prompt in ASKED[: chosen.asked]:
        images = list(generator.generate(prompt, ACROSS, seed=0))
        differ[prompt] = len({image.tobytes() for image in images})
        rows.append(best(images, [ranker.score(prompt, images) for ranker in rankers.values()]))
    starter_page.sheet(rows, chosen.cache / "figures" / f"starter-{name}-asked.webp")
    keep(chosen, f"generator-{name}", {**figures, "distinct": differ})


def bare(generator: Generator, judge: Judge) -> float:
    """In how many pictures of a name without ingredients the vessel and what fills it are right, in percent."""
    right = []
    for request in data.bare():
        seen = judge.see(list(generator.generate(request.prompt, BARE, seed=0)))
        vessels, looks = (np.asarray(seen.which(aspect)) for aspect in ("vessel", "look"))
        right.append((vessels == data.vessel(request.serving)) & (looks == data.look(request.serving)))
    return 100 * float(np.mean(right))


def result(
    requests: Sequence[Request], found: Sequence[Candidates], clock: Clock, rankers: list[str], judge: Judge
) -> Any:
    """A row for each way to choose; colours and counts are of the names that ask for them, all else of the others."""
    plain = [at for at, each in enumerate(requests) if not each.serving.colour and each.serving.count == 1]
    true = [data.true([requests[at] for at in plain], seed) for seed in (1000, 1001)]
    real = judge.see(data.images(np.concatenate(true))).features
    n = len(found[0].shown.vessel)
    rows = []
    for ranker, k in pairs(rankers, best_of(COUNTS, n)):
        chosen = [each.shown[each.chosen(ranker, k)] for each in found]
        judged = k * (clock.seconds["drawing"] + (clock.seconds[ranker] if ranker != RANDOM else 0))
        rows.append(
            {
                **{"ranker": ranker, "k": k},
                **percentages([chosen[at] for at in plain]),
                **obeyed(requests, chosen),
                "fd": distance([found[at] for at in plain], ranker, k, real),
                "seconds": judged / (n * len(found)),
            }
        )
    return {"prompts": len(plain), "n": n, "rows": rows}


def best(images: Sequence[Any], scores: Sequence[Any]) -> list[Any]:
    """By the first ranker, if there is one."""
    order = np.argsort(-np.asarray(scores[0]), kind="stable") if scores else range(len(images))
    return [images[at] for at in order]


def tune(chosen: argparse.Namespace) -> None:
    given = {name: getattr(chosen, name) for name in ("cfg_scale", "temperature", "top_p", "steps")}
    sweep = {**starter_tune.SWEEP, **{name: values for name, values in given.items() if values}}
    columns = ["settings", "chosen by", "vessel %", "ingredients %", "all right %", "unasked", "CPU s each"]
    rows = []
    with models_in(chosen.folder) as models:
        rankers = {name: load("ranker", models[name]) for name in chosen.rankers if name in models}
        many = min(chosen.prompts, 20)
        judge, n = judge_of(chosen), chosen.n or GENERATORS[chosen.model]
        for row in starter_tune.tune(models[chosen.model], judge, rankers, sweep, many, n):
            rows.append(row)
            print(*row, sep="\t", flush=True)
    print(as_markdown(columns, rows))


def page(chosen: argparse.Namespace) -> None:
    starter_page.publish(chosen.cache / "figures", chosen.page)


COMMANDS = {"ready": ready, "bench": bench, "tune": tune, "page": page}


def arguments() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("what", choices=tuple(COMMANDS))
    words.add_argument("folder", nargs="?", type=Path, default=MODELS, help="models, or trained runs")
    words.add_argument("--cache", type=Path, default=starter_page.CACHE, help="of the checker and figures")
    words.add_argument("--page", type=Path, default=starter_page.PAGE, help="which `page` writes")
    words.add_argument("--only", nargs="+", choices=PARTS, default=[], help="parts to judge, in place of all")
    words.add_argument("--rankers", nargs="*", default=["brivl"], help="who chooses the best candidate")
    words.add_argument("--model", default="dalle", choices=tuple(GENERATORS), help="whose settings to tune")
    words.add_argument("--prompts", type=int, default=160, help="the first of them; 20 at most to tune with")
    words.add_argument("--asked", type=int, default=len(ASKED), help="names to be looked at")
    words.add_argument("-n", type=int, help="candidates of each")
    words.add_argument("--gallery", type=int, default=1000)
    words.add_argument("--checker-steps", type=int, default=2300, help="of the checker's training")
    for name, kind in (("--cfg-scale", float), ("--temperature", float), ("--top-p", float), ("--steps", int)):
        words.add_argument(name, type=kind, nargs="+", default=[])
    return words


def main(words: list[str] | None = None) -> None:
    chosen = arguments().parse_args(words)
    COMMANDS[chosen.what](chosen)


if __name__ == "__main__":
    main()
