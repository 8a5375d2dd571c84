"""The starter's figures: every generator with every ranker on names that nothing was trained on, and each part alone.

    python benchmarks/starter.py bench FOLDER [--generator dalle/starter] [--ranker brivl/starter] [--prompts 200]
    python benchmarks/starter.py parts FOLDER
    python benchmarks/starter.py steps FOLDER [--prompts 100] [--unet-steps 5 10 25]
    python benchmarks/starter.py tune FOLDER --model dalle/starter [--cfg-scale 1 3] [--temperature 0.8 1]
    python benchmarks/starter.py checker FOLDER
    python benchmarks/starter.py page FOLDER

Models are names or folders; those of the starter that are not there are left out. `tune` measures on names of its own.
Nothing is trained but the checker, once, where FOLDER has none. Writes FOLDER/figures/*.json and docs/starter.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import starter_checker
import starter_data as data
import starter_page
import starter_parts
import starter_tune
from starter_candidates import RANDOM, Candidates, Clock, best_of, candidates, distance, pairs, percentages
from starter_checker import Judge
from starter_data import Request
from table import as_markdown

from t2icli import load
from t2icli.contract.kinds import Codec, Generator, Ranker
from t2icli.ground.errors import T2IError
from t2icli.registry import configure

COUNTS = (1, 4, 16, 64)
GENERATORS = ("dalle/starter", "clipgen/starter", "dalle2/starter")
RANKERS = ("clip/starter", "brivl/starter")
ASKED = (
    *("红烧牛肉面", "番茄炒蛋", "鱼香肉丝", "麻婆豆腐", "宫保鸡丁", "北京烤鸭", "麻辣火锅", "清蒸鲈鱼"),
    *("皮蛋瘦肉粥", "小笼包", "扬州炒饭", "蒜蓉西兰花", "珍珠奶茶", "草莓蛋糕", "水果沙拉", "beef noodles"),
    *("a red apple", "一只猫", "彩虹", "火车"),
)
"""The mission's own dish, what is on every menu, and odd ones: drawn to be looked at."""
ACROSS = 8


def there(kind: str, words: list[str], wanted: tuple[str, ...]) -> dict[str, str]:
    """Short names of the models that are to be measured; a model that was asked for must be there."""
    found = {}
    for word in words or wanted:
        try:
            entry, _ = configure.resolve(kind, word)
        except T2IError as error:
            if words:
                raise
            print(f"left out: {error}", file=sys.stderr)
        else:
            found[entry.name] = word
    return found


def judge_of(chosen: argparse.Namespace) -> Judge:
    return starter_checker.ready(chosen.folder, codec_of(chosen), lessons=chosen.lessons, steps=chosen.steps)


def codec_of(chosen: argparse.Namespace) -> Codec:
    return load("codec", chosen.codec)


def rankers_of(chosen: argparse.Namespace) -> dict[str, Ranker]:
    return {name: load("ranker", word) for name, word in there("ranker", chosen.ranker, RANKERS).items()}


def checker(chosen: argparse.Namespace) -> None:
    requests = data.invented(chosen.gallery, "gallery", held_out=True)
    judge, codec = judge_of(chosen), codec_of(chosen)
    pixels = data.renders(chosen.folder / f"gallery-{chosen.gallery}.npy", requests)[0]
    soft = starter_checker.through(codec, pixels, pixels.shape[1])
    found = {"true renderings": pixels, "through the codec": soft}
    marks = {name: starter_parts.exam(judge, requests, each) for name, each in found.items()}
    starter_page.save(chosen.folder / "figures", "checker", marks)
    for name, each in marks.items():
        print(name, {key: value for key, value in each.items() if key != "by_ingredient"})
        print("  least seen:", list(each["by_ingredient"].items())[:12])


def parts(chosen: argparse.Namespace) -> None:
    checker(chosen)
    requests = data.invented(chosen.gallery, "gallery", held_out=True)
    pixels = data.renders(chosen.folder / f"gallery-{chosen.gallery}.npy", requests)[0]
    out = chosen.folder / "figures"
    starter_page.save(out, "codec", starter_parts.sharpness(codec_of(chosen), pixels))
    rankers = list(there("embedder", chosen.ranker, RANKERS).values())
    starter_page.save(out, "rankers", starter_parts.retrieved(rankers, requests, pixels))
    for word in there("captioner", [], (chosen.captioner,)).values():
        starter_page.save(out, "captioner", starter_parts.captioned(word, requests[:300], pixels[:300]))
    page(chosen)


def bench(chosen: argparse.Namespace) -> None:
    judge, rankers, out = judge_of(chosen), rankers_of(chosen), chosen.folder / "figures"
    requests = data.prompts()[: chosen.prompts]
    real = ceilings(chosen, judge, requests)
    for name, word in there("generator", chosen.generator, GENERATORS).items():
        generator, clock = load("generator", word), Clock()
        drawn = []
        for at, request in enumerate(requests):
            n = chosen.most if at < chosen.subset else chosen.n
            keep = at < ACROSS
            drawn.append(candidates(generator, request, requests, n, rankers, judge, clock=clock, keep=keep))
            print(f"{name} {at + 1}/{len(requests)} {request.prompt}", flush=True)
        starter_page.save(out, f"generator-{name}", result(chosen, drawn, clock, list(rankers), real))
        sheets(name, generator, drawn, rankers)
    page(chosen)


def by_steps(chosen: argparse.Namespace) -> None:
    """DALL-E 2 with few steps and with many; the prior, whose steps cost little, takes as many as its decoder."""
    judge, out = judge_of(chosen), chosen.folder / "figures"
    requests = data.prompts()[: chosen.prompts]
    real = truth(judge, renderings(chosen, requests))
    rows = []
    for steps in chosen.unet_steps:
        generator, clock = load("generator", "dalle2/starter", steps=(steps,), prior_steps=steps), Clock()
        drawn = [candidates(generator, each, requests, 1, {}, judge, clock=clock) for each in requests]
        (found,) = result(chosen, drawn, clock, [], real)["rows"]
        rows.append({"steps": steps, **found})
        print(rows[-1], flush=True)
    starter_page.save(out, "steps", {"prompts": len(requests), "rows": rows})
    page(chosen)


def renderings(chosen: argparse.Namespace, requests: list[Request]) -> Any:
    return data.renders(chosen.folder / f"renders-{len(requests)}.npy", requests, copies=3)


def truth(judge: Judge, pixels: Any) -> Any:
    """The features of true renderings, all but the first of each request."""
    return judge.see(starter_parts.images(np.concatenate(pixels[1:]))).features


def ceilings(chosen: argparse.Namespace, judge: Judge, requests: list[Request]) -> Any:
    """The rows of a generator that makes no mistakes; returns the features of other true renderings."""
    pixels = renderings(chosen, requests)
    real = truth(judge, pixels)
    soft = starter_checker.through(codec_of(chosen), pixels[0], pixels.shape[2])
    found = {"true renderings": pixels[0], "the same through the codec": soft}
    rows = {name: starter_parts.ceiling(judge, requests, each, real) for name, each in found.items()}
    starter_page.save(chosen.folder / "figures", "ceilings", rows)
    return real


def result(
    chosen: argparse.Namespace, drawn: list[Candidates], clock: Clock, rankers: list[str], real: Any
) -> dict[str, Any]:
    count = sum(len(each.shown.vessel) for each in drawn)
    rows = []
    for ranker, k in pairs(rankers, best_of(COUNTS, chosen.most)):
        those = [each for each in drawn if len(each.shown.vessel) >= k]
        found = percentages([each.shown[each.chosen(ranker, k)] for each in those])
        if len(those) == len(drawn):  # distances of fewer pictures would not compare
            found["fd"] = distance(drawn, ranker, k, real)
        seconds = k * (clock.seconds["drawing"] + (clock.seconds[ranker] if ranker != RANDOM else 0)) / count
        rows.append({"ranker": ranker, "k": k, "prompts": len(those), **found, "seconds": seconds})
    sizes = {name: getattr(chosen, name) for name in ("n", "most", "subset")}
    return {"prompts": len(drawn), **sizes, "rows": rows, "clock": clock.seconds, "count": count}


def sheets(name: str, generator: Generator, drawn: list[Candidates], rankers: dict[str, Ranker]) -> None:
    """By the last ranker the best eight of the first sixteen of held-out names, and all of those that are asked for."""
    ranker = list(rankers)[-1]
    rows = [best([*each.images[:16]], each.by_ranker[ranker][:16]) for each in drawn[:ACROSS]]
    starter_page.sheet(rows, f"starter-{name}-held-out")
    rows = []
    for prompt in ASKED:
        images = list(generator.generate(prompt, 16, seed=0))
        rows.append(best(images, rankers[ranker].score(prompt, images), 16))
    starter_page.sheet(rows, f"starter-{name}-asked", 64)


def best(images: list[Any], scores: Any, many: int = ACROSS) -> list[Any]:
    return [images[at] for at in np.argsort(-np.asarray(scores), kind="stable")[:many]]


def tune(chosen: argparse.Namespace) -> None:
    sweep = dict(starter_tune.SWEEP)
    given = {"cfg_scale": chosen.cfg_scale, "temperature": chosen.temperature, "top_p": chosen.top_p}
    sweep |= {name: values for name, values in given.items() if values}
    columns = ["settings", "chosen by", "vessel %", "look %", "ingredients %", "all right %", "CPU s each"]
    rows = []
    for row in starter_tune.tune(chosen.model, judge_of(chosen), rankers_of(chosen), sweep, chosen.prompts, chosen.n):
        rows.append(row)
        print(*row, sep="\t", flush=True)
    print(as_markdown(columns, rows))


def page(chosen: argparse.Namespace) -> None:
    starter_page.publish(starter_page.load(chosen.folder / "figures"))


COMMANDS = {"bench": bench, "parts": parts, "steps": by_steps, "tune": tune, "checker": checker, "page": page}


def arguments() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("what", choices=tuple(COMMANDS))
    words.add_argument("folder", type=Path, help="where lessons, the checker and figures are kept")
    words.add_argument("--codec", default="vqgan/starter")
    words.add_argument("--captioner", default="clipcap/starter")
    words.add_argument("--ranker", action="append", default=[])
    words.add_argument("--generator", action="append", default=[])
    words.add_argument("--model", default="dalle/starter", help="whose settings to tune")
    words.add_argument("--prompts", type=int, help="the first of them; all 200, or 20 to tune with")
    words.add_argument("-n", type=int, default=16, help="candidates of each")
    words.add_argument("--most", type=int, default=64, help="candidates of the first --subset")
    words.add_argument("--subset", type=int, default=40)
    words.add_argument("--gallery", type=int, default=1000)
    words.add_argument("--lessons", type=int, default=20_000)
    words.add_argument("--steps", type=int, default=3_000, help="of the checker's training")
    words.add_argument("--unet-steps", type=int, nargs="+", default=[3, 5, 10, 25, 100], help="to compare")
    for name in ("--cfg-scale", "--temperature", "--top-p"):
        words.add_argument(name, type=float, nargs="+", default=[])
    return words


def main(words: list[str] | None = None) -> None:
    chosen = arguments().parse_args(words)
    chosen.prompts = chosen.prompts or (20 if chosen.what == "tune" else 200)
    COMMANDS[chosen.what](chosen)


if __name__ == "__main__":
    main()
