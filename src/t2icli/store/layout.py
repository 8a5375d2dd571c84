"""Which files of a repository a model needs: those of a diffusers pipeline, or of a single model at the top.

A repository often holds the same weights several times over: as pickles and as safetensors, whole and in shards, in
several number formats, for several frameworks. One set is chosen, and never a program.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from t2icli.ground.errors import T2IError, did_you_mean

PIPELINE = "model_index.json"
SMALL = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".spm")
"""Configuration, vocabularies and templates."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
TERMS = re.compile(r"(licen[cs]e|notice|readme)[^/]*", re.IGNORECASE)
TERMS_BYTES = 1 << 20
WEIGHTS = re.compile(
    r"(?P<stem>[\w-]+?)(\.(?P<variant>[a-z]\w*))?(-(?P<number>\d{5})-of-(?P<total>\d{5}))?(\.(?P<late>[a-z]\w*))?"
    r"\.safetensors"
)
"""`model.safetensors`, `model.fp16.safetensors`, `model-00001-of-00002.safetensors`, and variants with shards in
both orders that there are."""
INDEX = re.compile(r".+\.(safetensors|bin)\.index(\.\w+)?\.json")
USUAL = ("diffusion_pytorch_model", "model")
"""How the two libraries call their weights; others lie there for other programs."""
HALVES = ("bf16", "fp16")
"""The variants to fall back on, the better first."""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository."""

    path: str
    size: int
    sha256: str | None = None
    git: str | None = None
    """Git's own hash of the file, which hubs give for small ones."""

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def in_folder(folder: Path) -> list[HubFile]:
    """The files of a repository that was fetched by other means, such as a snapshot in a hub's cache."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    names = ((path, path.relative_to(folder).as_posix()) for path in paths)
    return [HubFile(name, path.stat().st_size) for path, name in names if not f"/{name}".count("/.")]


def choose(
    files: Sequence[HubFile],
    read: Callable[[str], bytes],
    *,
    variant: str | None = None,
    pickles: bool = False,
    patterns: Sequence[str] = (),
) -> list[HubFile]:
    """The files to fetch; `read` gives the content of a small one.

    `variant` is the number format wanted, where there is one of that name. `pickles` are taken only for who converts
    them. `patterns`, where there are any, name the files in place of these rules.
    """
    if patterns:
        return _sorted(_named(files, patterns))
    terms = [file for file in files if TERMS.fullmatch(file.path) and file.size <= TERMS_BYTES]
    if any(file.path == PIPELINE for file in files):
        chosen = _pipeline(files, read, variant)
    else:
        chosen = _model([file for file in files if not file.folder], variant, pickles)
    return _sorted([*chosen, *terms])


def is_small(file: HubFile) -> bool:
    """Whether it is configuration or terms, no weights."""
    return file.name.endswith(SMALL) or bool(TERMS.fullmatch(file.path))


def _sorted(files: Iterable[HubFile]) -> list[HubFile]:
    return sorted({file.path: file for file in files}.values(), key=lambda file: file.path)


def _named(files: Sequence[HubFile], patterns: Sequence[str]) -> Iterator[HubFile]:
    """Those that fit each pattern; of `this|that` those that fit the first one which some do."""
    for pattern in patterns:
        fitting = (fnmatch.filter([file.path for file in files], each) for each in pattern.split("|"))
        paths = next(filter(None, fitting), [])
        if not paths:
            hint = did_you_mean(pattern, [file.path for file in files])
            raise T2IError(f"no file of the repository is called {pattern!r}", hint)
        yield from (file for file in files if file.path in paths)


def components(content: bytes) -> list[str]:
    """The folders that a `model_index.json` names."""
    try:
        index = json.loads(content)
    except ValueError as error:
        raise T2IError(f"{PIPELINE} of the repository is not JSON: {error}", code=1) from error
    if not isinstance(index, dict):
        raise T2IError(f"{PIPELINE} of the repository names no parts", code=1)
    parts = {name: value for name, value in index.items() if not name.startswith("_") and isinstance(value, list)}
    return [name for name, value in parts.items() if len(value) == 2 and all(isinstance(word, str) for word in value)]


def _pipeline(files: Sequence[HubFile], read: Callable[[str], bytes], variant: str | None) -> Iterator[HubFile]:
    yield from (file for file in files if file.path == PIPELINE)
    for name in components(read(PIPELINE)):
        inside = [file for file in files if file.folder == name]
        if not inside:
            raise T2IError(f"{PIPELINE} of the repository names {name!r}, but it has no such folder", code=1)
        yield from _model(inside, variant, pickles=False)


def _model(files: Sequence[HubFile], variant: str | None, pickles: bool) -> Iterator[HubFile]:
    """The small files of one folder, and one set of weights."""
    yield from (file for file in files if file.name.endswith(SMALL) and not INDEX.fullmatch(file.name))
    weights = _sets(files)
    others = [file for file in files if file.name.endswith(PICKLES)]
    if weights:
        yield from _complete(files, weights[_variant(weights, variant)])
    elif pickles and others:
        yield _only(others)
    elif others:
        raise T2IError(
            f"the repository has {others[0].path} as a pickle only, and no safetensors",
            "pickles are not fetched: choose a repository with safetensors",
            code=1,
        )


def _sets(files: Sequence[HubFile]) -> dict[str, list[HubFile]]:
    """The sets of weights of one folder by variant; "" is the plain one."""
    matches = [(file, match) for file in files if (match := WEIGHTS.fullmatch(file.name))]
    stems = {match["stem"] for _, match in matches}
    stem = next((usual for usual in USUAL if usual in stems), None)
    if stem is None and len(stems) > 1:
        raise T2IError(
            f"the repository has several weights and none is the usual one: {', '.join(sorted(stems)[:6])}",
            "name the ones wanted: --file NAME",
        )
    sets: dict[str, list[HubFile]] = {}
    for file, match in matches:
        if stem in (None, match["stem"]):
            sets.setdefault(match["variant"] or match["late"] or "", []).append(file)
    return sets


def _variant(sets: dict[str, list[HubFile]], wanted: str | None) -> str:
    """What is asked for, else the plain weights, else the better half of the numbers."""
    return next((name for name in (wanted, "", *HALVES) if name in sets), min(sets))


def _complete(files: Sequence[HubFile], chosen: Sequence[HubFile]) -> Iterator[HubFile]:
    """One file of weights, or all its shards and their index."""
    single = next((file for file in chosen if not re.search(r"\d{5}-of-\d{5}", file.name)), None)
    if single is not None:
        yield single
        return
    names = {file.name for file in chosen}
    total = max(int(re.findall(r"-of-(\d{5})", name)[0]) for name in names)
    for number in range(1, total + 1):
        expected = re.sub(r"\d{5}-of-\d{5}", f"{number:05}-of-{total:05}", chosen[0].name)
        if expected not in names:
            raise T2IError(f"the repository is incomplete: {expected} of {chosen[0].folder or 'it'} is missing", code=1)
    yield from chosen
    match = WEIGHTS.fullmatch(chosen[0].name)
    assert match is not None
    variant = match["variant"] or match["late"]
    yield from (file for file in files if _is_index(file.name, match["stem"], variant))


def _is_index(name: str, stem: str, variant: str | None) -> bool:
    """Whether it lists the shards of this set: `model.safetensors.index.json`, `model.safetensors.index.fp16.json`."""
    if variant is None:
        return name == f"{stem}.safetensors.index.json"
    return name in (f"{stem}.safetensors.index.{variant}.json", f"{stem}.{variant}.safetensors.index.json")


def _only(files: Sequence[HubFile]) -> HubFile:
    usual = [file for file in files if file.name in ("pytorch_model.bin", "open_clip_pytorch_model.bin")]
    if len(usual or files) != 1:
        raise T2IError(
            f"the repository has several weights: {', '.join(file.path for file in files[:6])}",
            "name the one wanted: --file NAME",
        )
    return (usual or files)[0]
