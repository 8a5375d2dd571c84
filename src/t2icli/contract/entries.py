"""How a plugin announces what it offers."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from t2icli.store.models import Card

if TYPE_CHECKING:
    from t2icli.contract.recipes import Estimate

T = TypeVar("T")
Size = Literal["tiny", "small", "base", "8gb", "12gb", "24gb"]
"""How large a model to train: for two cores, for many cores, for one GPU; or for a GPU of that memory."""


@dataclass(frozen=True)
class Upstream:
    """Files of another project that are to become a model of ours."""

    files: tuple[Path, ...]
    parts: Mapping[str, tuple[Path, ...]]
    """Files of the parts that travel separately, by the part's name: `--codec FILE`."""


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One thing a plugin offers: how it is called, how it is set, how it is loaded."""

    name: str
    """What the user types: `dalle`."""
    about: str
    """One line for lists and help."""
    settings: type
    """A frozen `msgspec.Struct`; importing it must stay cheap."""
    load: Callable[[Any], T]
    """Settings in, the thing out. Heavy imports happen in here, see `lazily`."""
    convert: Callable[[Upstream, Path], None] | None = None
    """Turn upstream files into a model folder: `t2i models import FILE --as NAME`."""
    adopt: Callable[[Path], Card] | None = None
    """Use a repository of a model hub as it is: the card for a folder of its files, which keep the hub's names.

    It is asked before weights are downloaded: the small files are there, weights may be missing. So it reads the
    configuration, imports nothing heavy, and refuses with a `T2IError` what this backend cannot load. Source, licence
    and hashes are added by the caller. `t2i models pull hf:OWNER/NAME --as NAME`, `t2i models import FOLDER --as NAME`.
    """
    embeds_audio: bool = False
    """Of an embedder: it is an `AudioEmbedder`, and `--audio` may use it."""
    wanted: tuple[str, ...] = ()
    """Patterns of the files of a repository that `convert` takes, where those at its top are not the right ones; of
    `"this.safetensors|that.bin"` the first that is there."""
    sizes: Mapping[Size, Mapping[str, Any]] = field(default_factory=dict)
    """Of a recipe: the settings that make each size, in place of the defaults; those are `--size original`. No sizes
    mean one size. A setting whose default is none may not be among them, except for `loop.max_steps`."""
    suited: Callable[[Size, Mapping[str, Any]], Mapping[str, Any]] | None = None
    """Of a recipe whose sizes depend on its other settings, such as its base: a size and those settings in; what
    differs from `sizes` out."""
    estimate: Callable[[Any], Estimate] | None = None
    """Of a recipe that is too large to be loaded for a look: settings in; what training takes out, without loading."""
    conditions: Collection[str] = ()
    """Of a generator: the pictures it takes besides a prompt, names in `contract.requests.CONDITIONS`. They are in
    `Abilities.conditions` too; here they are known before anything is loaded."""


def lazily(place: str) -> Callable[..., Any]:
    """A function or class that is imported only when it is called: `load=lazily("t2i_noise.noise:Noise")`.

    So the module of a plugin stays quick to import, and what needs torch is in a module beside it.
    """
    return partial(_call, place)


def _call(place: str, *arguments: Any) -> Any:
    return pkgutil.resolve_name(place)(*arguments)


@dataclass(frozen=True)
class Command:
    """A command of `t2i`, listed by name without its module being imported."""

    name: str
    about: str
    """One line for the list of commands: the first of its help."""
    function: str
    """`module:name` of a function whose annotations Typer reads, or of a `typer.Typer` of several commands."""
    panel: str = "Commands of plugins"
    """The heading that it is listed under."""
