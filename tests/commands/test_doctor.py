from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from t2icli.contract.hookspecs import hookimpl
from t2icli.pipelines import doctor
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.store.sources import ModelSource, RemoteFile
from t2icli.testing import Runner


def findings(t2i: Runner, *words: str, code: int = 0) -> dict[str, dict[str, str]]:
    result = t2i.run("doctor", "--json", *words)
    assert result.code == code, result.stdout + result.stderr
    return {finding["topic"]: finding for finding in result.json()}


def test_all_that_is_needed_works_here(t2i: Runner) -> None:
    found = findings(t2i)
    assert {"python", "t2icli", "packages", "torch", "device", "cores", "plugins", "home"} <= set(found)
    assert found["torch"]["says"].startswith(sys.modules["torch"].__version__)
    assert not [finding for finding in found.values() if finding["state"] == "broken"]


def test_people_get_a_table(t2i: Runner) -> None:
    shown = t2i.ok("doctor").stdout
    assert "what to do" in shown and "GB free" in shown


def test_a_broken_plugin_is_found(t2i: Runner) -> None:
    class Faulty:
        @hookimpl
        def t2i_rankers(self) -> list[int]:
            return [3]

    t2i.use(Faulty(), strict=False)
    found = findings(t2i, code=1)
    assert "must return Entry objects" in found["plugin Faulty"]["says"]


def test_a_damaged_model_is_found(t2i: Runner) -> None:
    folder = t2i.home / "models/sample/rotten"
    folder.mkdir(parents=True)
    (folder / models.WEIGHTS).write_bytes(b"weights")
    models.seal(folder, Card(kind="generator", backend="sample"))
    (folder / models.WEIGHTS).write_bytes(b"rotten!")
    assert "is damaged" in findings(t2i, code=1)["model sample/rotten"]["says"]


def test_a_default_that_is_gone_is_found(t2i: Runner) -> None:
    models.set_default("sample", "sample/gone")
    assert "no model called 'sample/gone'" in findings(t2i, code=1)["default sample"]["says"]


def test_a_home_that_cannot_be_written_is_found(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("not a folder")
    monkeypatch.setenv("T2I_HOME", str(Path("file").absolute()))
    assert findings(t2i, code=1)["home"]["hint"] == "set T2I_HOME to a folder that can be written"


def test_few_cores_get_a_word_on_waiting(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert "OMP_WAIT_POLICY=passive" in findings(t2i)["cores"]["hint"]
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    assert findings(t2i)["cores"]["state"] == "ok"


@pytest.mark.parametrize(("policy", "spins"), [(None, "1000"), ("active", None)])
def test_the_program_lets_idle_threads_sleep_unless_told_otherwise(policy: str | None, spins: str | None) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    shows = "import os, sys; from t2icli import cli, __main__; cli.main = lambda: print(os.getenv('GOMP_SPINCOUNT'))"
    environment = kept | ({"OMP_WAIT_POLICY": policy} if policy else {})
    command = [sys.executable, "-c", f"{shows}; __main__.main()"]
    assert subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip() == str(spins)


def test_missing_and_old_packages_are_found(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["t2icli-nowhere>=1", "pluggy>=99", "numpy", 'textual-nowhere; extra == "show"']
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: wanted)
    found = findings(t2i, code=1)
    assert found["packages"]["says"].startswith("t2icli-nowhere is missing; pluggy is ")
    assert (found["extra show"]["state"], found["extra show"]["says"]) == ("note", "textual-nowhere is missing")


def test_a_torch_that_cannot_be_imported_is_no_crash(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert findings(t2i, code=1)["torch"]["state"] == "broken"


def test_the_network_is_asked_only_on_request(t2i: Runner, server: Any) -> None:
    class Far:
        @hookimpl
        def t2i_models(self) -> list[ModelSource]:
            return [ModelSource("sample/far", "", "", files=(RemoteFile((server.url("well"),), None),))]

    t2i.use(Far())
    assert not [topic for topic in findings(t2i) if topic.startswith("network")]
    assert findings(t2i, "--network")[f"network 127.0.0.1:{server.server_port}"]["says"] == "answers"


def test_a_check_that_fails_is_a_finding(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_idea(name: str) -> Any:
        raise RuntimeError("no idea")

    monkeypatch.setattr(doctor.importlib.metadata, "requires", no_idea)
    found = findings(t2i, code=1)
    assert found["packages"]["says"] == "the check failed: RuntimeError: no idea"
    assert found["torch"]["state"] == "ok", "the others are made all the same"
