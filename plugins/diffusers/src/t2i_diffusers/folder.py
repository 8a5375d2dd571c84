"""A pipeline's folder, read without running anything of it: which classes it names, which files hold its weights."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from t2icli.ground.errors import T2IError
from t2icli.store.models import Card, Model

INDEX = "model_index.json"
LARGEST = 1 << 26
"""Bytes of the largest JSON that is read: a table of shards."""
WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|model)(?:\.([a-z0-9]+))?(?:-\d+-of-\d+)?(?:\.([a-z0-9]+))?\.safetensors"
)
"""A variant stands before the number of a shard, or behind it."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
ITEM_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
"""Of the number formats in a safetensors header; the others have one byte."""


@dataclass(frozen=True)
class Component:
    """A part of a pipeline: the class that its index names, and its sub-folder."""

    name: str
    library: str
    kind: str
    folder: Path

    def weights(self) -> tuple[str | None, list[Path]]:
        """The files of weights, and which variant of them it is: `fp16`, or None."""
        variants: dict[str | None, list[Path]] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            if match := WEIGHTS.fullmatch(path.name):
                variants.setdefault(match[1] or match[2], []).append(path)
        if not variants:
            self._refuse_pickles()
            return None, []
        variant = None if None in variants else sorted(filter(None, variants))[0]
        self._check_shards(variant)
        return variant, variants[variant]

    def _refuse_pickles(self) -> None:
        pickles = [path.name for path in sorted(self.folder.glob("*")) if path.suffix in PICKLES]
        if pickles:
            raise T2IError(
                f"the weights in '{self.folder}' are a pickle, {pickles[0]!r}, which could run any code",
                "use a revision of the repository with safetensors files",
            )

    def _check_shards(self, variant: str | None) -> None:
        """Whether all files that a table of shards names are there."""
        middle = f".{variant}" if variant else ""
        for table in self.folder.glob(f"*.safetensors.index{middle}.json"):
            named = set(read_json(table).get("weight_map", {}).values())
            missing = sorted(name for name in named if not (self.folder / str(name)).is_file())
            if missing:
                raise T2IError(
                    f"'{self.folder}' lacks {len(missing)} of {len(named)} files of weights: {missing[0]}",
                    "download the repository again",
                    code=1,
                )


@dataclass(frozen=True)
class PipelineFolder:
    """A folder that holds a pipeline."""

    folder: Path
    pipeline: str
    """The name of its class."""
    components: tuple[Component, ...]

    def __getitem__(self, name: str) -> Component:
        return next(component for component in self.components if component.name == name)


def locate(model: Model | None, source: Path | None) -> Path:
    """The folder of a model, after its files have been verified, or the one that was named."""
    if model is not None:
        if source is not None:
            raise T2IError(f"{model.name!r} is a model, and '{source}' would be another", "omit -m, or omit source")
        model.files()
        return model.folder
    if source is None:
        raise T2IError(
            "diffusers needs a pipeline", "name a folder with -o source=FOLDER, or a model of `t2i models list` with -m"
        )
    return source


def open_repository(folder: Path) -> PipelineFolder:
    """Read a folder's index; a class or component outside diffusers and transformers is refused."""
    path = folder / INDEX
    if not path.is_file():
        raise T2IError(f"'{folder}' holds no pipeline: {INDEX} is missing", _instead(folder))
    index = read_json(path)
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str) or not pipeline.isidentifier():
        raise T2IError(f"'{path}' names no class of diffusers but {pipeline!r}", "code from a repository is never run")
    return PipelineFolder(folder, pipeline, tuple(_components(folder, index)))


def adopt(folder: Path) -> Card:
    """The card of a repository with a pipeline; weights need not be there yet."""
    repository = open_repository(folder)
    if _is_unknown(repository.pipeline):
        raise unknown(repository)
    return Card(kind="generator", backend="diffusers", about=repository.pipeline.removesuffix("Pipeline"))


def _is_unknown(pipeline: str) -> bool:
    """Whether the installed diffusers has no class of that name, as far as its list of names says without an import."""
    spec = importlib.util.find_spec("diffusers")
    if spec is None or spec.origin is None:
        return False
    return f'"{pipeline}"' not in Path(spec.origin).read_text(encoding="utf-8")


def unknown(repository: PipelineFolder) -> T2IError:
    return T2IError(
        f"'{repository.folder}' needs {repository.pipeline}, which diffusers {version('diffusers')} does not have",
        "update it: t2i install --upgrade diffusers",
    )


def autoencoder_class(folder: Path) -> str:
    """The class that the configuration of an autoencoder names."""
    path = folder / "config.json"
    kind = read_json(path).get("_class_name") if path.is_file() else None
    if not isinstance(kind, str) or not kind.startswith("Autoencoder"):
        raise T2IError(f"'{folder}' holds no autoencoder", "give its folder, or that of a pipeline with a vae/")
    return kind


def adopt_autoencoder(folder: Path) -> Card:
    """The card of a repository with an autoencoder alone."""
    return Card(kind="codec", backend="autoencoder", about=autoencoder_class(folder))


def _instead(folder: Path) -> str:
    if not folder.is_dir():
        return "there is no folder of that name"
    inside = [path.parent.name for path in sorted(folder.glob(f"*/{INDEX}"))]
    if inside:
        return f"did you mean '{folder / inside[0]}'?"
    if any(folder.glob("*.safetensors")):
        return "a single file of weights needs the folder of a pipeline around it"
    return "a pipeline's folder holds model_index.json and a sub-folder for each of its parts"


def _components(folder: Path, index: Mapping[str, Any]) -> Iterator[Component]:
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list) or value == [None, None]:
            continue
        place = folder / name
        if len(value) != 2 or not all(isinstance(word, str) for word in value) or not name.isidentifier():
            raise T2IError(f"'{folder / INDEX}' is damaged at {name!r}", "download the repository again", code=1)
        if not place.is_dir():
            raise T2IError(f"'{folder}' lacks its part {name!r}", "download the repository again", code=1)
        _refuse_code(place, value[1])
        yield Component(name, value[0], value[1], place)


def _refuse_code(place: Path, kind: str) -> None:
    """Classes found by `Auto...` may be ones that a repository brings itself."""
    if not kind.startswith("Auto"):
        return
    for path in place.glob("*config.json"):
        if "auto_map" in read_json(path):
            raise T2IError(
                f"'{path}' needs custom code, and code from a repository is never run",
                "use a repository whose classes are part of diffusers and transformers",
            )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's table, of bounded size."""
    if path.stat().st_size > LARGEST:
        raise T2IError(f"'{path}' is too large to be a table of settings")
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise T2IError(f"'{path}' is damaged: {error}", "download the repository again", code=1) from error


def numbers(path: Path) -> dict[str, int]:
    """How many numbers each tensor of a safetensors file has; a file that is too short is refused."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            table = msgspec.json.decode(stream.read(min(length, LARGEST)), type=dict[str, Any])
        table.pop("__metadata__", None)
        end = max((tensor["data_offsets"][1] for tensor in table.values()), default=0)
        counts = {name: _count(tensor) for name, tensor in table.items()}
    except (msgspec.DecodeError, RecursionError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise T2IError(
            f"'{path}' is damaged: it does not begin like safetensors", "download it again", code=1
        ) from error
    missing = 8 + length + end - path.stat().st_size
    if missing > 0:
        raise T2IError(f"'{path}' is incomplete: {missing} bytes are missing", "download it again", code=1)
    return counts


def _count(tensor: Mapping[str, Any]) -> int:
    begin, end = tensor["data_offsets"]
    return int(end - begin) // ITEM_BYTES.get(tensor["dtype"], 1)
