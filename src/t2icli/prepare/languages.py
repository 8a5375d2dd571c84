"""Which language a caption is in, as far as its script tells: enough to keep English out of Chinese data."""

from __future__ import annotations

import re

SCRIPTS = {
    "ja": re.compile("[\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f]"),
    "ko": re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]"),
    "zh": re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"),
    "ru": re.compile("[\u0400-\u04ff]"),
    "ar": re.compile("[\u0600-\u06ff]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "hi": re.compile("[\u0900-\u097f]"),
    "el": re.compile("[\u0370-\u03ff]"),
    "he": re.compile("[\u0590-\u05ff]"),
}
LETTERS = re.compile("[A-Za-z\u00c0-\u024f]+")


def language(caption: str) -> str:
    """Two letters: the script with most characters; `en` for any in Latin letters, `und` where there are none.

    A word of Latin letters weighs like one Han character, for that is how they mix in Chinese captions.
    One kana among Han characters makes the caption Japanese.
    """
    counts = {name: len(script.findall(caption)) for name, script in SCRIPTS.items()}
    if counts["ja"]:
        counts["ja"] += counts["zh"]
    counts["en"] = len(LETTERS.findall(caption))
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else "und"
