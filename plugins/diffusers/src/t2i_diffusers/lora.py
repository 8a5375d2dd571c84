"""LoRAs beside a pipeline's weights: loaded once, selected for each batch."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from t2i_diffusers.libraries import quiet
from t2i_diffusers.load import DAMAGED, first_line
from t2icli.ground.errors import T2IError
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.store.models import Model

if TYPE_CHECKING:
    from t2i_diffusers import Settings

FILE = "pytorch_lora_weights.safetensors"
BASE = "base"
"""The part of a LoRA's model that is the pipeline it was trained beside."""
WITHOUT_CAPTION = "learnt without words"
ANOTHER_BASE = "a LoRA fits only the base that it was trained for"


def with_base(settings: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Settings that open a pipeline, and the LoRA that is always in use: where the model is a LoRA, its base's."""
    model = settings.model
    if model is None or BASE not in model.bases:
        return settings, ()
    return msgspec.structs.replace(settings, model=_base(model)), (str(model.file(FILE)),)


def _base(model: Model) -> Model:
    try:
        return model.part(BASE)
    except T2IError as error:
        way = f"to use it with another base anyway: -m BASE -o lora={model.name}"
        raise T2IError(error.message, "\n  ".join(filter(None, [error.hint, way])), error.code) from error


def adapt(denoiser: Any, rank: int, targets: Sequence[str]) -> None:
    """Put fresh matrices of a LoRA beside these layers, which alone are to be trained."""
    from peft import LoraConfig

    denoiser.requires_grad_(False)
    with quiet():
        warnings.filterwarnings("ignore", "TorchaoLoraLinear", UserWarning)  # about merging, which is not done here
        denoiser.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets)))


class Loras:
    """Those of one pipeline. Without any in use its pictures are what they were before."""

    def __init__(self, pipeline: Any, always: tuple[str, ...] = ()) -> None:
        self.pipeline, self.always = pipeline, always
        self.names: dict[str, str] = {}
        """What peft calls each, by the word that names it."""
        self.in_use: tuple[str, ...] | None = ()
        """None after one was refused."""

    def use(self, words: tuple[str, ...]) -> None:
        """Exactly these, given as NAME or NAME:WEIGHT, beside those that are always in use."""
        words = (*self.always, *words)
        if words == self.in_use:
            return
        self.in_use, chosen = None, [split(word) for word in words]
        with quiet():
            warnings.simplefilter("ignore", UserWarning)  # peft's, about there being several
            for name, _ in chosen:
                self._load(name)
            if chosen:
                self.pipeline.enable_lora()
                self.pipeline.set_adapters([self.names[name] for name, _ in chosen], [weight for _, weight in chosen])
            elif self.names:
                self.pipeline.disable_lora()
        self.in_use = words

    def _load(self, name: str) -> None:
        if name in self.names:
            return
        kind = type(self.pipeline).__name__
        if not hasattr(self.pipeline, "load_lora_weights"):
            raise T2IError(f"{kind} takes no LoRA", "omit lora")
        if importlib.util.find_spec("peft") is None:
            raise T2IError("LoRAs need the package peft, which is not installed", "run: t2i install peft")
        path, adapter = find(name), f"lora{len(self.names)}"
        try:
            self.pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name=adapter)
        except DAMAGED as error:
            raise T2IError(f"the LoRA '{path}' does not fit {kind}: {first_line(error)}", ANOTHER_BASE) from error
        if adapter not in {each for known in self.pipeline.get_list_adapters().values() for each in known}:
            raise T2IError(f"the LoRA '{path}' holds nothing for {kind}", ANOTHER_BASE)
        self.names[name] = adapter


def split(word: str) -> tuple[str, float]:
    """`NAME:0.8` as name and weight; the weight of a bare name is 1."""
    name, colon, weight = word.rpartition(":")
    if not colon:
        return word, 1.0
    try:
        return name, float(weight)
    except ValueError:
        return word, 1.0


def find(word: str) -> Path:
    """The file that a word means: a path, a folder with the usual name in it, or a model."""
    path = Path(word).expanduser()
    if path.suffix == ".safetensors" and path.is_file():
        return path
    if (path / FILE).is_file():
        return path / FILE
    if models.folder_of(path) is None and (path.exists() or "/" not in word):
        raise T2IError(f"there is no LoRA {word!r}", f"give a .safetensors file, a folder with {FILE}, or a model")
    return models.find(word, discovery.installed().sources).file(FILE)
