"""What becomes of a row: kept, dropped by a rule, or failed; and the exception that carries the bad news."""

from __future__ import annotations

from typing import Literal

Status = Literal["ok", "dropped", "failed"]


class Refused(Exception):
    """A row that does not make it. `dropped` is what the rules wanted; `failed` may be tried again."""

    def __init__(self, reason: str, status: Status = "failed", tries: int = 0, size: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.tries = tries
        self.size = size


def dropped(reason: str) -> Refused:
    return Refused(reason, "dropped")
