"""What one server takes at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerLimits:
    """Each bounds memory or time; what is beyond is refused, with the reason."""

    pictures: int = 64
    """Candidates of one request."""
    queue: int = 1024
    """Candidates of all requests, waiting or being drawn; beyond them the answer is 429."""
    prompt: int = 32_000
    """Characters."""
    pixels: int = 4 << 20
    """Of a picture to draw."""
    json: int = 1 << 20
    """Bytes of a body without pictures."""
    upload: int = 32 << 20
    """Bytes of a body with pictures."""
    bodies: int = 256 << 20
    """Bytes of all bodies together; beyond them the answer is 429."""
    files: int = 64
    """Pictures in one body."""
    texts: int = 256
    """Texts in one body."""
    seconds: float = 600
    """From a request to its answer."""
    beat: float = 15
    """Seconds after which a stream without events sends a comment, so that no proxy takes it for dead."""
    slow: float = 30
    """Seconds that a client may take for the head of its request, and again for its body."""
    slow_upload: float = 300
    """The same for a body with pictures."""


USUAL = ServerLimits()
