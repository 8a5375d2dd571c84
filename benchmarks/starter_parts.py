"""Figures of the parts: what the checker gets right, how sharp the codec is, what rankers and captioner know."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import starter_checker
import starter_data as data
import torch
from PIL import Image
from starter_checker import Judge
from starter_data import Pixels, Request

from t2i_starter import servings, vocabulary
from t2i_starter.servings import Serving
from t2i_starter.words import Dish
from t2icli import load
from t2icli.contract.kinds import Codec
from t2icli.nn import fidelity
from t2icli.pictures.vocabulary import unknown
from t2icli.pipelines import doubts, scoring
from t2icli.pipelines.evaluate import retrieval
from t2icli.pipelines.evaluate.pairs import CaptionedPicture, EvaluationSet
from t2icli.registry.open import open_one

OUTSIDE = (
    *(
        "一只猫",
        "海上的日落",
        "山间的湖",
        "红色的汽车",
        "埃菲尔铁塔",
        "一本书",
        "下雪的村庄",
        "机器人",
        "两匹马",
        "弹钢琴的女孩",
    ),
    *("a black dog", "sunset over the sea", "a red car", "a castle on a hill", "an astronaut", "a portrait of a woman"),
    *("a train in the mountains", "a rainbow", "two children playing football", "a blue bird"),
)
"""What the starter cannot draw, and should say so about."""


def exam(judge: Judge, requests: Sequence[Request], pixels: Pixels) -> dict[str, Any]:
    """What the checker makes of pictures whose content is known; recall by ingredient, worst first."""
    seen = judge.see(data.images(pixels))
    known = [data.labels(each.serving) for each in requests]
    present, found = np.stack([each.present for each in known]), seen.scores > 0
    recall = {
        key: float(100 * found[there, place].mean())
        for place, key in enumerate(data.ingredients())
        if (there := present[:, place]).any()
    }
    right = {
        name: 100 * float(np.mean(seen.aspects[name].argmax(1) == [each.aspects[name] for each in known]))
        for name in data.aspects()
    }
    return {
        "pictures": len(requests),
        **right,
        "recall": float(100 * found[present].mean()),
        "false_alarms": float((found & ~present).sum(1).mean()),
        "by_ingredient": dict(sorted(recall.items(), key=lambda each: each[1])),
    }


def fidelity_of(codec: Codec, requests: Sequence[Request], pixels: Pixels, judge: Judge) -> dict[str, Any]:
    """PSNR in dB of pictures that go through the codec, how sharp they are, and what the checker still sees."""
    back = starter_checker.through(codec, pixels)
    found = fidelity.psnr(*(torch.from_numpy(each).permute(0, 3, 1, 2).float() / 255 for each in (pixels, back)))
    return {
        "pictures": len(pixels),
        "size": pixels.shape[1],
        "psnr": float(found.mean()),
        "worst": float(found.min()),
        "sharpness": roughness(back) / roughness(pixels),
        "seen": exam(judge, requests, back),
    }


def roughness(pixels: Pixels) -> float:
    """How much neighbours across differ, on average."""
    return float(np.mean([np.abs(np.diff(each.astype(np.int16), axis=1)).mean() for each in pixels]))


def retrieved(model: str, requests: Sequence[Request], pixels: Pixels) -> dict[str, Any]:
    """How often each name finds its picture, and each picture its name: among the first hundred, and among all."""
    source = open_one("embedder", model)
    pictures = [
        CaptionedPicture(f"{at}.png", (request.prompt,), lambda image=image: _png(image))
        for at, (request, image) in enumerate(zip(requests, data.images(pixels), strict=True))
    ]
    among = {}
    for some in (pictures[:100], pictures):
        (found,) = retrieval.evaluate([source], EvaluationSet(some, "starter"))
        among[str(len(some))] = found.table()
    return among


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def captioned(model: str, requests: Sequence[Request], pixels: Pixels) -> dict[str, Any]:
    """Whether the caption, read as a name, has the vessel, the first of the ingredients, and all of them."""
    captions = [each[0] for each in load("captioner", model).caption(data.images(pixels), 1, seed=0)]
    meant = [servings.read(caption.replace(" ", "")) or servings.read(caption) for caption in captions]
    pairs = [(said or Serving(Dish()), each.serving) for said, each in zip(meant, requests, strict=True)]
    vessel = [data.vessel(said) == data.vessel(true) for said, true in pairs]
    main = [true.dish.ingredients[0] in said.dish.ingredients for said, true in pairs]
    share = [np.mean([key in said.dish.ingredients for key in true.dish.ingredients]) for said, true in pairs]
    return {
        "pictures": len(requests),
        "vessel": 100 * float(np.mean(vessel)),
        "main": 100 * float(np.mean(main)),
        "ingredients": 100 * float(np.mean(share)),
        "examples": [f"{request.prompt}: {caption}" for request, caption in zip(requests[:8], captions, strict=False)],
    }


def honest(generator: str, ranker: str | None, n: int) -> dict[str, Any]:
    """Which prompts that cannot be drawn get a note, about unknown words or low scores.

    Words alone must not doubt what can be drawn.
    """
    source, known = open_one("generator", generator), vocabulary.words()
    judges = scoring.judges([ranker]) if ranker else []
    told = {}
    for prompt in OUTSIDE:
        said = [*unknown(prompt, known)]
        if not said and judges:
            scores = judges[0].score(prompt, list(source.thing.generate(prompt, n, seed=0)))
            rows = [{"prompt": prompt, "scores": {judges[0].name: score}} for score in scores]
            said = doubts.lines(source.model, judges, rows)
        told[prompt] = said
    wrong = {each.prompt: said for each in data.prompts() if (said := unknown(each.prompt, known))}
    return {"told": told, "said": sum(map(bool, told.values())), "of": len(told), "wrong": wrong}
