"""Models and processors of transformers from folders: nothing downloaded, nothing executed, nothing made up."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from t2i_transformers import repository
from t2icli.ground.errors import T2IError

DAMAGED = (
    *(OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, AssertionError, ImportError),
    *(NotImplementedError, SafetensorError),
)
"""What transformers raises where a file or a configuration is not as it expects."""
SHOWN = 5
"""Names of missing tensors in a message."""

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings of libraries about their own future."""
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning):
            warnings.simplefilter("ignore", category)
        yield


def network(auto: Any, folder: Path, dtype: torch.dtype, device: torch.device) -> Any:
    """The network of a folder, by an `Auto...` class; tensors that its files lack are an error that names them."""
    kind = repository.model_type(folder)
    repository.refuse_pickles(folder)
    with quiet():
        try:
            model, report = auto.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except DAMAGED as error:
            raise T2IError(f"'{folder}', a {kind}, cannot be loaded: {first_line(error)}", _hint(error)) from error
    missing = sorted(map(str, report["missing_keys"]))
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise T2IError(
            f"the weights in '{folder}' lack {len(missing)} tensors that its config.json requires: "
            f"{', '.join(missing[:SHOWN])}{more}",
            "download the repository again",
            code=1,
        )
    return model.eval().requires_grad_(False).to(device)


def processor(folder: Path) -> Any:
    """What makes a model's inputs of texts and pictures."""
    with quiet():
        try:
            return transformers.AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except DAMAGED as error:
            raise T2IError(
                f"the processor in '{folder}' cannot be loaded: {first_line(error)}", _hint(error)
            ) from error


def _hint(error: Exception) -> str:
    if isinstance(error, ImportError) and (package := re.search("`([a-z0-9_-]+)`", str(error))):
        return f"run: t2i install {package[1]}"
    if "trust_remote_code" in str(error) or "custom code" in str(error):
        return "code from a repository is never run; use a model that is part of transformers"
    return "download the repository again, or update: t2i install --upgrade transformers"


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
