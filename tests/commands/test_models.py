"""`t2i models` through the front door, with a backend that stores what it is given."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from t2icli.contract.entries import Entry, Upstream
from t2icli.contract.hookspecs import hookimpl
from t2icli.store import download, models
from t2icli.store.models import Card, Model
from t2icli.store.sources import ModelSource, RemoteFile
from t2icli.testing import Runner


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: Annotated[Model | None, Meta(description="what it keeps")] = None


def convert(upstream: Upstream, folder: Path) -> None:
    first = upstream.files[0].read_bytes()
    if first.startswith(b"junk"):
        raise KeyError("no weights in here")
    (folder / models.WEIGHTS).write_bytes(first)
    for name in upstream.parts:
        (folder / name).mkdir()
        (folder / name / models.WEIGHTS).write_bytes(upstream.parts[name][0].read_bytes())
        models.seal(folder / name, Card(kind="codec", backend="shelf"))
    models.seal(folder, Card(kind="ranker", backend="shelf", about="kept as it was"))


class Shelf:
    def __init__(self, *sources: ModelSource) -> None:
        self.sources = sources

    @hookimpl
    def t2i_rankers(self) -> list[Entry[Any]]:
        return [Entry("shelf", "keeps what it is given", Settings, lambda settings: None, convert)]

    @hookimpl
    def t2i_models(self) -> list[ModelSource]:
        return list(self.sources)


@pytest.fixture
def shelf(t2i: Runner) -> Runner:
    t2i.use(Shelf())
    return t2i


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "My Weights (v1).pt"
    path.write_bytes(b"weights")
    return path


def put(t2i: Runner, what: str, content: bytes = b"weights") -> Path:
    folder = t2i.home / "models/shelf" / what
    folder.mkdir(parents=True)
    (folder / models.WEIGHTS).write_bytes(content)
    models.seal(folder, Card(kind="ranker", backend="shelf", about="put there"))
    return folder


def listed(t2i: Runner) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in t2i.ok("models", "list", "--json").json()}


def test_import_converts_and_names_a_file(shelf: Runner, weights: Path) -> None:
    assert "shelf/my-weights-v1 is here" in shelf.ok("models", "import", weights, "--as", "shelf").stdout
    row = listed(shelf)["shelf/my-weights-v1"]
    assert row["is_here"] and row["is_default"] and row["kind"] == "ranker"


def test_import_takes_parts_and_a_name(shelf: Runner, weights: Path) -> None:
    words = ("--as", "shelf", "--name", "mine")
    shelf.ok("models", "import", weights, *words, "--codec", weights, "--part", f"clip={weights}")
    card = shelf.ok("models", "show", "shelf/mine", "--json").json()
    assert set(card["parts"]) == {"codec", "clip"}


def test_import_takes_a_finished_model_folder(shelf: Runner) -> None:
    folder = put(shelf, "one")
    shelf.ok("models", "import", folder, "--name", "two")
    assert models.find("shelf/two").sha256 == models.find("shelf/one").sha256


def test_a_damaged_model_folder_is_not_taken_in(shelf: Runner) -> None:
    folder = put(shelf, "one")
    (folder / models.WEIGHTS).write_bytes(b"rotten!")
    shelf.fails("models", "import", folder, "--name", "two", code=1, says="is damaged")
    assert "shelf/two" not in listed(shelf)


@pytest.mark.parametrize(
    ("words", "content", "code", "says"),
    [
        (["--as", "shelf"], b"", 2, "is empty"),
        (["--as", "shelf"], None, 2, "no file"),
        (["--as", "shelf"], b"junk", 1, "'shelf' cannot read weights.pt: KeyError: 'no weights in here'"),
        (["--as", "shelve"], b"weights", 2, "did you mean 'shelf'?"),
        ([], b"weights", 2, "add --as BACKEND"),
        (["--as", "shelf", "--part", "codec"], b"weights", 2, "has no '='"),
        (["--as", "shelf", "--codec", "nowhere.pt"], b"weights", 2, "no file 'nowhere.pt'"),
        (["--as", "shelf", "--name", "../../evil"], b"weights", 2, "cannot be a model's name"),
    ],
)
def test_import_says_what_is_wrong_and_leaves_nothing(
    shelf: Runner, tmp_path: Path, words: list[str], content: bytes | None, code: int, says: str
) -> None:
    path = tmp_path / "weights.pt"
    if content is not None:
        path.write_bytes(content)
    shelf.fails("models", "import", path, *words, code=code, says=says)
    assert not any(folder.is_dir() and any(folder.iterdir()) for folder in shelf.home.glob("models/*"))
    assert not [folder for folder in shelf.home.glob("making/*") if folder.is_dir()]


def test_a_taken_name_is_not_overwritten(shelf: Runner, weights: Path) -> None:
    before = put(shelf, "mine", b"precious")
    shelf.fails("models", "import", weights, "--as", "shelf", "--name", "mine", says="already")
    assert (before / models.WEIGHTS).read_bytes() == b"precious"


def test_show_knows_a_model_by_name_and_by_folder(shelf: Runner) -> None:
    folder = put(shelf, "mine")
    by_name, by_folder = (shelf.ok("models", "show", word, "--json").json() for word in ("shelf/mine", folder))
    assert by_name["sha256"] == by_folder["sha256"]
    assert "backend: shelf" in shelf.ok("models", "show", "shelf/mine").stdout
    shelf.fails("models", "show", "shelf/mime", says="did you mean 'shelf/mine'?")


def test_show_takes_a_backend_for_its_default_model(shelf: Runner) -> None:
    put(shelf, "small"), put(shelf, "large", b"x" * 5000)
    assert shelf.ok("models", "show", "shelf", "--json").json()["name"] == "shelf/large"


def test_the_largest_model_is_the_default_until_one_is_chosen(shelf: Runner) -> None:
    put(shelf, "small"), put(shelf, "large", b"x" * 5000)
    assert shelf.ok("models", "default", "shelf").stdout == "shelf/large\n"
    shelf.ok("models", "default", "shelf", "small")
    assert shelf.ok("models", "default", "shelf").stdout == "shelf/small\n"
    assert [name for name, row in listed(shelf).items() if row["is_default"] and row["backend"] == "shelf"] == [
        "shelf/small"
    ]


def test_only_a_model_of_that_backend_can_be_its_default(shelf: Runner) -> None:
    put(shelf, "mine")
    shelf.fails("models", "default", "shelf", "yours", says="did you mean 'shelf/mine'?")
    shelf.fails("models", "default", "dalle", "shelf/mine", says="made for 'shelf'")


def test_rm_deletes_the_model_and_its_place_as_default(shelf: Runner) -> None:
    folder = put(shelf, "mine")
    shelf.ok("models", "default", "shelf", "mine")
    shelf.fails("models", "rm", "shelf/mine", says="add --yes")
    assert folder.exists()
    shelf.ok("models", "rm", "shelf/mine", "-y")
    assert not folder.exists() and "shelf/mine" not in listed(shelf)
    assert not models.defaults()


def test_rm_touches_nothing_outside_the_store(shelf: Runner, tmp_path: Path) -> None:
    shipped = put(shelf, "mine")
    shipped = shipped.rename(tmp_path / "shipped")
    shelf.use(Shelf(ModelSource("shelf/starter", "small", "MIT", folder=shipped)))
    refused = shelf.fails("models", "rm", "shelf/starter", "-y", says="model 'shelf/starter' is part of under")
    assert "remove both: t2i uninstall under" in refused.stderr  # the distribution "under test", without its version
    shelf.fails("models", "rm", shipped, "-y", says="there is no model called")
    assert (shipped / models.CARD).is_file()


def test_verify_finds_each_kind_of_damage(shelf: Runner, weights: Path) -> None:
    put(shelf, "whole"), put(shelf, "changed"), put(shelf, "gone")
    shelf.ok("models", "check")
    (shelf.home / "models/shelf/changed" / models.WEIGHTS).write_bytes(b"rotten!")
    (shelf.home / "models/shelf/gone" / models.WEIGHTS).unlink()
    shelf.ok("models", "import", weights, "--as", "shelf", "--name", "parted", "--codec", weights)
    (shelf.home / "models/shelf/parted/codec" / models.WEIGHTS).write_bytes(b"rotten!")
    result = shelf.run("models", "check", "--json")
    found = {check["name"]: " ".join(check["problems"]) for check in result.json() if "shelf/" in check["name"]}
    assert result.code == 1
    assert found["shelf/whole"] == ""
    assert "is damaged" in found["shelf/changed"] and "is missing" in found["shelf/gone"]
    assert "is damaged" in found["shelf/parted"]


def test_one_damaged_card_does_not_hide_the_others(shelf: Runner) -> None:
    put(shelf, "whole")
    (put(shelf, "rotten") / models.CARD).write_text("kind = \n", encoding="utf-8")
    result = shelf.ok("models", "list", "--json")
    assert "shelf/whole" in {row["name"] for row in result.json()}
    assert "skipped model 'shelf/rotten'" in result.stderr
    shelf.fails("models", "show", "shelf/rotten", says="not valid TOML")
    shelf.ok("models", "rm", "shelf/rotten", "-y")


def source(server: Any, *hows: str, **changes: Any) -> ModelSource:
    remote = RemoteFile(tuple(map(server.url, hows)), server.sha256, len(server.content))
    return ModelSource("shelf/coco", "from far away", "CC-BY", files=(remote,), **changes)


def test_pull_downloads_converts_and_notes_the_origin(t2i: Runner, server: Any) -> None:
    codec = RemoteFile((server.url("well"),), server.sha256)
    t2i.use(Shelf(source(server, "well", parts={"codec": (codec,)})))
    assert not listed(t2i)["shelf/coco"]["is_here"]
    assert "shelf/coco is here" in t2i.ok("models", "pull", "shelf/coco").stdout
    card = t2i.ok("models", "show", "shelf/coco", "--json").json()
    assert (card["licence"], card["about"]) == ("CC-BY", "from far away")
    assert f"{server.url('well')} sha256:{server.sha256}" in card["source"] and set(card["parts"]) == {"codec"}
    assert not (t2i.home / "downloads/shelf--coco").exists()
    assert t2i.ok("models", "check", "shelf/coco")


def test_two_files_whose_addresses_end_alike_stay_two(t2i: Runner, server: Any) -> None:
    both = tuple(RemoteFile((server.url(how),), None) for how in ("well", "no-range"))
    seen: list[Path] = []

    def watched(upstream: Upstream, folder: Path) -> None:
        seen.extend(upstream.files)
        convert(upstream, folder)

    class Watching(Shelf):
        @hookimpl
        def t2i_rankers(self) -> list[Entry[Any]]:
            return [Entry("shelf", "keeps what it is given", Settings, lambda settings: None, watched)]

    t2i.use(Watching(ModelSource("shelf/two", "", "", files=both)))
    t2i.ok("models", "pull", "shelf/two")
    assert len(set(seen)) == 2 and [how for how, _ in server.asked] == ["well", "no-range"]


def test_what_is_here_is_not_pulled_again(t2i: Runner, server: Any) -> None:
    t2i.use(Shelf(source(server, "well")))
    t2i.ok("models", "pull", "shelf"), t2i.ok("models", "pull", "shelf/coco")
    assert len(server.asked) == 1


def test_a_shipped_model_does_not_stand_in_the_way_of_the_one_to_pull(t2i: Runner, server: Any, tmp_path: Path) -> None:
    models.seal(tmp_path, Card(kind="ranker", backend="shelf"))
    t2i.use(Shelf(ModelSource("shelf/starter", "small", "MIT", folder=tmp_path), source(server, "well")))
    assert "shelf/coco is here" in t2i.ok("models", "pull", "shelf").stdout


def test_a_model_to_pull_is_named_where_it_is_missed(t2i: Runner, server: Any) -> None:
    t2i.use(Shelf(source(server, "well")))
    t2i.fails("models", "show", "shelf/coco", says="run: t2i models pull shelf/coco")
    t2i.fails("models", "pull", "shelf/cocoa", says="did you mean 'shelf/coco'?")


def test_a_model_without_an_address_says_how_to_import_it(t2i: Runner, weights: Path) -> None:
    t2i.use(Shelf(ModelSource("shelf/rare", "given out on request", "MIT")))
    assert "to import" in t2i.ok("models", "list").stdout
    t2i.fails("models", "pull", "shelf/rare", says="run: t2i models import FILE... --as shelf --name rare")
    t2i.ok("models", "import", weights, "--as", "shelf", "--name", "rare")
    assert "shelf/rare is here" in t2i.ok("models", "pull", "shelf/rare").stdout


@pytest.mark.parametrize(("how", "flags"), [("missing", []), ("wrong", []), ("well", ["--offline"])])
def test_a_failed_pull_says_how_to_get_the_model_by_hand(t2i: Runner, server: Any, how: str, flags: list[str]) -> None:
    t2i.use(Shelf(source(server, how)))
    begun = time.monotonic()
    result = t2i.fails(*flags, "models", "pull", "shelf/coco", code=1, says="cannot download 'model.pt'")
    assert time.monotonic() - begun < 2
    assert server.url(how) in result.stderr and f"sha256 {server.sha256}" in result.stderr
    assert "t2i models import model.pt --as shelf --name coco" in result.stderr
    assert "shelf/coco" not in models.places()


def test_an_upstream_hash_that_was_never_published_is_noted(t2i: Runner, server: Any) -> None:
    t2i.use(Shelf(ModelSource("shelf/coco", "", "", files=(RemoteFile((server.url("well"),), None),))))
    t2i.ok("models", "pull", "shelf/coco")
    assert server.sha256 in models.find("shelf/coco").card.source


def test_a_download_that_cannot_be_converted_is_kept_for_the_next_try(t2i: Runner, server: Any) -> None:
    server.content = b"junk" * 1000
    t2i.use(Shelf(source(server, "well")))
    for _ in range(2):
        t2i.fails("models", "pull", "shelf/coco", code=1, says="'shelf' cannot read model.pt")
    assert len(server.asked) == 1


def test_what_a_killed_conversion_left_is_swept_up(t2i: Runner, weights: Path) -> None:
    t2i.use(Shelf())
    left = t2i.home / "making/shelf--mine"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"half")
    t2i.ok("models", "import", weights, "--as", "shelf", "--name", "mine")
    assert not left.exists() and list(models.find("shelf/mine").card.files) == [models.WEIGHTS]


def test_a_killed_download_leaves_a_part_that_the_next_one_finishes(t2i: Runner, server: Any) -> None:
    program = f"""
import os
from pathlib import Path
from t2icli.store import download
from t2icli.store.sources import RemoteFile
from t2icli.ground.watch import Watch
class Killing(Watch):
    def progress(self, job, done, of=None, figures={{}}, *, unit=""):
        if done > of // 2:
            os.kill(os.getpid(), 9)
download.fetch(RemoteFile(({server.url("well")!r},), {server.sha256!r}), Path("files"), Killing())
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == -9
    assert [path.name for path in Path("files").iterdir()] == ["model.pt.part"]
    path = download.fetch(RemoteFile((server.url("well"),), server.sha256), Path("files"))
    assert path.read_bytes() == server.content
    assert server.asked[1][1] is not None


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (b"<!doctype html><html>please log in</html>", 1, "is a web page"),
        (b"PK\x03\x04 cut short", 1, "damaged or truncated"),
        (bytes(range(256)), 1, "is not a weights file"),
    ],
)
def test_a_real_backend_says_why_a_file_is_none_of_its_own(
    t2i: Runner, tmp_path: Path, content: bytes, code: int, says: str
) -> None:
    (tmp_path / "dalle.pt").write_bytes(content)
    t2i.fails("models", "import", tmp_path / "dalle.pt", "--as", "dalle", code=code, says=says)
    assert not models.places()


def test_two_processes_that_pull_the_same_model_download_it_once(t2i: Runner, server: Any, tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import functools
        import test_models as here
        from t2icli.registry import discovery
        from t2icli.pipelines import pull as work
        source = here.ModelSource("shelf/coco", "", "", files=(here.RemoteFile(({server.url("well")!r},), None),))
        found = discovery.collect([("shelf", "test", lambda: here.Shelf(source))])
        discovery.installed = functools.cache(lambda: found)
        plan = work.plan("shelf/coco")
        print((plan if isinstance(plan, here.Model) else work.run(plan)).sha256)
    """)
    both = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate(timeout=60)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert said == {f"{models.find('shelf/coco').sha256}\n"}
    assert len(server.asked) == 1
    assert models.find("shelf/coco").card.files[models.WEIGHTS] == hashlib.sha256(server.content).hexdigest()


def test_a_home_that_cannot_be_written_is_named(t2i: Runner, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    t2i.use(Shelf())
    home = weights.parent / "file"
    home.write_text("not a folder")
    monkeypatch.setenv("T2I_HOME", os.fspath(home))
    t2i.fails("models", "import", weights, "--as", "shelf", code=1, says=str(home))
