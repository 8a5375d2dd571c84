"""How well a tower recognises held-out dish names, spoken by voices that it was not trained on.

    make bench-audio                     # the starter's, once there is one
    python benchmarks/audio.py MODEL     # any other
    python benchmarks/audio.py --pictures docs/pictures

600 names of compositions that are kept from training, spoken by four voices, look for their text among all 600, and for
one picture of each. The text itself looks for the pictures beside them. Then 24 names are drawn from sound and from
text by a generator of the same space, and judged by that space's embedder. In place of all that `--pictures` makes what
docs/audio.md shows. Needs espeak-ng and t2icli-starter.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

import numpy as np
import soundfile
import starter_page
import torch
from PIL import Image
from table import record
from torch import Tensor

from t2i_starter import photos, servings, words
from t2i_starter.servings import Serving
from t2i_starter.words import Dish
from t2i_wavbrivl import speech
from t2icli import load
from t2icli.contract.kinds import AudioClip, AudioEmbedder
from t2icli.contract.requests import EmbeddingGenerator, Request, numbered
from t2icli.sounds.clips import resampled

STARTER = "wavbrivl/starter"
NAMES, DRAWN, OF_EACH = 600, 24, 4
LONGEST = 12
SHOWN = {"香菇虾仁粥": "f3", "红烧番茄土豆": "m4", "鸡蛋豆腐火锅": "linda", "红烧牛肉面": "paul"}
"""Names that docs/audio.md lets hear, and who says them; the first three are of compositions that no training saw."""
ACROSS, SIDE = 6, 160


def dishes(count: int) -> dict[str, Dish]:
    """Held-out dishes by their Chinese names of at most `LONGEST` characters."""
    random, found = Random("names to be heard"), dict[str, Dish]()
    while len(found) < count:
        dish = words.invent(random)
        name, _ = words.say(dish, random)
        if dish.held_out() and len(name) <= LONGEST and not servings.problem(Serving(dish)):
            found[name] = dish
    return found


def spoken(texts: Sequence[str]) -> list[AudioClip]:
    """Voices in turn, each clip with a tempo and a pitch of its own."""
    random, voices = Random("how they are spoken"), speech.UNSEEN
    return [
        speech.speak(text, f"cmn-latn-pinyin+{voices[i % 4]}", random.randint(120, 220), random.randint(25, 75))
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


def make_pictures(listener: AudioEmbedder, generator: EmbeddingGenerator | None, folder: Path) -> None:
    """What docs/audio.md shows: the sounds, and for each what it finds among the gallery and what is drawn of it."""
    clips = [speech.speak(text, f"cmn-latn-pinyin+{voice}", 160, 50) for text, voice in SHOWN.items()]
    for place, clip in enumerate(clips, 1):
        soundfile.write(folder / f"heard-{place}.mp3", resampled(clip, speech.RATE), speech.RATE, format="MP3")
    heard = listener.embed_audio(clips)
    photographed = gallery([*dishes(NAMES).values(), *filter(None, map(words.read, SHOWN))])
    make_sheet(heard, [(photographed, listener.embed_images(photographed))] * len(SHOWN), folder / "heard-found.webp")
    if generator is not None:
        drawn = [list(generator.draw(numbered(Request("", 1, embedding=vector), 16))) for vector in heard]
        of_each = [(pictures, generator.embedder.embed_images(pictures)) for pictures in drawn]
        make_sheet(heard, of_each, folder / "heard-drawn.webp")


def make_sheet(heard: Tensor, of_each: Sequence[tuple[list[Image.Image], Tensor]], path: Path) -> None:
    """A row for each sound: of its pictures the nearest, the best first."""
    sheet = Image.new("RGB", (ACROSS * SIDE, len(heard) * SIDE))
    for row, (vector, (pictures, vectors)) in enumerate(zip(heard, of_each, strict=True)):
        for column, i in enumerate((vectors @ vector).argsort(descending=True)[:ACROSS].tolist()):
            sheet.paste(pictures[i].resize((SIDE, SIDE), Image.Resampling.LANCZOS), (column * SIDE, row * SIDE))
    sheet.save(path, quality=80)


def gallery(found: Iterable[Dish]) -> list[Image.Image]:
    """A photographed picture of each dish."""
    return [photos.draw(Serving(dish), i, SIDE) for i, dish in enumerate(found)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default=STARTER)
    parser.add_argument("--names", type=int, default=NAMES)
    parser.add_argument("--generator", default="clipgen/starter", help="one that draws from the same space")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="make sounds and pictures for docs/audio.md")
    chosen = parser.parse_args()
    listener = load("embedder", chosen.model)
    generator = load("generator", chosen.generator)
    if generator.space != listener.space:
        print(f"{chosen.generator} draws from another space than that of {chosen.model}", file=sys.stderr)
        generator = None
    if chosen.pictures is not None:
        return make_pictures(listener, generator, chosen.pictures)
    dish_of = dishes(chosen.names)
    texts = list(dish_of)
    clips = spoken(texts)
    start = time.process_time()
    heard = listener.embed_audio(clips)
    cost = time.process_time() - start
    of_texts, of_pictures = listener.embed_texts(texts), listener.embed_images(gallery(dish_of.values()))
    to_text, to_picture, by_words = ranks(heard, of_texts), ranks(heard, of_pictures), ranks(of_texts, of_pictures)
    rows = [row("sound to text", to_text), row("sound to picture", to_picture), row("text to picture", by_words)]
    figures = {"to_text": (to_text < 1).mean(), "to_picture": (to_picture < 1).mean() / (by_words < 1).mean()}
    seconds = sum(clip.seconds for clip in clips)
    about = f"""{__doc__.splitlines()[0]}

{len(texts)} names in {len(speech.UNSEEN)} voices, {seconds:.0f} s of speech, embedded in {cost:.1f} CPU s:
{cost / seconds:.4f} of its length. Mean cosine of sound and text {float((heard * of_texts).sum(dim=1).mean()):.2f}."""
    if generator is not None:
        by_sound, by_text = (judged(generator, x[:DRAWN], of_texts[:DRAWN]) for x in (heard, of_texts))
        about += f" Drawn from sound, pictures score {by_sound:.3f}; from text {by_text:.3f}."
        figures["drawn"] = by_sound / by_text
    if chosen.model == STARTER:
        starter_page.save(starter_page.CACHE / "figures", "hearing", {**figures, "names": len(texts)})
    record("Hearing", about, ["from", "R@1, %", "R@5, %", "R@10, %", "median rank"], rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
