from __future__ import annotations

from pathlib import Path

import pytest

from t2icli.ground import files
from t2icli.ground.errors import T2IError


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


def test_a_folder_takes_its_name_only_when_it_is_filled(tmp_path: Path) -> None:
    place = tmp_path / "model"
    for text in ("old", "new"):
        with files.whole_folder(place) as draft:
            (draft / "a.txt").write_text(text)
    with pytest.raises(RuntimeError), files.whole_folder(place) as draft:
        (draft / "a.txt").write_text("half")
        raise RuntimeError
    assert (place / "a.txt").read_text() == "new" and list(tmp_path.iterdir()) == [place]


def test_a_full_disk_leaves_no_part_of_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from t2icli.data import shards
    from t2icli.ground.errors import T2IError

    class Full:
        def write(self, content: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def tell(self) -> int:
            return 0

        def close(self) -> None:  # what is left in a buffer is refused once more
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(T2IError, match=r"000000\.tar': No space left"), shards.ShardWriter(tmp_path, "000000") as shard:
        shard._tar.close()
        shard._tar = Full()  # type: ignore[assignment]
        shard.add("a", b"", ["x"], {}, {"width": 1, "height": 1, "format": "png", "sha256": ""})
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_is_not_utf_8_is_named_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff面\r\n汤\n".encode())
    assert files.read_text(path).splitlines() == ["面", "汤"]
    path.write_bytes("\ufeff面\n汤\n".encode() + b"\xff\n")
    with pytest.raises(T2IError, match="not UTF-8: line 3"):
        files.read_text(path)
    with pytest.raises(T2IError, match="cannot read"):
        files.read_text(tmp_path)


def test_two_writers_of_a_file_have_drafts_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    with files.whole(path) as one, files.whole(path) as other:  # two hosts may well have the same process id
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one" and [each.name for each in tmp_path.iterdir()] == ["notes.txt"]
