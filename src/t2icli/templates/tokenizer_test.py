from __future__ import annotations

import t2i_sample

from t2icli.testing import check_tokenizer


def test_it_keeps_the_promises_of_a_tokenizer() -> None:
    (entry,) = t2i_sample.t2i_tokenizers()
    check_tokenizer(entry)


def test_capitals_can_be_made_small() -> None:
    tokenizer = t2i_sample.Bytes(t2i_sample.Settings(lower=True))
    assert tokenizer.decode(tokenizer.encode(["Apple"], 8)) == ["apple"]
