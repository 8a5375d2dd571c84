from __future__ import annotations

import json

import pytest

from t2icli import cli


def test_an_unknown_command_names_the_nearest_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(cli.COMMANDS, "generate", ("show:line", "Pictures"))
    assert cli.run(["generat"]) == 2
    assert "did you mean 'generate'?" in capsys.readouterr().err


def test_an_unknown_flag_is_an_error_of_the_user_without_traceback(capsys: pytest.CaptureFixture[str]):
    assert cli.run(["--bogus"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == "error: no such option: --bogus"


def test_with_json_an_error_is_one_document_on_stdout(capsys: pytest.CaptureFixture[str]):
    assert cli.run(["nonsense", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["type"] == "T2IError"
    assert error["message"] == "there is no command 'nonsense'"


def test_debug_may_stand_behind_the_command_and_shows_the_traceback(capsys: pytest.CaptureFixture[str]):
    assert cli.run(["nonsense", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
