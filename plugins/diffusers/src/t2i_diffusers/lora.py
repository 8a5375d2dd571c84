"""LoRAs beside a pipeline's weights: loaded once, chosen anew for each batch."""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from t2i_diffusers.folder import INDEX, open_repository
from t2i_diffusers.libraries import quiet
from t2i_diffusers.load import DAMAGED, first_line
from t2i_diffusers.memory import DENOISERS
from t2icli.ground.errors import T2IError
from t2icli.registry import discovery
from t2icli.store import models, verified
from t2icli.store.models import Model

if TYPE_CHECKING:
    from t2i_diffusers import Settings

FILE = "pytorch_lora_weights.safetensors"
ANOTHER_BASE = "a LoRA fits only the base that it was trained for"


@dataclass(frozen=True)
class Base:
    """The pipeline that a LoRA is for."""

    word: str
    """How it was named."""
    model: Model | None
    folder: Path

    @cached_property
    def identity(self) -> str:
        """One hash for the weights of the denoiser, which are what a LoRA fits to."""
        repository = open_repository(self.folder)
        parts = [component for component in repository.components if component.name in DENOISERS]
        files = [path for component in parts for path in component.weights()[1]]
        return hashlib.sha256("".join(map(verified.sha256, files)).encode()).hexdigest()

    def settings(self) -> Settings:
        from t2i_diffusers import Settings

        return Settings(model=self.model, source=None if self.model else self.folder)


def find_base(word: str) -> Base:
    """The pipeline that a folder or a model's name means."""
    if (Path(word).expanduser() / INDEX).is_file() and models.folder_of(Path(word)) is None:
        return Base(str(Path(word).expanduser().absolute()), None, Path(word).expanduser())
    model = models.find(word, discovery.installed().sources)
    model.check_made_for("diffusers")
    return Base(word, model, model.folder)


def with_base(settings: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Settings that open a pipeline, and the LoRA that is always in use: where the model is a LoRA, its base's."""
    model = settings.model
    if model is None or FILE not in model.card.files:
        return settings, ()
    own = model.card.config["base"]
    base = find_base(str(settings.source or own["name"]))
    if base.identity != own["sha256"]:
        raise T2IError(f"the LoRA {model.name!r} was trained on another base than {base.word!r}", ANOTHER_BASE)
    return msgspec.structs.replace(settings, model=base.model, source=base.folder), (str(model.file(FILE)),)


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
