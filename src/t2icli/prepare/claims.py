"""Who was first: keys and images that were seen already, so that the second comer is dropped."""

from __future__ import annotations

import hashlib
from typing import Protocol

BANDS = 4
"""64 bits cut into 4: two looks that differ in at most 3 bits agree in one band at least."""


class Claims(Protocol):
    """Claiming again for the same row is allowed: that is how an interrupted shard is done over."""

    def key(self, key: str, row: int) -> bool: ...
    def image(self, sha256: str, row: int) -> bool: ...
    def look(self, look: int, row: int, distance: int) -> bool: ...


class LocalClaims:
    """In memory: about 100 bytes for every image kept."""

    def __init__(self) -> None:
        self._owners: dict[int, int] = {}
        self._looks: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def key(self, key: str, row: int) -> bool:
        number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
        return self._owners.setdefault(number, row) == row

    def image(self, sha256: str, row: int) -> bool:
        return self._owners.setdefault(int(sha256[:16], 16), row) == row

    def look(self, look: int, row: int, distance: int) -> bool:
        for band in self._bands(look):
            for other, owner in self._looks.get(band, ()):
                if owner != row and (look ^ other).bit_count() <= distance:
                    return False
        for band in self._bands(look):
            self._looks.setdefault(band, []).append((look, row))
        return True

    def state(self) -> tuple[dict[int, int], dict[tuple[int, int], list[tuple[int, int]]]]:
        return self._owners, self._looks

    def take_over(self, state: tuple[dict[int, int], dict[tuple[int, int], list[tuple[int, int]]]]) -> None:
        """Go on from another's claims."""
        self._owners, self._looks = state

    def _bands(self, look: int) -> list[tuple[int, int]]:
        return [(band, look >> (16 * band) & 0xFFFF) for band in range(BANDS)]
