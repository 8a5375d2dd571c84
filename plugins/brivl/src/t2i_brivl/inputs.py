"""What the towers read: pixels, boxes and ids, made from pictures and sentences."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor

from t2i_brivl.shape import Ngrams
from t2icli.contract.kinds import Box
from t2icli.nn.embedding import ReportCut

"""x1, y1, x2, y2 in pixels of the picture."""

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def pixels(image: Image, size: int, *, normalise: bool = True) -> Tensor:
    """(3, size, size). Stretched, not cropped, and without antialiasing, as the released weights were trained."""
    array = np.asarray(image.convert("RGB"), dtype=np.uint8)
    x = torch.from_numpy(array.copy()).permute(2, 0, 1).contiguous().float() / 255
    x = F.interpolate(x[None], (size, size), mode="bilinear", align_corners=False, antialias=False)[0]
    return (x - MEAN) / DEVIATION if normalise else x


def scaled_boxes(boxes: Sequence[Box], picture: tuple[int, int], size: int, most: int) -> tuple[Tensor, int]:
    """(most, 4) boxes in pixels of the resized picture, and how many are real: the first ones, then all of it."""
    scaled = torch.tensor([list(box) for box in boxes[: most - 1]], dtype=torch.float32).reshape(-1, 4)
    width, height = picture
    scaled = scaled * torch.tensor([size / width, size / height] * 2, dtype=torch.float32)
    ready = torch.zeros(most, 4)
    ready[: len(scaled)] = scaled
    ready[len(scaled)] = torch.tensor([0, 0, size, size])
    return ready, len(scaled) + 1


class WordPieces:
    """BERT's ids between [CLS] and [SEP], zero padded."""

    def __init__(self, vocabulary: Path, length: int, report: ReportCut) -> None:
        from tokenizers import BertWordPieceTokenizer

        self.length, self.report = length, report
        self.tokenizer = BertWordPieceTokenizer(str(vocabulary), lowercase=True)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        ids = torch.zeros(len(texts), self.length, dtype=torch.int64)
        for row, (text, encoding) in enumerate(zip(texts, self.tokenizer.encode_batch(list(texts)), strict=True)):
            tokens = encoding.ids
            if len(tokens) > self.length:
                self.report(text, len(tokens), self.length)
                tokens = [*tokens[: self.length - 1], tokens[-1]]
            ids[row, : len(tokens)] = torch.tensor(tokens)
        return ids


TOKEN = re.compile(r"[a-z]+|\d+|[^\W_]|[^\w\s]")
"""A Latin word, a number, or a single character of any other script."""


class HashedNgrams:
    """Ids of a text's n-grams by hashing: no vocabulary, the same in every process."""

    def __init__(self, shape: Ngrams, report: ReportCut) -> None:
        self.shape, self.report = shape, report

    def __call__(self, texts: Sequence[str]) -> Tensor:
        ids = torch.zeros(len(texts), self.shape.length, dtype=torch.int64)
        for row, text in enumerate(texts):
            grams = self.grams(text)
            if len(grams) > self.shape.length:
                self.report(text, len(grams), self.shape.length)
            for column, gram in enumerate(grams[: self.shape.length]):
                ids[row, column] = 1 + zlib.crc32(gram.encode()) % (self.shape.buckets - 1)
        return ids

    def grams(self, text: str) -> list[str]:
        """Single tokens first, so that those of a long text are all read."""
        tokens = TOKEN.findall(text.lower())
        return [
            " ".join(tokens[start : start + n])
            for n in range(1, self.shape.longest + 1)
            for start in range(len(tokens) - n + 1)
        ]
