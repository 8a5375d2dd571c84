"""diffusers and transformers, imported without their notes, bars and warnings about their own future.

What matters among those is checked here, and shown in our own words.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings of libraries about their own future."""
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning):
            warnings.simplefilter("ignore", category)
        yield


# torchao's notes are written while it is imported, by a logger of torch that nothing else here uses.
logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
with quiet():
    import diffusers
    import transformers

for library in (diffusers, transformers):
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()

__all__ = ["diffusers", "quiet", "transformers"]
