"""Whom `t2i models pull` asks: the hub, its mirrors or ModelScope, with which token; and nobody when offline."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_pipes import FILES, NAME, NEEDED, WEIGHTS, Plugin, left_behind, pull_it

from t2icli.pipelines import pull
from t2icli.store import hub, models
from t2icli.testing import FakeHub, Runner


@pytest.fixture
def pipes(t2i: Runner, fake_hub: FakeHub) -> Runner:
    t2i.use(Plugin())
    return t2i


def test_a_gated_repository_says_what_to_do(pipes: Runner, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub.add(NAME, FILES)
    fake_hub.repositories[NAME].is_gated = True
    words = ("models", "pull", f"hf:{NAME}", "--as", "pipes")
    refused = pipes.fails(*words, code=1, says=f"repository '{NAME}' is gated")
    assert f"{fake_hub.url}/{NAME}, then set HF_TOKEN" in refused.stderr
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    assert "set HF_TOKEN" not in pipes.fails(*words, code=1, says="is gated").stderr
    fake_hub.tokens.add("hf_stranger")
    assert pull_it(pipes) and not left_behind(pipes)[1:]


def test_the_token_goes_to_the_hub_alone_and_is_never_shown(
    pipes: Runner, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_hub.add(NAME, FILES)
    fake_hub.repositories[NAME].is_gated = True
    fake_hub.tokens.add("hf_secret")
    stored = tmp_path / "huggingface/token"  # where the hub's own login keeps it
    stored.parent.mkdir()
    stored.write_text("hf_secret\n")
    fake_hub.faults[WEIGHTS] = "broken"
    failed = pipes.run("--debug", "models", "pull", f"hf:{NAME}", "--as", "pipes")
    del fake_hub.faults[WEIGHTS]
    shown = pipes.ok("models", "pull", f"hf:{NAME}", "--as", "pipes")
    assert failed.code == 1 and "hf_secret" not in failed.stdout + failed.stderr + shown.stdout + shown.stderr
    assert {asked.token for asked in fake_hub.asked} == {"hf_secret"}
    assert {asked.token for asked in fake_hub.asked_of_store} == {None}
    assert not [path for path in pipes.home.rglob("*") if path.is_file() and b"hf_secret" in path.read_bytes()]


def test_a_mirror_is_asked_without_the_token(pipes: Runner, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub.add(NAME, FILES)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    (pipes.home / hub.SETTINGS).write_text(f'mirrors = ["{fake_hub.url}/"]\nmodelscope = ""\n')
    result = pipes.ok("models", "pull", f"hf:{NAME}", "--as", "pipes")
    assert models.find("pipes/some-pipeline").card.source.startswith(f"hf:{NAME}@")
    assert f"{NAME} is downloaded from 127.0.0.1" in result.stderr
    assert {asked.token for asked in [*fake_hub.asked, *fake_hub.asked_of_store]} == {None}


def test_modelscope_is_asked_where_the_hub_is_silent(
    pipes: Runner, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = fake_hub.add(NAME, FILES)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (pipes.home / hub.SETTINGS).write_text(f'mirrors = []\nmodelscope = "{fake_hub.url}"\n')
    result = pipes.ok("models", "pull", f"hf:{NAME}", "--as", "pipes")
    assert "the hub does not answer" in result.stderr
    assert models.find("pipes/some-pipeline").card.source == f"ms:{NAME}@{commit}"
    pipes.fails(
        "models", "pull", f"hf:{NAME}@abc", "--as", "pipes", "--name", "x", code=1, says="cannot list the files"
    )


def test_modelscope_can_be_asked_itself(pipes: Runner, fake_hub: FakeHub) -> None:
    commit = fake_hub.add(NAME, FILES, licence="MIT")
    (pipes.home / hub.SETTINGS).write_text(f'mirrors = []\nmodelscope = "{fake_hub.url}"\n')
    pipes.ok("models", "pull", f"ms:{NAME}", "--as", "pipes")
    card = models.find("pipes/some-pipeline").card
    assert (card.licence, card.source, set(card.files)) == ("MIT", f"ms:{NAME}@{commit}", NEEDED)
    for word in (f"ms:{NAME}@v9", "ms:Nobody/Nothing"):
        pipes.fails("models", "pull", word, "--as", "pipes", "--name", "x", says="ModelScope has no repository")


def test_what_modelscope_sends_is_of_the_commit_that_it_listed(pipes: Runner, fake_hub: FakeHub) -> None:
    first = fake_hub.add(NAME, FILES)
    (pipes.home / hub.SETTINGS).write_text(f'mirrors = []\nmodelscope = "{fake_hub.url}"\n')
    plan = pull.plan(f"ms:{NAME}", backend="pipes")
    fake_hub.add(NAME, {**FILES, WEIGHTS: b"changed"})
    assert isinstance(plan, pull.PullPlan) and pull.run(plan).card.source == f"ms:{NAME}@{first}"
    assert models.find("pipes/some-pipeline").file(WEIGHTS).read_bytes() == FILES[WEIGHTS]


def test_wrong_host_settings_are_named(pipes: Runner, fake_hub: FakeHub) -> None:
    (pipes.home / hub.SETTINGS).write_text("mirror = 3\n")
    pipes.fails("models", "pull", f"hf:{NAME}", "--as", "pipes", says="hub.toml' is wrong: ")


@pytest.mark.parametrize("how", ["--offline", "T2I_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_asks_nobody_and_says_what_works(
    pipes: Runner, fake_hub: FakeHub, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.add(NAME, FILES)
    flags = [how] if how.startswith("--") else []
    if not flags:
        monkeypatch.setenv(how, "1")
    refused = pipes.fails(*flags, "models", "pull", f"hf:{NAME}", "--as", "pipes", code=1, says="offline")
    assert "t2i models import Some-Pipeline --as pipes" in refused.stderr and not fake_hub.asked
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("T2I_OFFLINE", raising=False)
    assert pull_it(pipes)
