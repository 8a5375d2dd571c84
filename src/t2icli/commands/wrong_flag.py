"""A flag that no command has may be a setting of the backend: `--steps 20` is `-o steps=20`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from t2icli.ground.errors import T2IError
from t2icli.registry import defaults, discovery, settings

KINDS = {
    "generate": "generator",
    "rerank": "ranker",
    "search": "embedder",
    "caption": "captioner",
    "train": "recipe",
    "prepare": "dataset",
}
"""By command, whose settings `-o` sets."""


FLAGS = {"ranker": "-r", "embedder": "-r", "generator": "-m", "captioner": "-m"}
"""How an entry of a kind is named; a recipe and a dataset are arguments."""


def explained(problem: Exception, argv: Sequence[str]) -> Exception:
    """An error about an unknown flag with the setting that may be meant; every other error as it is."""
    flag, context = getattr(problem, "option_name", None), getattr(problem, "ctx", None)
    if type(problem).__name__ != "NoSuchOption" or not flag or context is None:
        return problem
    command = context.command_path.split()[-1]
    if command not in KINDS:
        return problem
    return T2IError(f"{context.command_path} has no flag {flag}", _hint(problem, command, flag, argv))


def _hint(problem: Any, command: str, flag: str, argv: Sequence[str]) -> str:
    kind, name = KINDS[command], flag.lstrip("-").replace("-", "_")
    chosen = _chosen(kind, argv)
    having = dict(_having(kind, name))
    if chosen in having:
        return f"it is a setting of {kind} {chosen!r}: -o {having[chosen]}=..."
    if having:
        other, setting = next(iter(having.items()))
        word = f"{FLAGS[kind]} {other}" if kind in FLAGS else f"t2i {command} {other}"
        without = f"{kind} {chosen!r} has no such setting, but {other!r} has" if chosen else f"{kind} {other!r} has it"
        return f"{without}: {word} -o {setting}=..."
    near = getattr(problem, "possibilities", None)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{meant}see: t2i {command} --help{f', t2i plugins {kind} {chosen}' if chosen else ''}"


def _having(kind: str, name: str) -> Iterator[tuple[str, str]]:
    """The entries that have a setting of this name, be it in a table: `loop.lr`."""
    for entry, offer in sorted(discovery.installed().offers[kind].items()):
        known = [field.name for field in settings.describe(offer.entry.settings)]
        option = next((full for full in known if full == name or full.endswith(f".{name}")), None)
        if option is not None:
            yield entry, option


def _chosen(kind: str, argv: Sequence[str]) -> str | None:
    """The entry that the words name, else the one that is used when none is named."""
    offers = discovery.installed().offers[kind]
    named = (word.partition("=")[0].partition("/")[0] for word in argv[1:])
    name = next((word for word in named if word in offers), None)
    if name is not None or kind not in FLAGS:
        return name
    try:
        return defaults.name("ranker" if kind == "embedder" else kind)
    except T2IError:
        return None
