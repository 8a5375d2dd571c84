"""The work behind `t2i plugins new`: a plugin project that works from the first minute.

The templates in `t2icli/templates` are themselves working plugins, called "sample".
"""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from t2icli.contract.kinds import KINDS
from t2icli.ground.errors import T2IError, did_you_mean

TEMPLATES = Path(__file__).parents[1] / "templates"


def kinds() -> list[str]:
    """The kinds there is a template for."""
    return [kind for kind in KINDS if (TEMPLATES / f"{kind}.py").is_file()]


def new(name: str, kind: str, parent: Path) -> Path:
    """Write the project `t2icli-NAME` into `parent` and return its folder."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise T2IError(f"{name!r} cannot be a plugin's name", "use a-z, 0-9 and '-', such as 'my-noise'")
    if kind not in kinds():
        raise T2IError(f"there is no template for a {kind!r}", did_you_mean(kind, kinds()))
    folder = parent / f"t2icli-{name}"
    if folder.exists():
        raise T2IError(f"'{folder}' already exists", "choose another name or --output")
    module = f"t2i_{name.replace('-', '_')}"
    places = {
        "project/pyproject.toml": "pyproject.toml",
        "project/README.md": "README.md",
        "project/gitignore": ".gitignore",
        f"{kind}.py": f"src/{module}/__init__.py",
        f"{kind}_test.py": f"tests/test_{module}.py",
    }
    for template, place in places.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        text = (TEMPLATES / template).read_text(encoding="utf-8")
        path.write_text(_filled(text, name, module, kind), encoding="utf-8")
    return folder


def _filled(text: str, name: str, module: str, kind: str) -> str:
    return text.replace("t2i_sample", module).replace("sample", name).replace("KIND", kind)
