"""Orders of samples in which those with similar captions stand side by side: what is contrasted differs in little."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

WORDS = re.compile(r"[a-z0-9]+|\w")
"""Of a caption in small letters: a Chinese character is a word."""
SHARED = 3
"""Words by which captions are put in order."""


class Similar:
    """Min-wise hashing: each epoch orders all words anew and sorts captions by the first ones that they have.

    Neighbours share those words, which are others in each epoch and mostly rare ones.
    """

    def __init__(self, captions: Iterable[Sequence[str]], group: int) -> None:
        self.group = group
        ids: dict[str, int] = {}
        found, lengths = array("i"), array("i")
        for texts in captions:
            words = {word for text in texts for word in WORDS.findall(text.lower())}
            found.extend(ids.setdefault(word, len(ids)) for word in sorted(words))
            lengths.append(len(words))
        self.words = np.asarray(found)
        self.owners = np.repeat(np.arange(len(lengths)), lengths)
        self.n = len(lengths)
        self.rarity = np.log(self.n / np.bincount(self.words, minlength=1).clip(min=1))

    def order(self, random: torch.Generator) -> Tensor:
        """All rows: groups of neighbours, the groups in no order."""
        waits = -np.log1p(-torch.rand(len(self.rarity), generator=random, dtype=torch.float64).numpy())
        with np.errstate(divide="ignore", invalid="ignore"):  # a word of every caption says nothing and comes last
            rank = np.argsort(np.argsort(waits / self.rarity))[self.words]
        by_rank = np.lexsort((rank, self.owners))
        owners, rank = self.owners[by_rank], rank[by_rank]
        place = np.arange(len(owners)) - np.searchsorted(owners, owners)
        keys = np.full((self.n, SHARED), len(self.rarity))
        first = place < SHARED
        keys[owners[first], place[first]] = rank[first]
        ties = torch.randperm(self.n, generator=random).numpy()
        rows = torch.from_numpy(np.lexsort((ties, *keys.T[::-1])))
        groups = rows.split(self.group)
        return torch.cat([groups[i] for i in torch.randperm(len(groups), generator=random).tolist()])
