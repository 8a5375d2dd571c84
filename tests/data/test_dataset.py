from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from t2icli.data import shards
from t2icli.data.dataset import PreparedDataset, SourceRow
from t2icli.ground.errors import T2IError
from t2icli.pipelines.prepare import guess_source, open_data


def png(colour: int, size: tuple[int, int] = (5, 4)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (colour, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def rows(n: int) -> list[SourceRow]:
    return [SourceRow(f"a/{i}.x", png(i % 256), (f"第{i}碗面", "noodles"), {"url": f"http://x/{i}"}) for i in range(n)]


@pytest.fixture
def ten(tmp_path: Path) -> PreparedDataset:
    return shards.write(tmp_path / "ten", rows(10), val=0.3, test=0.2)


def test_a_written_row_is_read_back_whole(ten: PreparedDataset) -> None:
    assert len(ten) == 10
    assert ten.key(7) == "a/7.x"
    assert ten.captions(7) == ("第7碗面", "noodles")
    assert ten.size(7) == ten.image(7).size == (5, 4)
    assert ten.image(7).getpixel((0, 0)) == (7, 0, 0)
    assert ten.extra(7)["url"] == "http://x/7"


def test_the_shard_is_a_webdataset(ten: PreparedDataset) -> None:
    with tarfile.open(ten.folder / "000000.tar") as tar:
        names = tar.getnames()
        assert names[:3] == ["a/0%2Ex.png", "a/0%2Ex.txt", "a/0%2Ex.json"]
        member = tar.extractfile(names[1])
        assert member is not None and member.read().decode() == "第0碗面"


def test_splits_divide_the_rows_and_do_not_move_when_rows_are_added(tmp_path: Path) -> None:
    def keys(n: int, split: str) -> set[str]:
        view = shards.write(tmp_path / str(n), rows(n), val=0.3, test=0.2).split(split)  # type: ignore[arg-type]
        return {view.key(i) for i in range(len(view))}

    few, many = ({split: keys(n, split) for split in ("train", "val", "test")} for n in (40, 80))
    assert sum(map(len, many.values())) == 80 and all(many.values())
    assert all(few[split] <= many[split] for split in few)


def test_a_split_named_by_the_source_wins_over_the_hash(tmp_path: Path) -> None:
    given = [SourceRow(str(i), png(i), (), {"split": "val" if i == 2 else "train"}) for i in range(4)]
    val = shards.write(tmp_path, given, val=0.0).split("val")
    assert [val.key(i) for i in range(len(val))] == ["2"]


def test_the_identity_follows_the_rows_and_not_the_place(tmp_path: Path) -> None:
    one, same = (shards.write(tmp_path / name, rows(5)) for name in "ab")
    other = shards.write(tmp_path / "c", rows(6))
    assert one.sha256 == same.sha256 != other.sha256
    assert one.split("train").sha256 != one.sha256


def test_a_view_survives_the_way_to_another_process(ten: PreparedDataset) -> None:
    view = ten.split("train")
    view.image(0)
    sent = pickle.loads(pickle.dumps(view))
    assert [sent.key(i) for i in range(len(sent))] == [view.key(i) for i in range(len(view))]
    assert len(pickle.dumps(view)) < 4000


def test_an_error_while_writing_leaves_no_shard(tmp_path: Path) -> None:
    with pytest.raises(T2IError, match="no local image"):
        shards.write(tmp_path, [*rows(2), SourceRow("x", "http://x")])
    assert list(tmp_path.iterdir()) == []


def test_a_plain_folder_of_images_and_captions_is_prepared_once(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "面.png").write_bytes(png(1))
    (photos / "面.txt").write_text("红烧牛肉面\n一碗面\n", encoding="utf-8")
    for _ in range(2):
        data = open_data(photos, cache=tmp_path / "cache")
        assert data.captions(0) == ("红烧牛肉面", "一碗面")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    (photos / "b.png").write_bytes(png(2))
    assert len(open_data(photos, cache=tmp_path / "cache")) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", "filepath,title\na.png,一碗面\n"),
        ("x.tsv", "title\tfilepath\n一碗面\ta.png\n"),
        ("x.jsonl", '{"image_path": "a.png", "sentences": "一碗面"}\n'),
        ("y.jsonl", '{"image_id": "a.png", "sentences": [["sur_text", "一碗面"]], "bbox": []}\n'),
    ],
)
def test_tables_are_prepared_on_the_way(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "a.png").write_bytes(png(9))
    (tmp_path / name).write_text(text, encoding="utf-8")
    data = open_data(tmp_path / name, cache=tmp_path / "cache")
    assert data.captions(0) == ("一碗面",)
    assert data.image(0).getpixel((0, 0)) == (9, 0, 0)


def test_data_on_the_web_is_not_fetched_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("url,caption\nhttp://127.0.0.1:9/a.jpg,x\n")
    with pytest.raises(T2IError, match="lists images on the web"):
        open_data(tmp_path / "x.csv", cache=tmp_path / "cache")


def test_rows_that_cannot_be_used_are_named_in_a_warning(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(9))
    (tmp_path / "x.csv").write_text("file,caption\na.png,x\nb.png,y\n")
    with pytest.warns(UserWarning, match="1 of 2 rows .* left out: no-such-file 1"):
        assert len(open_data(tmp_path / "x.csv", cache=tmp_path / "cache")) == 1


def test_data_of_which_nothing_can_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("file,caption\nb.png,y\n")
    with pytest.raises(T2IError, match="be used: no-such-file 1"):
        open_data(tmp_path / "x.csv", cache=tmp_path / "cache")


def test_a_split_the_source_made_up_is_not_one(tmp_path: Path) -> None:
    data = shards.write(tmp_path, [SourceRow("a", png(1), (), {"split": "dev"})], val=0)
    assert len(data.split("train")) == 1


def test_a_view_of_a_view_keeps_its_rows(ten: PreparedDataset) -> None:
    train = ten.split("train")
    assert len(train.split("train")) == len(train) and len(train.split("val")) == 0


def test_tars_are_prepared_on_the_way(ten: PreparedDataset, tmp_path: Path) -> None:
    again = open_data(ten.folder / "000000.tar", cache=tmp_path / "cache")
    assert [again.captions(i) for i in range(10)] == [ten.captions(i) for i in range(10)]


def test_a_folder_is_read_as_what_lies_in_it(tmp_path: Path) -> None:
    assert guess_source(tmp_path) == "folder"
    (tmp_path / "a.csv").touch()
    assert guess_source(tmp_path) == "csv"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.JPG").touch()
    assert guess_source(tmp_path) == "folder"
    (tmp_path / "0.tar").touch()
    assert guess_source(tmp_path) == "webdataset"
    with pytest.raises(T2IError, match="not a known data format"):
        guess_source(tmp_path / "a.docx")
