"""How well captions agree with what people wrote: BLEU, ROUGE-L and CIDEr-D, as the COCO caption evaluation has them.

A caption and its references are lists of words, or of characters where that is what one counts in.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

from t2icli.ground.errors import T2IError

Words = Sequence[str]
ORDERS = range(1, 5)
SIGMA = 6.0
"""CIDEr-D's penalty for captions of another length."""
BETA = 1.2
"""ROUGE-L's weight of recall against precision."""
PIECES = re.compile(r"[a-z0-9]+|[^\W\d_]|\d", re.UNICODE)
"""A Latin word or number, or a single character of any other script; marks between words do not count."""
CHINESE = re.compile(r"[\u3400-\u9fff]")


def cutter(by: Literal["character", "word"]) -> Callable[[str], list[str]]:
    """How a caption is cut. By character, Chinese falls apart into characters but Latin words stay whole."""
    return characters if by == "character" else words


def characters(text: str) -> list[str]:
    return PIECES.findall(text.lower())


def words(text: str) -> list[str]:
    if not CHINESE.search(text):
        return characters(text)
    try:
        import jieba
    except ImportError as error:
        hint = "run: t2i install 't2icli[words]', or leave out --by word"
        raise T2IError("Chinese text has no spaces to split words at", hint) from error
    jieba.setLogLevel("ERROR")
    return [word for word in jieba.lcut(text.lower()) if PIECES.search(word)]


def grams(sentence: Words, n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(sentence[i:] for i in range(n)), strict=False))


def bleu(captions: Sequence[Words], references: Sequence[Sequence[Words]], n: int = 4) -> float:
    """Of the whole corpus: clipped n-gram precision up to `n`, times the penalty for being short."""
    right, all_of_them = [0] * n, [0] * n
    length, wanted = 0, 0
    for caption, known in zip(captions, references, strict=True):
        length += len(caption)
        wanted += min((abs(len(one) - len(caption)), len(one)) for one in known)[1]
        for order in range(n):
            counts = grams(caption, order + 1)
            most: Counter[tuple[str, ...]] = Counter()
            for one in known:
                most |= grams(one, order + 1)
            right[order] += (counts & most).total()
            all_of_them[order] += max(0, len(caption) - order)
    if not all(right):
        return 0.0
    precision = math.exp(sum(math.log(a / b) for a, b in zip(right, all_of_them, strict=True)) / n)
    return precision * min(1.0, math.exp(1 - wanted / length))


def rouge_l(caption: Words, references: Sequence[Words]) -> float:
    """F-measure of the longest common subsequence: best precision and best recall over the references."""
    common = [longest_common(caption, one) for one in references]
    precision = max((c / len(caption) for c in common), default=0.0) if caption else 0.0
    recall = max((c / len(one) for c, one in zip(common, references, strict=True) if one), default=0.0)
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def longest_common(a: Words, b: Words) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for j, other in enumerate(b, start=1):
            before, row[j] = row[j], before + 1 if word == other else max(row[j], row[j - 1])
    return row[-1]


def cider_d(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> list[float]:
    """For each caption, times 10: likeness of n-gram counts, rare ones weighing more, clipped and kept to length.

    Rarity is counted over the references of all images, so the score needs many images.
    """
    documents: Counter[tuple[str, ...]] = Counter()
    for known in references:
        documents.update({gram for one in known for n in ORDERS for gram in grams(one, n)})
    whole = math.log(len(references)) if references else 0.0

    def weighed(sentence: Words, n: int) -> dict[tuple[str, ...], float]:
        return {gram: count * (whole - math.log(max(1, documents[gram]))) for gram, count in grams(sentence, n).items()}

    def alike(caption: Words, one: Words) -> float:
        closeness = math.exp(-((len(caption) - len(one)) ** 2) / (2 * SIGMA**2))
        return closeness * sum(clipped_cosine(weighed(caption, n), weighed(one, n)) for n in ORDERS) / len(ORDERS)

    return [
        10 * sum(alike(caption, one) for one in known) / len(known)
        for caption, known in zip(captions, references, strict=True)
    ]


def clipped_cosine(caption: dict[tuple[str, ...], float], reference: dict[tuple[str, ...], float]) -> float:
    """Cosine of weighed counts in which the caption gains nothing by saying a thing too often."""
    product = sum(min(value, reference.get(gram, 0.0)) * reference.get(gram, 0.0) for gram, value in caption.items())
    lengths = math.hypot(*caption.values()) * math.hypot(*reference.values())
    return product / lengths if lengths else 0.0


def scores(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> dict[str, float]:
    """Every figure for one caption an image, each with all its references."""
    if len(captions) == 0 or not all(references):
        raise T2IError("there is nothing to compare captions with", "every image needs a reference caption")
    n = len(captions)
    return {
        "bleu_4": bleu(captions, references),
        "rouge_l": sum(rouge_l(c, known) for c, known in zip(captions, references, strict=True)) / n,
        "cider_d": sum(cider_d(captions, references)) / n,
    }
