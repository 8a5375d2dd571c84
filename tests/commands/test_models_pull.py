"""`t2i models pull hf:OWNER/NAME`, against a hub on this machine."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hub_pipes import FILES, NAME, NEEDED, WEIGHTS, Plugin, left_behind, pull_it

from t2icli.pipelines import pull
from t2icli.store import models, web
from t2icli.store.sources import ModelSource
from t2icli.testing import FakeHub, Runner


@pytest.fixture
def pipes(t2i: Runner, fake_hub: FakeHub) -> Runner:
    t2i.use(Plugin())
    return t2i


def test_a_repository_is_pulled_with_commit_hashes_and_licence(pipes: Runner, fake_hub: FakeHub) -> None:
    commit = fake_hub.add(NAME, FILES)
    model = pull_it(pipes)
    assert model.card.source == f"hf:{NAME}@{commit}" and model.card.licence == "apache-2.0"
    assert model.card.files == {path: hashlib.sha256(FILES[path]).hexdigest() for path in NEEDED}
    assert set(fake_hub.files_asked()) == NEEDED
    assert not (pipes.home / "downloads/pipes--some-pipeline").exists()
    assert model.files()[WEIGHTS].read_bytes() == FILES[WEIGHTS]


def test_a_variant_and_single_files_can_be_asked_for(pipes: Runner, fake_hub: FakeHub) -> None:
    fake_hub.add(NAME, FILES)
    half = pull_it(pipes, "--variant", "fp16")
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in half.card.files and WEIGHTS not in half.card.files
    pipes.ok("models", "pull", f"hf:{NAME}", "--as", "pipes", "--name", "bare", "--file", "model_index.json")
    assert set(models.find("pipes/bare").card.files) == {"model_index.json"}


def test_a_dry_run_lists_files_and_bytes_and_fetches_none_of_them(pipes: Runner, fake_hub: FakeHub) -> None:
    commit = fake_hub.add(NAME, FILES)
    shown = pipes.ok("models", "pull", f"hf:{NAME}", "--as", "pipes", "--dry-run").stdout
    assert WEIGHTS in shown and "1.0 MB" in shown and "pipeline.py" not in shown and "licence: apache-2.0" in shown
    plan = pipes.ok("models", "pull", f"hf:{NAME}", "--as", "pipes", "--dry-run", "--json").json()
    assert plan["origin"] == f"hf:{NAME}@{commit}" and plan["size"] == sum(len(FILES[path]) for path in NEEDED)
    assert {file["path"]: file["sha256"] for file in plan["files"]}[WEIGHTS] == hashlib.sha256(
        FILES[WEIGHTS]
    ).hexdigest()
    assert set(fake_hub.files_asked()) == {"model_index.json"} and not left_behind(pipes)


def test_a_large_download_is_asked_for_first(pipes: Runner, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub.add(NAME, FILES)
    monkeypatch.setattr(pull, "LARGE", 1000)
    refused = pipes.fails("models", "pull", f"hf:{NAME}", "--as", "pipes", says="no terminal to ask: download 0.0 GB")
    assert "pipes/some-pipeline from hf:" in refused.stderr and "  unet: 1.0 MB" in refused.stderr
    assert not fake_hub.asked_of_store and not left_behind(pipes)
    assert pull_it(pipes, "--yes")


def test_what_the_disk_cannot_hold_is_refused_before_it_is_fetched(
    pipes: Runner, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.add(NAME, FILES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    says = "not enough disk space in"
    pipes.fails("models", "pull", f"hf:{NAME}", "--as", "pipes", "--yes", code=1, says=says)
    assert not fake_hub.asked_of_store and not left_behind(pipes)


@pytest.mark.parametrize(
    ("licence", "about", "says"),
    [
        ("cc-by-nc-4.0", {}, "its licence forbids commercial use: cc-by-nc-4.0"),
        ("other", {"cardData": {"license": "other", "license_name": "qwen-research"}}, "commercial use: qwen-research"),
        ("", {"tags": ["license:mit"]}, "licence: mit"),
        ("", {}, "licence: none is stated"),
    ],
)
def test_the_licence_is_shown(pipes: Runner, fake_hub: FakeHub, licence: str, about: dict[str, Any], says: str) -> None:
    fake_hub.add(NAME, FILES, licence=licence, **about)
    assert says in pipes.ok("models", "pull", f"hf:{NAME}", "--as", "pipes").stderr


def test_main_may_move_while_it_is_pulled(pipes: Runner, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fake_hub.add(NAME, FILES)
    plan = pull.plan(f"hf:{NAME}", backend="pipes")
    fake_hub.add(NAME, {**FILES, WEIGHTS: b"another", "unet/config.json": b"{}"})
    assert isinstance(plan, pull.PullPlan)
    model = pull.run(plan)
    assert model.card.source.endswith(before) and model.file(WEIGHTS).read_bytes() == FILES[WEIGHTS]


def test_main_may_move_between_a_failure_and_the_next_try(pipes: Runner, fake_hub: FakeHub) -> None:
    fake_hub.add(NAME, FILES)
    fake_hub.faults[WEIGHTS] = "cut"
    pipes.fails("models", "pull", f"hf:{NAME}", "--as", "pipes", code=1, says="the connection was lost")
    del fake_hub.faults[WEIGHTS]
    newer = {**FILES, WEIGHTS: bytes(reversed(FILES[WEIGHTS])), "unet/config.json": b'{"width": 9}'}
    commit = fake_hub.add(NAME, newer)
    model = pull_it(pipes)
    assert model.card.source == f"hf:{NAME}@{commit}"
    assert all(path.read_bytes() == newer[name] for name, path in model.files().items())


def test_a_revision_is_a_branch_or_a_commit(pipes: Runner, fake_hub: FakeHub) -> None:
    old = fake_hub.add(NAME, {**FILES, "unet/config.json": b"old"})
    fake_hub.add(NAME, FILES)
    fake_hub.add(NAME, {**FILES, "unet/config.json": b"tried"}, branch="try/this")
    for revision, content in ((old, b"old"), ("try/this", b"tried"), ("main", FILES["unet/config.json"])):
        name = f"at-{revision[:3]}".replace("/", "")
        pipes.ok("models", "pull", f"hf:{NAME}@{revision}", "--as", "pipes", "--name", name)
        assert models.find(f"pipes/{name}").file("unet/config.json").read_bytes() == content
    says = f"repository '{NAME}' has no revision 'v9'"
    pipes.fails("models", "pull", f"hf:{NAME}@v9", "--as", "pipes", "--name", "none", says=says)


def test_what_is_here_is_not_fetched_again_and_another_of_its_name_is_refused(pipes: Runner, fake_hub: FakeHub) -> None:
    old = fake_hub.add(NAME, FILES)
    fake_hub.add("Other/Some-Pipeline", FILES)
    pull_it(pipes)
    asked = len(fake_hub.asked)
    pull_it(pipes)
    pipes.ok("models", "pull", f"hf:{NAME}@{old[:8]}", "--as", "pipes")
    assert len(fake_hub.asked) == asked
    for other in ("hf:Other/Some-Pipeline", f"hf:{NAME}@{'f' * 40}"):
        refused = pipes.fails(
            "models", "pull", other, "--as", "pipes", says=f"already a model 'pipes/some-pipeline', from hf:{NAME}@"
        )
        assert "--name" in refused.stderr and "t2i models rm pipes/some-pipeline" in refused.stderr


def test_what_another_model_has_is_not_fetched_again(pipes: Runner, fake_hub: FakeHub) -> None:
    fake_hub.add(NAME, FILES)
    fake_hub.add("Other/Name", {**FILES, "unet/config.json": b"{}"})
    pull_it(pipes)
    pipes.ok("models", "pull", "hf:Other/Name", "--as", "pipes")
    assert models.find("pipes/name").files()[WEIGHTS].read_bytes() == FILES[WEIGHTS]
    assert len(fake_hub.asked_of_store) == 1


def test_a_name_may_be_the_address_of_the_page(pipes: Runner, fake_hub: FakeHub) -> None:
    fake_hub.add(NAME, FILES)
    pipes.ok("models", "pull", f"https://huggingface.co/{NAME}/tree/main", "--as", "pipes")
    assert models.find("pipes/some-pipeline")


@pytest.mark.parametrize(
    "word", ["hf:", "hf:a/b/c", "hf:../x", "hf:a/b@", "ms:a b/c", "hf:a/b@../../x", "https://x.org/a/b"]
)
def test_words_that_are_no_repository_are_refused(pipes: Runner, fake_hub: FakeHub, word: str) -> None:
    pipes.fails("models", "pull", word, "--as", "pipes", says="names no repository")
    assert not fake_hub.asked


def test_the_backend_has_to_be_named_and_to_exist(pipes: Runner, fake_hub: FakeHub) -> None:
    fake_hub.add(NAME, FILES)
    refused = pipes.fails("models", "pull", f"hf:{NAME}", says=f"which backend is hf:{NAME} for?")
    assert "pipes" in refused.stderr and "kiln" in refused.stderr
    pipes.fails("models", "pull", f"hf:{NAME}", "--as", "pipe", says="did you mean 'pipes'?")
    pipes.fails("models", "pull", f"hf:{NAME}", "--as", "pipes", "--name", "../x", says="cannot be a model's name")


@pytest.mark.parametrize("where", [WEIGHTS, "unet/config.json"])
def test_wrong_bytes_never_become_a_model(pipes: Runner, fake_hub: FakeHub, where: str) -> None:
    fake_hub.add(NAME, FILES)
    fake_hub.faults[where] = "wrong"
    result = pipes.fails("models", "pull", f"hf:{NAME}", "--as", "pipes", code=1, says=f"cannot download '{where}'")
    assert "expected" in result.stderr and not left_behind(pipes)
    del fake_hub.faults[where]
    assert pull_it(pipes)


def test_a_connection_that_breaks_off_is_resumed_where_it_stopped(pipes: Runner, fake_hub: FakeHub) -> None:
    fake_hub.add(NAME, FILES)
    fake_hub.faults[WEIGHTS] = "cut-once"
    pull_it(pipes)
    assert [asked.range for asked in fake_hub.asked_of_store] == [None, f"bytes={len(FILES[WEIGHTS]) // 2}-"]


@pytest.mark.parametrize("where", [WEIGHTS, "unet/config.json"])
def test_a_server_that_fails_once_is_asked_again(pipes: Runner, fake_hub: FakeHub, where: str) -> None:
    fake_hub.add(NAME, FILES)
    fake_hub.faults[where] = "broken-once"
    assert pull_it(pipes).files()[where].read_bytes() == FILES[where]


def test_a_disk_that_fills_up_meanwhile_leaves_no_model(
    pipes: Runner, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter([10**12])  # before anything is fetched
    fake_hub.add(NAME, FILES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=next(free, 1000)))
    pipes.fails("models", "pull", f"hf:{NAME}", "--as", "pipes", code=1, says="not enough disk space in")
    assert not left_behind(pipes)


@pytest.mark.parametrize("fault", ["broken", "missing"])
def test_a_server_that_fails_says_how_to_get_the_model_by_hand(pipes: Runner, fake_hub: FakeHub, fault: Any) -> None:
    commit = fake_hub.add(NAME, FILES)
    fake_hub.faults[WEIGHTS] = fault
    result = pipes.fails("models", "pull", f"hf:{NAME}", "--as", "pipes", code=1, says=f"cannot download '{WEIGHTS}'")
    assert f"hf download {NAME} --revision {commit} --local-dir Some-Pipeline" in result.stderr
    assert "t2i models import Some-Pipeline --as pipes --name some-pipeline" in result.stderr
    assert not left_behind(pipes)


def test_a_busy_hub_is_asked_again_when_it_says(
    pipes: Runner, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(web.time, "sleep", slept.append)
    fake_hub.add(NAME, FILES)
    fake_hub.busy += [7, 3]
    result = pipes.ok("models", "pull", f"hf:{NAME}", "--as", "pipes")
    assert slept[:2] == [7, 3] and "asks to wait 7 seconds" in result.stderr


def test_a_hub_that_asks_for_too_long_a_wait_is_left(pipes: Runner, fake_hub: FakeHub) -> None:
    fake_hub.add(NAME, FILES)
    fake_hub.busy.append(3600)
    pipes.fails("models", "pull", f"hf:{NAME}", "--as", "pipes", code=1, says="429 Too Many Requests")


@pytest.mark.parametrize(
    ("files", "says", "code"),
    [
        ({"README.md": b"hello"}, "it has no model_index.json", 2),
        ({"model_index.json": b"{"}, "is not JSON", 1),
        ({**FILES, "model_index.json": b'{"_class_name": "New", "unet": ["a", "b"]}'}, "'New' is not known here", 2),
        ({**FILES, "model_index.json": b'{"_class_name": "Known", "vae": ["a", "b"]}'}, "has no such folder", 1),
        ({path: content for path, content in FILES.items() if not path.endswith("safetensors")}, "as a pickle only", 1),
        (
            {**dict(list(FILES.items())[:2]), "unet/model-00001-of-00002.safetensors": b"1"},
            "is incomplete: model-00002-of-00002.safetensors of unet is missing",
            1,
        ),
    ],
)
def test_a_repository_that_cannot_work_is_refused_before_its_weights_are_fetched(
    pipes: Runner, fake_hub: FakeHub, files: dict[str, bytes], says: str, code: int
) -> None:
    fake_hub.add(NAME, files)
    refused = pipes.fails("models", "pull", f"hf:{NAME}", "--as", "pipes", code=code, says=says)
    assert str(pipes.home) not in refused.stderr, "a folder that is gone by then"
    assert not fake_hub.asked_of_store and not left_behind(pipes)


def test_an_unknown_repository_is_said_to_be_none(pipes: Runner, fake_hub: FakeHub) -> None:
    says = "there is no repository 'Nobody/Nothing' at 127.0.0.1"
    assert "private" in pipes.fails("models", "pull", "hf:Nobody/Nothing", "--as", "pipes", says=says).stderr


def test_the_list_may_have_several_pages(pipes: Runner, fake_hub: FakeHub) -> None:
    fake_hub.page = 2
    fake_hub.add(NAME, FILES)
    assert set(pull_it(pipes).card.files) == NEEDED


@pytest.mark.parametrize("path", ["../evil.json", "/evil.json", "a/../../evil.json", "evil\\x.json", "con:fig.json"])
def test_a_listing_that_leaves_the_folder_is_refused(pipes: Runner, fake_hub: FakeHub, path: str) -> None:
    fake_hub.add(NAME, {**FILES, path: b"{}"})
    pipes.fails("models", "pull", f"hf:{NAME}", "--as", "pipes", code=1, says="that no folder can hold")


def test_a_killed_pull_continues_where_it_stopped(pipes: Runner, fake_hub: FakeHub) -> None:
    fake_hub.add(NAME, FILES)
    program = textwrap.dedent(f"""
        import functools, os, sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from hub_pipes import WEIGHTS, Plugin
        from t2icli.ground.watch import Watch
        from t2icli.pipelines import pull
        from t2icli.registry import discovery
        found = discovery.collect([("pipes", "test", Plugin)])
        discovery.installed = functools.cache(lambda: found)
        class Killing(Watch):
            def progress(self, job, done, of=None, figures=(), *, unit=""):
                if job.endswith(WEIGHTS) and done > of // 2:
                    os.kill(os.getpid(), 9)
        pull.run(pull.plan("hf:{NAME}", backend="pipes"), Killing())
    """)
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == -9
    assert not (pipes.home / "models").exists()
    pull_it(pipes)
    first, second = fake_hub.asked_of_store
    assert first.range is None and int(re.sub(r"\D", "", str(second.range))) > len(FILES[WEIGHTS]) // 2
    assert fake_hub.files_asked().count("unet/config.json") == 1


def test_two_processes_that_pull_the_same_repository_download_it_once(pipes: Runner, fake_hub: FakeHub) -> None:
    fake_hub.add(NAME, FILES)
    program = textwrap.dedent(f"""
        import functools, sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from hub_pipes import Plugin
        from t2icli.pipelines import pull
        from t2icli.registry import discovery
        from t2icli.store.models import Model
        found = discovery.collect([("pipes", "test", Plugin)])
        discovery.installed = functools.cache(lambda: found)
        made = pull.plan("hf:{NAME}", backend="pipes")
        print((made if isinstance(made, Model) else pull.run(made)).sha256)
    """)
    both = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate(timeout=60)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert said == {f"{models.find('pipes/some-pipeline').sha256}\n"} and len(fake_hub.asked_of_store) == 1


def test_who_converts_gets_the_files_under_the_hubs_names(t2i: Runner, fake_hub: FakeHub) -> None:
    commit = fake_hub.add(
        NAME, {"config.json": b"{}", "pytorch_model.bin": b"pickled", "sub/x.json": b"", "README.md": b""}
    )
    t2i.use(Plugin())
    t2i.ok("models", "pull", f"hf:{NAME}", "--as", "kiln", "--name", "pot")
    card = models.find("kiln/pot").card
    assert card.config["from"] == ["README.md", "config.json", "pytorch_model.bin"]
    assert (card.source, card.licence) == (f"hf:{NAME}@{commit}", "apache-2.0")
    t2i.use(Plugin(wanted=("sub/x.json", "missing.bin|pytorch_model.bin")))
    t2i.ok("models", "pull", f"hf:{NAME}", "--as", "kiln", "--name", "jug")
    assert models.find("kiln/jug").card.config["from"] == ["pytorch_model.bin", "sub/x.json"]


def test_a_listed_name_stands_for_its_repository(t2i: Runner, fake_hub: FakeHub) -> None:
    commit = fake_hub.add(NAME, FILES)
    source = ModelSource(
        "pipes/known", "draws well", "apache-2.0", repository=f"hf:{NAME}", kind="generator", size=5, chinese=True
    )
    t2i.use(Plugin(source))
    t2i.fails("generate", "x", "-m", "pipes/known", says="run: t2i models pull pipes/known")
    t2i.ok("models", "pull", "pipes/known")
    model = models.find("pipes/known")
    assert (model.card.about, model.card.source) == ("draws well", f"hf:{NAME}@{commit}")
    t2i.ok("models", "pull", "pipes/known")
    t2i.ok("models", "check", "pipes/known")
    assert "pipes/again" in t2i.ok("models", "pull", f"hf:{NAME}", "--name", "again", "--dry-run").stdout
