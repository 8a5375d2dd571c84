"""Which distributions announce plugins, as importlib.metadata would say it."""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from pathlib import Path

import pytest

from t2icli.ground import distributions
from t2icli.ground.distributions import Point

POINTS = """
[console_scripts]
x = t2i_x:main

[t2icli]
# a comment
b = t2i_x.b
a = t2i_x:things.a [extra]

[t2icli.other]
c = t2i_x.c
"""


def install(folder: Path, name: str, version: str, points: str = POINTS, metadata: str = "METADATA") -> None:
    info = folder / f"{name}-{version}.{'dist' if metadata == 'METADATA' else 'egg'}-info"
    info.mkdir(parents=True)
    (info / metadata).write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: not this\n")
    (info / "entry_points.txt").write_text(points)


def by_metadata() -> list[tuple[str, str, str]]:
    points = importlib.metadata.entry_points(group="t2icli")
    return sorted((point.name, point.module, point.attr or "") for point in points)


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(each for each in sys.path if "site-packages" not in each)])
    return tmp_path


def test_the_points_are_those_that_importlib_metadata_finds() -> None:
    found = [(point.name, point.module, point.attribute) for point in distributions.points()]
    assert found == by_metadata() and "starter" in [name for name, _, _ in found]


@pytest.mark.parametrize("metadata", ["METADATA", "PKG-INFO"])
def test_a_distribution_is_read_with_sections_comments_and_extras(path: Path, metadata: str) -> None:
    install(path, "t2i_x", "1.2", metadata=metadata)
    assert distributions.points() == [
        Point("a", "t2i_x", "things.a", "t2i_x 1.2"),
        Point("b", "t2i_x.b", "", "t2i_x 1.2"),
    ]


def test_of_two_distributions_of_one_name_the_first_on_the_path_counts(path: Path) -> None:
    sys.path.insert(0, str(path / "first"))
    install(path / "first", "T2I.x", "2.0")
    install(path, "t2i_x", "1.0")
    assert {point.distribution for point in distributions.points()} == {"T2I.x 2.0"}


def test_a_zip_file_on_the_path_is_read_too(path: Path) -> None:
    install(path / "files", "t2i_x", "1.0")
    with zipfile.ZipFile(path / "all.zip", "w") as archive:
        for file in (path / "files").rglob("*.txt"):
            archive.write(file, file.relative_to(path / "files"))
        archive.write(path / "files/t2i_x-1.0.dist-info/METADATA", "t2i_x-1.0.dist-info/METADATA")
    sys.path.insert(0, str(path / "all.zip"))
    assert [point.name for point in distributions.points()] == ["a", "b"]


def test_a_point_leads_to_a_module_or_to_something_in_it() -> None:
    assert Point("a", "json", "", "x").load() is __import__("json")
    assert Point("a", "json", "decoder.JSONDecoder", "x").load() is __import__("json").JSONDecoder
