"""Write what the program itself knows best: docs/cli.md and the examples of docs/hooks.md.

`python docs/generate.py` writes them, `--check` fails if they are out of date, `--site FOLDER` collects the pages of
the documentation site, with those that only the site has: backends.md and rules.md.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from t2icli.registry import discovery

os.environ |= {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "T2I_LANG": "en", "T2I_HOME": os.devnull + "/none"}

import typer
from typer.main import get_command

from t2icli import cli
from t2icli.contract.kinds import KINDS
from t2icli.prepare.settings import PRESETS, FetchLimits, Rules
from t2icli.registry import settings

HERE = Path(__file__).parent
ROOT = HERE.parent
TEMPLATES = ROOT / "src/t2icli/templates"
EXAMPLE = re.compile(r"(^## t2i_(\w+)s\n(?:(?!## )[^\n]*\n)*?)```python\n(?:(?!```)[^\n]*\n)*```", re.MULTILINE)
"""A section of hooks.md up to the end of its example: what stands before it, and the kind."""
PAGES = (
    "*.md",
    "docs/*.md",
    "docs/site.css",
    "docs/pictures/*",
    "plugins/*/README.md",
    "examples/*/README.md",
    "LICENSE",
    "plugins/*/NOTICE",
)
"""What the site is made of, as it lies in the repository, so that links between pages hold in both."""
CHOICES = re.compile(r"[<\[]([\w-]+(?:\|[\w-]+)+)[>\]]")
"""How Typer shows the values that a flag can have."""
OTHER_LANGUAGE = re.compile(r"^\[(中文|English)\]\(README\S*\)\n\n", re.MULTILINE)
"""The link to the other language's README; the site has a menu for that."""
BREAK = re.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef])\n(?=[\u3000-\u9fff\uff00-\uffef])")
"""A line break within a Chinese sentence, which browsers would show as a space."""
OURS = ("t2icli",)
APART = ("t2icli-reference",)
"""Not installed by `make setup`, so not on a page that must come out the same everywhere."""


def cli_page() -> str:
    """Every command with its arguments and flags."""
    root = get_command(cli.app)
    lines = ["# The command line", "", "Generated from the program by `make docs`.", ""]
    context = typer.Context(root, info_name="t2i")
    for name in root.list_commands(context):  # type: ignore[attr-defined]
        command = cli.loaded(cli.offered(name))
        lines += _command(command, f"t2i {name}", context, 2)
    return "\n".join(lines).rstrip() + "\n"


def _command(command, name: str, parent, level: int) -> Iterator[str]:  # type: ignore[no-untyped-def]
    context = typer.Context(command, info_name=name.split()[-1], parent=parent)
    yield from ("#" * level + f" `{name}`", "")
    yield from ((command.help or "").strip(), "")
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join((a.metavar or a.name.upper()).rstrip(".") + ("..." if a.nargs == -1 else "") for a in arguments)
    below = getattr(command, "commands", {})
    yield from ("```", f"{name} {usage + ' ' if usage else ''}{'COMMAND' if below else '[OPTIONS]'}", "```", "")
    rows = list(_rows(command.params, context))
    if rows:
        yield from ("| | meaning | default |", "| --- | --- | --- |", *rows, "")
    for inner, deeper in below.items():
        yield from _command(deeper, f"{name} {inner}", context, level + 1)


def _rows(parameters, context) -> Iterator[str]:  # type: ignore[no-untyped-def]
    for parameter in parameters:
        if getattr(parameter, "hidden", False):
            continue
        flags = [*parameter.opts, *parameter.secondary_opts]
        name = (
            (parameter.metavar or parameter.name.upper())
            if parameter.param_type_name == "argument"
            else ", ".join(flags)
        )
        choices = CHOICES.search((parameter.get_help_record(context) or ("",))[0])
        values = f" {choices[1].replace('|', ', ')}" if choices else ""
        default = parameter.default if isinstance(parameter.default, (str, int, float)) else ""
        shown = "" if isinstance(default, bool) or not str(default).strip() else f"`{default}`"
        yield f"| `{name}`{values} | {(getattr(parameter, 'help', '') or '').replace('|', chr(92) + '|')} | {shown} |"


def is_ours(offer) -> bool:  # type: ignore[no-untyped-def]
    return offer.distribution.startswith(OURS) and not offer.distribution.startswith(APART)


def backends_page() -> str:
    """Every backend of ours, by kind, with its settings."""
    found = discovery.installed()
    if found.broken:
        sys.exit("\n".join(map(str, found.broken)))
    lines = ["# Backends and their settings", "", "Generated from the program by `make docs-site`; the same as"]
    lines += ["`t2i plugins KIND NAME` shows. Set one with `-o NAME=VALUE`, or in a file given by `--config`.", ""]
    for kind in KINDS:
        offers = {name: offer for name, offer in found.offers[kind].items() if is_ours(offer)}
        if not offers:
            continue
        lines += [f"## {kind}", ""]
        for name, offer in sorted(offers.items()):
            lines += [f"### {name}", "", f"{offer.entry.about} ({offer.distribution.split()[0]})", ""]
            rows = [f"| `{f.name}` | {_cell(f.type)} | {_cell(f.default)} | {_cell(f.about)} |" for f in _fields(offer)]
            if rows:
                lines += ["| setting | type | default | meaning |", "| --- | --- | --- | --- |", *rows, ""]
    return "\n".join(lines).rstrip() + "\n"


def rules_page() -> str:
    """What `t2i prepare` can be asked of captions, pictures and servers."""
    lines = ["# Rules and limits of `t2i prepare`", "", "Generated from the program by `make docs-site`.", ""]
    for word, struct in (("rules", Rules), ("fetch", FetchLimits)):
        rows = (
            f"| `{f.name}` | {_cell(f.type)} | {_cell(f.default)} | {_cell(f.about)} |"
            for f in settings.describe(struct)
        )
        lines += [
            f"## `-o {word}.NAME=VALUE`",
            "",
            "| setting | type | default | meaning |",
            "| --- | --- | --- | --- |",
        ]
        lines += [*rows, ""]
    for name, preset in PRESETS.items():
        chosen = " ".join(f"`{key}={value}`" for key, value in preset.items())
        lines += [f"## `--preset {name}`", "", chosen.replace("|", "\\|"), ""]
    return "\n".join(lines).rstrip() + "\n"


def _fields(offer: discovery.Offer) -> list[settings.Field]:
    return settings.describe(offer.entry.settings)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def hooks_page() -> str:
    """docs/hooks.md with each kind's template as its example."""

    def with_template(section: re.Match[str]) -> str:
        template = TEMPLATES / f"{section[2]}.py"
        if not template.is_file():  # models and commands are no kinds: their examples are written in the page
            return section[0]
        return f"{section[1]}```python\n{template.read_text(encoding='utf-8')}```"

    return EXAMPLE.sub(with_template, (HERE / "hooks.md").read_text(encoding="utf-8"))


def collect(folder: Path) -> None:
    """Everything the site shows, below `folder`; a page in Chinese is called NAME.zh.md there."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in sorted(path for pattern in PAGES for path in ROOT.glob(pattern)):
        target = folder / str(path.relative_to(ROOT)).replace(".zh-CN.md", ".zh.md")
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = BREAK.sub("", OTHER_LANGUAGE.sub("", path.read_text(encoding="utf-8")))
            target.write_text(text.replace(".zh.md)", ".md)"), encoding="utf-8")  # the site picks the language
        else:
            shutil.copyfile(path, target)
    for name, text in {"backends.md": backends_page(), "rules.md": rules_page()}.items():
        (folder / "docs" / name).write_text(text, encoding="utf-8")


def main() -> None:
    if "--site" in sys.argv:
        collect(Path(sys.argv[sys.argv.index("--site") + 1]))
        return
    stale = []
    for name, text in {"cli.md": cli_page(), "hooks.md": hooks_page()}.items():
        path = HERE / name
        if "--check" in sys.argv:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                stale.append(path.name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        sys.exit(f"out of date: {', '.join(stale)}; run: make docs")


if __name__ == "__main__":
    main()
