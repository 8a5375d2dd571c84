"""Figures of the parts: what the checker itself gets right, how sharp the codec is, what rankers and captioner know."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import starter_checker
import starter_data as data
import torch
from numpy.typing import NDArray
from PIL import Image
from starter_candidates import percentages, shown
from starter_checker import Judge
from starter_data import Request

from t2i_starter import words
from t2icli import load
from t2icli.contract.kinds import Codec
from t2icli.nn import fidelity
from t2icli.pipelines.evaluate import distances, retrieval
from t2icli.pipelines.evaluate.pairs import Pairs, Picture
from t2icli.registry.open import open_one

Pixels = NDArray[np.uint8]


def images(pixels: Pixels) -> list[Image.Image]:
    return [Image.fromarray(each) for each in pixels]


def exam(judge: Judge, requests: Sequence[Request], pixels: Pixels) -> dict[str, Any]:
    """What the checker makes of renderings whose content is known; recall by ingredient, worst first."""
    seen = judge.see(images(pixels))
    looks, present = (np.stack(column) for column in zip(*(data.labels(each.dish) for each in requests), strict=True))
    found = seen.scores > 0
    recall = {
        key: float(100 * found[there, place].mean())
        for place, key in enumerate(data.ingredients())
        if (there := present[:, place]).any()
    }
    vessels = [data.vessel(each.dish) for each in requests]
    return {
        "pictures": len(requests),
        "vessel": 100 * float(np.mean([a == b for a, b in zip(seen.vessels, vessels, strict=True)])),
        "look": 100 * float((seen.looks.argmax(1) == looks).mean()),
        "recall": float(100 * found[present].mean()),
        "false_alarms": float(100 * found[~present].mean()),
        "by_ingredient": dict(sorted(recall.items(), key=lambda each: each[1])),
    }


def ceiling(judge: Judge, requests: Sequence[Request], pixels: Pixels, real: NDArray[np.float32]) -> dict[str, float]:
    """The row of a generator that draws exactly what was asked for."""
    seen = judge.see(images(pixels))
    rows = [type(seen)(*(column[[at]] for column in seen)) for at in range(len(requests))]
    right = [shown(request, requests, row) for request, row in zip(requests, rows, strict=True)]
    return {**percentages(right), "fd": distances.frechet(seen.features, real)}


def sharpness(codec: Codec, pixels: Pixels) -> dict[str, float]:
    """PSNR in dB of pictures that go through the codec."""
    back = starter_checker.through(codec, pixels, pixels.shape[1])
    both = (torch.from_numpy(each).permute(0, 3, 1, 2).float() / 255 for each in (pixels, back))
    found = fidelity.psnr(*both)
    return {"pictures": len(pixels), "psnr": float(found.mean()), "worst": float(found.min())}


def retrieved(models: Sequence[str], requests: Sequence[Request], pixels: Pixels) -> list[dict[str, Any]]:
    """How often each name finds its picture, and each picture its name, among all of them."""
    sources = [open_one("embedder", model) for model in models]
    pictures = [
        Picture(f"{at}.png", (request.prompt,), lambda image=image: _png(image))
        for at, (request, image) in enumerate(zip(requests, images(pixels), strict=True))
    ]
    return [each.table() for each in retrieval.evaluate(sources, Pairs(pictures, "starter"))]


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def captioned(model: str, requests: Sequence[Request], pixels: Pixels) -> dict[str, Any]:
    """Whether the caption, read as a dish, has the vessel and the ingredient that the dish's name begins with."""
    captions = [each[0] for each in load("captioner", model).caption(images(pixels), 1, seed=0)]
    meant = [words.read(caption.replace(" ", "")) or words.read(caption) for caption in captions]
    pairs = list(zip(meant, (each.dish for each in requests), strict=True))
    vessel = [dish is not None and data.vessel(dish) == data.vessel(true) for dish, true in pairs]
    main = [dish is not None and true.ingredients[0] in dish.ingredients for dish, true in pairs]
    return {
        "pictures": len(requests),
        "vessel": 100 * float(np.mean(vessel)),
        "main": 100 * float(np.mean(main)),
        "both": 100 * float(np.mean(np.logical_and(vessel, main))),
        "examples": [f"{request.prompt}: {caption}" for request, caption in zip(requests[:8], captions, strict=False)],
    }
