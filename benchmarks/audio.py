"""How well a tower hears dish names: held-out names, spoken by voices it was never trained on.

    make bench-audio                     # the starter's, once there is one
    python benchmarks/audio.py MODEL     # any other

600 names of compositions that are kept from training, spoken by four voices, look for their text among all 600, and for
one drawn picture of each. The text itself looks for the pictures beside them. Then 24 names are drawn from sound and
from text by a generator of the same space, and judged by that space's embedder. Needs espeak-ng and t2icli-starter.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from random import Random

import numpy as np
import torch
from table import record
from torch import Tensor

from t2i_starter import words
from t2i_starter.plates import draw
from t2i_starter.words import Dish
from t2i_wavbrivl import speech
from t2icli import load
from t2icli.contract.kinds import AudioClip
from t2icli.contract.requests import EmbeddingGenerator, Request, numbered

NAMES, DRAWN, OF_EACH = 600, 24, 4
VOICES = ("f3", "m4", "linda", "paul")
LONGEST = 12


def dishes(count: int) -> dict[str, Dish]:
    """Held-out dishes by their Chinese names of at most `LONGEST` characters."""
    random, found = Random("names to be heard"), dict[str, Dish]()
    while len(found) < count:
        dish = words.invent(random)
        name, _ = words.say(dish, random)
        if dish.held_out() and len(name) <= LONGEST:
            found[name] = dish
    return found


def spoken(texts: Sequence[str]) -> list[AudioClip]:
    """Voices in turn, each clip with a tempo and a pitch of its own."""
    random = Random("how they are spoken")
    return [
        speech.speak(text, f"cmn-latn-pinyin+{VOICES[i % 4]}", random.randint(120, 220), random.randint(25, 75))
        for i, text in enumerate(texts)
    ]


def ranks(queries: Tensor, gallery: Tensor) -> np.ndarray:
    """For each query how many come before its own."""
    scores = queries @ gallery.T
    return (scores > scores.diagonal()[:, None]).sum(dim=1).numpy()


def row(what: str, found: np.ndarray) -> list[object]:
    return [what, *(100 * (found < k).mean() for k in (1, 5, 10)), float(np.median(found)) + 1]


def judged(generator: EmbeddingGenerator, vectors: Tensor, texts: Tensor) -> float:
    """Mean score for the spoken name of what is drawn from the vectors."""
    requests = [r for vector in vectors for r in numbered(Request("", 1, embedding=vector), OF_EACH)]
    drawn = generator.embedder.embed_images(list(generator.draw(requests)))
    return float((drawn * texts.repeat_interleave(OF_EACH, 0)).sum(dim=1).mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default="wavbrivl/starter")
    parser.add_argument("--names", type=int, default=NAMES)
    parser.add_argument("--generator", help="one that draws from the same space")
    chosen = parser.parse_args()
    listener = load("embedder", chosen.model)
    dish_of = dishes(chosen.names)
    texts = list(dish_of)
    clips = spoken(texts)
    start = time.process_time()
    heard = listener.embed_audio(clips)
    cost = time.process_time() - start
    of_texts, of_pictures = (
        listener.embed_texts(texts),
        listener.embed_images([draw(dish, i, 160, "neat") for i, dish in enumerate(dish_of.values())]),
    )
    rows = [
        row("sound to text", ranks(heard, of_texts)),
        row("sound to picture", ranks(heard, of_pictures)),
        row("text to picture", ranks(of_texts, of_pictures)),
    ]
    seconds = sum(clip.seconds for clip in clips)
    about = f"""{__doc__.splitlines()[0]}

{len(texts)} names in {len(VOICES)} voices, {seconds:.0f} s of speech, embedded in {cost:.1f} CPU s:
{cost / seconds:.4f} of its length. Mean cosine of sound and text {float((heard * of_texts).sum(dim=1).mean()):.2f}."""
    if chosen.generator:
        generator = load("generator", chosen.generator)
        if generator.space != listener.space:
            raise SystemExit("the generator draws from another space")
        by_sound, by_text = (judged(generator, x[:DRAWN], of_texts[:DRAWN]) for x in (heard, of_texts))
        about += f" Drawn from sound, pictures score {by_sound:.3f}; from text {by_text:.3f}."
    record("Hearing", about, ["from", "R@1, %", "R@5, %", "R@10, %", "median rank"], rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
