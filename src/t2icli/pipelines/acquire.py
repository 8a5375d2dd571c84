"""How models come into the store from files that are here: converted, adopted, or copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.pipelines import adopt, making
from t2icli.pipelines import models as work
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.store.models import Model


def import_files(
    backend: str | None,
    files: Sequence[Path],
    *,
    name: str | None = None,
    parts: Mapping[str, Sequence[Path]] | None = None,
) -> Model:
    """Convert files of another project, or take a finished model folder, into the store."""
    folder = models.folder_of(files[0]) if len(files) == 1 else None
    finished = models.open_model(folder) if folder is not None else None
    upstream = Upstream(
        tuple(map(_readable, files)),
        {part: tuple(map(_file_or_model, paths)) for part, paths in (parts or {}).items()},
    )
    if backend is None and finished is None:
        raise T2IError(
            "cannot tell which backend the files are for",
            f"add --as BACKEND, one of: {', '.join(making.backends())}",
        )
    owner = backend or finished.card.backend  # type: ignore[union-attr]
    full = making.full_name(owner, name or making.as_name(_title(files[0])))
    with making.making(full) as draft:
        if draft is None:
            raise T2IError(f"there is already a model {full!r}", "choose another name with --name")
        if finished is not None:
            _take(finished, owner, draft)
        elif len(files) == 1 and files[0].is_dir() and (entry := making.adopters().get(owner)) is not None:
            adopt.adopt_folder(entry, files[0], draft)
        else:
            making.convert(making.converter(owner), upstream, draft)
    return models.open_model(models.store() / full, full)


def _take(model: Model, backend: str, folder: Path) -> None:
    """Copy a model after checking every hash on its card."""
    model.check_made_for(backend)
    if problems := list(work.problems(model)):
        raise T2IError(problems[0], code=1)
    models.copy(model, folder)


def _file_or_model(path: Path) -> Path:
    """A part is given as a file, or as a model by its folder or its name in the store."""
    if not path.exists() and path.as_posix() in (places := models.places(discovery.installed().sources)):
        return places[path.as_posix()]
    return _readable(path)


def _readable(path: Path) -> Path:
    if not path.exists():
        raise T2IError(f"no file {str(path)!r}")
    if path.is_file() and not path.stat().st_size:
        raise T2IError(f"{str(path)!r} is empty", "the download may be incomplete")
    return path


def _title(path: Path) -> str:
    """What a file or folder is called; a snapshot in a hub's cache, whose folder is a number, like its repository."""
    name = adopt.origin(path).partition("@")[0].rpartition("/")[2]
    return name or (path.absolute().name if path.is_dir() else path.stem)
