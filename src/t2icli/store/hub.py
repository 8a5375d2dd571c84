"""Repositories of model hubs: which files they hold, where those can be had, under which licence.

The listing gives every file's size and hash, so that any mirror may send the bytes. A branch such as `main` is resolved
to a commit once; what is fetched is that commit, even if the branch moves meanwhile.
"""

from __future__ import annotations

import json
import re
import tempfile
import urllib.error
import urllib.parse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from t2icli.ground import toml
from t2icli.ground.errors import T2IError
from t2icli.ground.home import home
from t2icli.store import download, web
from t2icli.store.layout import HubFile
from t2icli.store.models import is_inside
from t2icli.store.sources import RemoteFile

SETTINGS = "hub.toml"
NAME = r"[A-Za-z0-9][\w.-]*"
REFERENCE = re.compile(rf"(?P<hub>hf|hf-hub|ms):(?P<id>{NAME}(/{NAME})?)(@(?P<revision>{NAME}(/{NAME})*))?", re.ASCII)
PAGE = re.compile(
    rf"https?://(www\.)?(?P<host>huggingface\.co|hf-mirror\.com|modelscope\.cn)/(models/)?(?P<id>{NAME}/{NAME})"
    r"(/tree/(?P<revision>[\w./-]+?))?(/files|/summary)?/?",
    re.ASCII,
)
"""The address of a repository, as browsers show it."""
ANSWER = 64 << 20
"""Bytes of an answer of a hub's API, or of a small file, above which it counts as broken."""
NONCOMMERCIAL = re.compile(r"(^|[^a-z])(nc|non-?commercial|research)([^a-z]|$)", re.IGNORECASE)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `hub.toml` in t2i's home says; every line may be left out."""

    mirrors: tuple[str, ...] = ("https://hf-mirror.com",)
    """Hosts with the addresses of huggingface.co, asked in this order if the hub itself does not answer."""
    modelscope: str = "https://modelscope.cn"
    """Asked last, also for `hf:` names, since many repositories are on both; an empty text leaves it out."""


def settings() -> Settings:
    """The user's choice of hosts."""
    path = home() / SETTINGS
    if not path.is_file():
        return Settings()
    try:
        read = msgspec.convert(toml.read(path), Settings)
        return Settings(tuple(mirror.rstrip("/") for mirror in read.mirrors), read.modelscope.rstrip("/"))
    except msgspec.ValidationError as error:
        raise T2IError(
            f"'{path}' is wrong: {error}", 'it may hold: mirrors = ["https://..."], modelscope = "..."'
        ) from error


@dataclass(frozen=True)
class Reference:
    """The name of a repository."""

    hub: Literal["hf", "ms"]
    id: str
    """`OWNER/NAME`"""
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.hub}:{self.id}{f'@{self.revision}' if self.revision else ''}"

    @property
    def title(self) -> str:
        return self.id.rpartition("/")[2]


def parse(word: str) -> Reference | None:
    """`hf:OWNER/NAME`, `hf:OWNER/NAME@REVISION`, `ms:OWNER/NAME` or the address of its page; None for other words.

    open_clip writes `hf-hub:` for `hf:`.
    """
    if page := PAGE.fullmatch(word):
        return Reference("ms" if "modelscope" in page["host"] else "hf", page["id"], page["revision"])
    match = REFERENCE.fullmatch(word)
    if match is None and word.startswith(("hf:", "hf-hub:", "ms:", "http://", "https://")):
        raise T2IError(f"{word!r} names no repository", "write hf:OWNER/NAME, hf:OWNER/NAME@REVISION or ms:OWNER/NAME")
    return Reference("ms" if match["hub"] == "ms" else "hf", match["id"], match["revision"]) if match else None


@dataclass(frozen=True)
class Snapshot:
    """A repository as it was when it was listed."""

    reference: Reference
    """With the commit as its revision, where the hub reports it."""
    files: tuple[HubFile, ...]
    licence: str
    places: tuple[str, ...]
    """Where its files can be had: what stands before a file's path in its addresses."""

    def remote(self, file: HubFile) -> RemoteFile:
        path = urllib.parse.quote(file.path)
        return RemoteFile(tuple(f"{place}{path}" for place in self.places), file.sha256, file.size, file.path, file.git)

    def read(self, path: str) -> bytes:
        """The content of a small file."""
        (file,) = (file for file in self.files if file.path == path)
        if file.size > ANSWER:
            raise T2IError(f"{path} of {self.reference} has {file.size} bytes: too many for its kind", code=1)
        with tempfile.TemporaryDirectory() as folder:
            return download.fetch(self.remote(file), Path(folder)).read_bytes()


def is_noncommercial(licence: str) -> bool:
    """Whether a licence's name says that commercial use is forbidden."""
    return bool(NONCOMMERCIAL.search(licence))


def hosts() -> list[str]:
    """Where repositories of Hugging Face are asked for, in this order."""
    chosen = settings()
    return [*dict.fromkeys([web.endpoint(), *chosen.mirrors]), *filter(None, [chosen.modelscope])]


def snapshot(reference: Reference) -> Snapshot:
    """Ask for the list of files: the hub first, then its mirrors, then ModelScope."""
    web.check_online(str(reference))
    modelscope = settings().modelscope
    places = hosts() if reference.hub == "hf" else [modelscope] if modelscope else []
    hubs = [place for place in places if place != modelscope]
    problems = []
    for place, answers in zip(places, download.reachable(places), strict=True):
        try:
            if not answers:
                raise TimeoutError("no answer")
            if place in hubs:
                snapshot = _of_hub(place, reference, [place, *(hub for hub in hubs if hub != place)], modelscope)
                if place != hubs[0]:
                    _warn_of_another(reference, place)
                return snapshot
            return _of_modelscope(place, reference)
        except urllib.error.HTTPError as error:
            error.close()
            if (refused := web.refusal(error)) is not None:
                raise refused from error
            problems.append(f"{web.host(place)}: {error.code} {error.reason}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            problems.append(f"{web.host(place)}: {getattr(error, 'reason', None) or error or type(error).__name__}")
    hint = "\n  ".join([*problems, f"other hosts can be named in {home() / SETTINGS}, or as HF_ENDPOINT"])
    raise web.CannotDownload(f"cannot list the files of {reference}", hint, code=1)


def _warn_of_another(reference: Reference, place: str) -> None:
    """Its list of files is what everything is compared with, so it is named."""
    warnings.warn(
        f"the hub does not answer: {reference.id} is downloaded from {web.host(place)}", UserWarning, stacklevel=3
    )


def _of_hub(place: str, reference: Reference, hubs: Sequence[str], modelscope: str) -> Snapshot:
    branch = urllib.parse.quote(reference.revision or "main", safe="")
    about = _json(f"{place}/api/models/{reference.id}/revision/{branch}")[0]
    commit = str(about["sha"])
    if not re.fullmatch(r"[0-9a-f]{7,64}", commit):
        raise ValueError("its answer contains no commit")
    elsewhere = [f"{modelscope}/models/{reference.id}/resolve/master/"] if modelscope else []
    return Snapshot(
        Reference("hf", reference.id, commit),
        tuple(_hub_files(f"{place}/api/models/{reference.id}/tree/{commit}")),
        _hub_licence(about),
        (*(f"{hub}/{reference.id}/resolve/{commit}/" for hub in hubs), *elsewhere),
    )


def _hub_files(tree: str) -> list[HubFile]:
    """All pages of the listing."""
    files, query = [], "recursive=true"
    while True:
        entries, following = _json(f"{tree}?{query}")
        for entry in entries:
            if entry["type"] == "file":
                large = entry.get("lfs") or {}
                sha256 = large.get("oid")
                files.append(_listed(entry["path"], large.get("size", entry["size"]), sha256, entry.get("oid")))
        if not following:
            return files
        query = urllib.parse.urlsplit(following).query  # of the same place: a mirror may name the hub itself here


def _listed(path: Any, size: Any, sha256: Any, git: Any = None) -> HubFile:
    if not (isinstance(path, str) and is_inside(path) and isinstance(size, int) and size >= 0):
        raise ValueError(f"it lists a file {path!r} that no folder can hold")
    sha256 = sha256 if isinstance(sha256, str) and re.fullmatch(r"[0-9a-f]{64}", sha256) else None
    git = git if isinstance(git, str) and re.fullmatch(r"[0-9a-f]{40}", git) and sha256 is None else None
    return HubFile(path, size, sha256, git)


def _hub_licence(about: dict[str, Any]) -> str:
    card = about.get("cardData") or {}
    named = card.get("license")
    if named in (None, "other", ["other"]) and card.get("license_name"):
        named = card["license_name"]
    tags = (str(tag).removeprefix("license:") for tag in about.get("tags") or () if str(tag).startswith("license:"))
    return ", ".join(named) if isinstance(named, list) else str(named or next(tags, ""))


def _of_modelscope(place: str, reference: Reference) -> Snapshot:
    if reference.hub == "hf" and reference.revision is not None:
        raise ValueError("revisions have other names there")
    revision = reference.revision or "master"
    api = f"{place}/api/v1/models/{reference.id}"
    query = urllib.parse.urlencode({"Revision": revision, "Recursive": "true"})
    try:
        data = _json(f"{api}/repo/files?{query}")[0]["Data"]
        about = _json(api)[0].get("Data") or {}
    except urllib.error.HTTPError as error:
        if error.code == 404 and reference.hub == "ms":
            raise _not_on_modelscope(reference, revision) from error
        raise
    listed = data["Files"]
    if listed is None:  # so it answers for a revision that there is not
        raise _not_on_modelscope(reference, revision)
    if reference.hub == "hf":
        _warn_of_another(reference, place)
    blobs = [file for file in listed if file["Type"] != "tree"]
    commit = _commit(data.get("LatestCommitter") or {}, blobs) or revision
    return Snapshot(
        Reference("ms", reference.id, commit),
        tuple(_listed(file["Path"], file["Size"], file.get("Sha256")) for file in blobs),
        str(about.get("License") or ""),
        tuple(
            f"{place}/models/{reference.id}/resolve/{urllib.parse.quote(each, safe='')}/"
            for each in dict.fromkeys((commit, revision))
        ),
    )


def _not_on_modelscope(reference: Reference, revision: str) -> T2IError:
    return T2IError(
        f"ModelScope has no repository {reference.id!r} of revision {revision!r}", "check the name and the revision"
    )


def _commit(latest: dict[str, Any], files: Sequence[dict[str, Any]]) -> str | None:
    """The newest commit: the listing abbreviates it, and the files that it changed have it in full."""
    short = str(latest.get("Id") or latest.get("ShortId") or "")
    known = (short, *(str(file.get("Revision") or "") for file in files))
    full = (each for each in known if short and each.startswith(short))
    return next((each for each in full if re.fullmatch("[0-9a-f]{40}", each)), None)


def _json(url: str) -> tuple[Any, str]:
    """The document, and the address of the next page, if there is one."""
    with web.get(url) as answer:
        content = answer.read(ANSWER + 1)
        following = re.search(r'<([^>]+)>\s*;\s*rel="?next"?', answer.headers.get("Link", ""))
    if len(content) > ANSWER:
        raise ValueError("its answer does not end")
    return json.loads(content), following[1] if following else ""
