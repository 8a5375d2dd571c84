"""The work behind `t2i doctor`: what works on this machine, what does not, and why."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shlex
import shutil
import sys
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

from t2icli.ground import machine
from t2icli.ground.errors import T2IError
from t2icli.pipelines import install
from t2icli.pipelines import models as of_models
from t2icli.registry import discovery
from t2icli.store import models

SLOW_SECONDS = 0.5
FEW_CORES = 4
LITTLE_SPACE = 5_000_000_000


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    topic: str
    state: Literal["ok", "note", "broken"]
    """`note`: all works, but could work better."""
    says: str
    hint: str = ""


def examine(*, network: bool = False, tell: Callable[[str], None] = lambda _: None) -> Iterator[Finding]:
    """Everything, one finding after another. A check that fails itself is a finding too."""
    checks = [
        _python,
        _packages,
        _torch,
        _cores,
        _extras,
        _plugins,
        lambda: _models(tell),
        _home,
        _locale,
        _installer,
        _speech,
    ]
    for check in [*checks, *([_network] if network else [])]:
        try:
            yield from check()
        except Exception as error:
            name = getattr(check, "__name__", "models").strip("_")
            yield Finding(name, "broken", f"the check failed: {type(error).__name__}: {error}")


def _python() -> Iterator[Finding]:
    says = f"{platform.python_version()} in {sys.prefix}, {platform.system()} {platform.machine()}"
    yield Finding("python", "ok", says)
    yield Finding("t2icli", "ok", importlib.metadata.version("t2icli"))


def _packages() -> Iterator[Finding]:
    """The distributions that cannot be done without."""
    wrong = _problems(install.requirements())
    if wrong:
        hint = f"run: t2i install {' '.join(map(shlex.quote, wrong))}"
        yield Finding("packages", "broken", "; ".join(wrong.values()), hint)
    else:
        yield Finding("packages", "ok", "everything needed is installed")


def _problems(requirements: Iterable[str]) -> dict[str, str]:
    """Those that are not met, each with what is wrong."""
    return {requirement: problem for requirement in requirements if (problem := _problem(requirement))}


def _problem(requirement: str) -> str | None:
    from packaging.requirements import Requirement

    parsed = Requirement(requirement)
    try:
        here = importlib.metadata.version(parsed.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{parsed.name} is missing"
    return (
        None if parsed.specifier.contains(here, prereleases=True) else f"{parsed.name} is {here}, needed {requirement}"
    )


def _extras() -> Iterator[Finding]:
    """What only some commands need."""
    for extra in importlib.metadata.metadata("t2icli").get_all("Provides-Extra") or []:
        missing = _problems(install.requirements(extra))
        if extra != "dev" and missing:
            ours = [name for name in missing if name.startswith("t2icli-")]
            hint = discovery.where_to_get(ours[0]) if ours else f"run: t2i install 't2icli[{extra}]'"
            yield Finding(f"extra {extra}", "note", "; ".join(missing.values()), hint)


def _torch() -> Iterator[Finding]:
    try:
        import torch

        from t2icli.nn.devices import has_bf16, pick_device
    except Exception as error:
        yield Finding("torch", "broken", f"{type(error).__name__}: {error}", "see https://pytorch.org to install it")
        return
    device = pick_device("auto")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    yield Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")
    has = f"{device} ({name}), with bf16" if has_bf16(device) else f"{device} ({name}), without bf16"
    yield Finding("device", "ok", has)
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        yield Finding(
            "device", "note", "there is an NVIDIA driver, but this torch cannot use it", "install a CUDA build"
        )
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # the common one: made for another torch
        yield Finding("torchvision", "broken", f"{type(error).__name__}: {error}", "install the one for this torch")


def _cores() -> Iterator[Finding]:
    cores = machine.cores()
    waits = os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive" or "GOMP_SPINCOUNT" in os.environ
    if cores <= FEW_CORES and not waits:
        hint = "export OMP_WAIT_POLICY=passive, or idle threads take the time of busy ones"
        yield Finding("cores", "note", f"only {cores}", hint)
    else:
        yield Finding("cores", "ok", str(cores))


def _plugins() -> Iterator[Finding]:
    here = discovery.installed()
    for broken in here.broken:
        command = discovery.removal(broken.distribution)
        hint = f"update it, or run: {command}" if command else ""
        yield Finding(f"plugin {broken.plugin}", "broken", f"{broken.distribution}: {broken.reason}", hint)
    for name, seconds in here.seconds.items():
        if seconds > SLOW_SECONDS:
            hint = "its author should import what is slow inside Entry.load"
            yield Finding(f"plugin {name}", "note", f"slows every command by {seconds:.1f} s", hint)
    yield Finding("plugins", "ok", f"{len(here.seconds)} work, offering {sum(map(len, here.offers.values()))} things")


def _models(tell: Callable[[str], None]) -> Iterator[Finding]:
    checks = of_models.check(tell=tell)
    for check in checks:
        if check.problems:
            yield Finding(
                f"model {check.name}", "broken", "; ".join(check.problems), "delete it and get it again, as before"
            )
    for backend, name in models.defaults().items():
        try:
            of_models.find(name)
        except T2IError as error:
            yield Finding(f"default {backend}", "broken", error.message, f"choose: t2i models default {backend} NAME")
    whole = sum(not check.problems for check in checks)
    yield Finding("models", "ok" if checks else "note", f"{whole} whole", "" if checks else "see: t2i models list")


def _home() -> Iterator[Finding]:
    home = models.home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            free = shutil.disk_usage(home).free
    except OSError as error:
        yield Finding("home", "broken", f"{home}: {error.strerror}", "set T2I_HOME to a folder that can be written")
        return
    state: Literal["ok", "note"] = "ok" if free > LITTLE_SPACE else "note"
    yield Finding("home", state, f"{home}, {free / 1e9:.1f} GB free", "" if state == "ok" else "models may not fit")


def _locale() -> Iterator[Finding]:
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("-", "") != "utf8":
        yield Finding("locale", "note", f"file names are {encoding}", "export LC_ALL=C.UTF-8")


def _installer() -> Iterator[Finding]:
    if importlib.util.find_spec("pip") is None and shutil.which("uv") is None:
        yield Finding("installer", "note", "neither pip nor uv", f"for t2i install: {sys.executable} -m ensurepip")


def _speech() -> Iterator[Finding]:
    """Training an embedder of sounds on captions needs something that speaks."""
    if not any(offer.entry.embeds_audio for offer in discovery.installed().offers["embedder"].values()):
        return
    if shutil.which("espeak-ng"):
        yield Finding("espeak-ng", "ok", "captions can be spoken")
    else:
        hint = "run: sudo apt install espeak-ng (macOS: brew install espeak-ng)"
        yield Finding("espeak-ng", "note", "not installed: t2i train wavbrivl needs data with sounds", hint)


def _network() -> Iterator[Finding]:
    """Whether the hosts that models would come from take a connection."""
    from t2icli.store import hub
    from t2icli.store.download import reachable

    remotes = [remote for source in discovery.installed().sources for remote in of_models.remotes(source)]
    urls = [*hub.hosts(), *(url for remote in remotes for url in remote.urls)]
    by_host = {urllib.parse.urlsplit(url).netloc: url for url in urls}
    hosts = sorted(by_host)
    for host, answers in zip(hosts, reachable([by_host[host] for host in hosts]), strict=True):
        yield Finding(f"network {host}", "ok" if answers else "note", "answers" if answers else "silent")
