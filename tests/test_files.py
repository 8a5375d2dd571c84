from __future__ import annotations

from pathlib import Path

import pytest

from t2icli import files


def test_a_file_takes_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep/a.txt"
    with pytest.raises(KeyboardInterrupt), files.whole(path) as draft:
        draft.write_text("half")
        raise KeyboardInterrupt
    assert list(path.parent.iterdir()) == []
    with files.whole(path) as draft:
        draft.write_text("all")
        assert not path.exists()
    assert path.read_text() == "all"
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_rewrite_leaves_the_old_file(tmp_path: Path) -> None:
    path = files.write(tmp_path / "a.txt", "old\n")
    with pytest.raises(RuntimeError), files.whole(path) as draft:
        draft.write_text("new")
        raise RuntimeError
    assert path.read_text() == "old\n"
