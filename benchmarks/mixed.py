"""16 prompts with one picture each, compared with one prompt with 16; every picture is the same as drawn alone.

    make bench-mixed

Times are this process's CPU seconds with one thread. The two ways take turns, so that a busy machine slows both alike.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from statistics import median
from typing import Any

import torch
from table import record

from t2icli import load
from t2icli.contract.requests import Request, numbered

PICTURES, TURNS = 16, 3
DISHES = ("an egg", "noodles", "rice", "a soup", "a red apple", "a bowl", "a tomato", "fish")
PROMPTS = [f"{dish} on a {plate} plate" for dish in DISHES for plate in ("white", "blue")]
GENERATORS = ("dalle/starter", "clipgen/starter")
"""Those that draw codes; DALL-E 2 draws pictures one at a time on a CPU, whatever their prompts."""


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    record(
        "Prompts drawn together",
        __doc__.split("\n\n")[0],
        ["generator", f"CPU s, one prompt at -n {PICTURES}", f"CPU s, {PICTURES} prompts at -n 1", "ratio"],
        [row(name) for name in names],
    )


def row(name: str) -> list[Any]:
    generator = load("generator", name, device="cpu")
    ways = (list(numbered(Request(PROMPTS[0], 0), PICTURES)), [Request(prompt, 0) for prompt in PROMPTS])
    one, many = zip(*([seconds(generator, way) for way in ways] for _ in range(TURNS)), strict=True)
    alone = [image.tobytes() for request in ways[1] for image in generator.draw([request])]
    assert [image.tobytes() for image in generator.draw(ways[1])] == alone, f"{name}: pictures depend on the others"
    return [name, median(one), median(many), median(many) / median(one)]


def seconds(generator: Any, requests: Iterable[Request]) -> float:
    start = time.process_time()
    list(generator.draw(requests))
    return time.process_time() - start


if __name__ == "__main__":
    main(sys.argv[1:] or list(GENERATORS))
