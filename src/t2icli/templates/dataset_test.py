from __future__ import annotations

from pathlib import Path

import t2i_sample

from t2icli.testing import check_dataset


def test_it_keeps_the_promises_of_a_dataset(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("image,caption\na.jpg,红烧牛肉面\nhttps://example.org/b.jpg,rice\n", encoding="utf-8")
    (entry,) = t2i_sample.t2i_datasets()
    check_dataset(entry, table)
    first, second = entry.load(t2i_sample.Settings()).rows(table)
    assert first.captions == ("红烧牛肉面",) and first.image == tmp_path / "a.jpg"
    assert second.image == "https://example.org/b.jpg"
