"""Every message of every package is translated, and what users see is Chinese where they ask for it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from t2icli.commands import progress, show
from t2icli.ground import toml, translate
from t2icli.testing import Runner

ROOT = Path(__file__).parents[2]


def load_messages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("messages", ROOT / "docs/messages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


messages = load_messages()
PACKAGES = {package.name: package for package in messages.PACKAGES}


@pytest.fixture
def chinese(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """`t2i` for a user whose system speaks Chinese."""
    monkeypatch.delenv("T2I_LANG")
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    return t2i


@pytest.mark.parametrize("name", PACKAGES)
def test_every_message_has_a_translation_and_every_translation_a_message(name: str) -> None:
    used, known = messages.messages(PACKAGES[name]), messages.catalogue(PACKAGES[name]).keys()
    assert used, "no message was found"
    assert not used - known, "without a translation: add them to locale/zh.json"
    assert not known - used, "no longer used: remove them from locale/zh.json"


@pytest.mark.parametrize("name", PACKAGES)
def test_a_translation_has_the_holes_of_its_message(name: str) -> None:
    for english, chinese in messages.catalogue(PACKAGES[name]).items():
        holes = [sorted(set(re.findall(r"\{\w*\}", text))) for text in (english, chinese)]
        assert holes[0] == holes[1], english
        assert chinese.strip(), english


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("raise T2IError('out of time', hint=f'wait {seconds} s')", {"out of time", "wait {0} s"}),
        ("problem = f'{path} lacks ' 'a header'\nraise T2IError(problem)", {"{0} lacks a header"}),
        ("REASONS = {'big': ('larger than the limit', 3)}", {"larger than the limit"}),
        ("def __str__(self):\n    return f'plugin {self.name} failed'", {"plugin {0} failed"}),
        ("def line(text):\n    '''A result of one line.'''", set()),
        (
            "@app.command()\ndef draw(n: int) -> None:\n    '''Draw something.\n\n    Twice.'''",
            {"Draw something.", "Twice."},
        ),
        ("NAMES = 'batch_size epochs'\nKIND = 'int | None'\nHTML = '<p class=\"about us\">'", set()),
    ],
)
def test_messages_are_found_wherever_they_are_put_together(source: str, expected: set[str], tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(source, encoding="utf-8")
    assert messages.messages(tmp_path) == expected


def test_errors_are_chinese(chinese: Runner) -> None:
    error = chinese.fails("generate", "x", "-m", "dale")
    assert error.stderr == "错误：没有名为 'dale' 的 generator\n  是否想输入 'dalle'？\n"


def test_wrong_flags_are_chinese(chinese: Runner) -> None:
    assert "'-n' 的值无效：应大于或等于 1" in chinese.fails("generate", "x", "-n", "0").stderr
    assert chinese.fails("rerank").stderr.startswith("错误：缺少参数 'PROMPT IMAGES...'")
    Image.new("RGB", (8, 8)).save("x.png")
    wrong = chinese.fails("rerank", "x", "x.png", "-r", "colours", "-o", "size=0").stderr
    assert wrong == "错误：ranker 'colours' 的设置项 'size' 不能为 '0'：应为 `int` >= 1\n  应为 int\n"


@pytest.mark.parametrize("words", [(), ("generate",), ("prepare",), ("train",), ("evaluate",), ("models", "import")])
def test_help_is_chinese(chinese: Runner, words: tuple[str, ...]) -> None:
    page = chinese.ok(*words, "--help").stdout
    assert page.strip().startswith("用法：t2i") and "选项" in page and "显示帮助并退出" in page
    # What stands in the last column is prose: no word of it is left in English but names and examples.
    prose = [re.split(r"\s{2,}", line.strip("│ "))[-1] for line in page.splitlines() if line.startswith("│")]
    assert not [line for line in prose if " " in line and not re.search("[\u4e00-\u9fff]", line)]


def test_english_help_follows_chinese_help(chinese: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    chinese.ok("generate", "--help")
    monkeypatch.setenv("T2I_LANG", "en")
    page = chinese.ok("generate", "--help").stdout
    assert "Usage: t2i generate" in page and not re.search("[\u4e00-\u9fff]", page)


def test_tables_are_chinese_and_names_in_them_are_not_translated(chinese: Runner) -> None:
    page = chinese.ok("plugins", "ranker", "colours").stdout
    assert "ranker colours：统计中文或英文提示词中出现的颜色；无需权重" in page
    assert re.search(r"设置项\s+类型\s+默认值\s+含义", page)
    assert re.search(r"size\s+int\s+64\s+图片缩小到的边长", page)


def test_progress_is_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_LANG", "zh")
    job = progress.JobLine("train", 0)
    job.done, job.of, job.figures = 20, 500, {"loss": 0.1234}
    assert job.line().startswith("训练 20/500  loss 0.1234  ")
    assert job.words(seconds=5) == "20/500  loss 0.1234  4.0/s  剩余 2 min 0 s"


def test_questions_are_chinese_and_answered_in_chinese(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("T2I_LANG", "zh")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True, readline=lambda: "是\n"))
    show.confirm("delete 'x'?", yes=False)
    assert capsys.readouterr().err == "删除 'x'？ [y/N] "


def test_json_stays_english(chinese: Runner) -> None:
    error: dict[str, Any] = chinese.run("generate", "x", "-m", "dale", "--json").json()["error"]
    assert error["message"] == "no generator called 'dale'"
    assert error["hint"] == "did you mean 'dalle'?"


def test_t2i_lang_beats_the_system(chinese: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_LANG", "en")
    assert chinese.fails("rerank").stderr.startswith("error: missing argument 'PROMPT IMAGES...'")


def test_a_plugin_brings_its_own_translations(chinese: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, info = tmp_path / "site/t2i_toy", tmp_path / "site/t2icli_toy-1.0.dist-info"
    for folder in (package / "locale", info):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('translations need no import')")
    translations = {"the toy {0} is broken": "玩具 {0} 坏了", "there is no prompt": "插件不能改动核心的译文"}
    (package / "locale/zh.json").write_text(json.dumps(translations), encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: t2icli-toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[t2icli]\ntoy = t2i_toy\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    translate.catalogue.cache_clear()
    try:
        assert translate.translate("the toy 'robot' is broken") == "玩具 'robot' 坏了"
        assert translate.translate("there is no prompt") == "没有提示词"
        (package / "locale/zh.json").write_text("[not json", encoding="utf-8")
        translate.catalogue.cache_clear()
        assert translate.translate("there is no prompt") == "没有提示词"
    finally:
        translate.catalogue.cache_clear()


def test_english_users_load_no_translations(t2i: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    translate.catalogue.cache_clear()
    t2i.ok("--help")
    t2i.fails("rerank")
    assert translate.catalogue.cache_info().currsize == 0


@pytest.mark.parametrize("name", PACKAGES)
def test_catalogues_are_in_the_package_and_so_in_its_wheel(name: str) -> None:
    package = PACKAGES[name]
    project = next(parent for parent in package.parents if (parent / "pyproject.toml").is_file())
    settings = toml.read(project / "pyproject.toml")
    folders = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert os.fspath(package.relative_to(project)) in folders
    assert (package / "locale/zh.json").is_file()
