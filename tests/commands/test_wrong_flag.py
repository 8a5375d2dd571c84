from __future__ import annotations

import pytest

import t2i_noise
from t2icli.testing import Runner


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("generate x -m noise --size 8", "it is a setting of generator 'noise': -o size=..."),
        (
            "generate x --temperature 1 -m noise",
            "generator 'noise' has no such setting, but 'dalle' has: -m dalle -o temp",
        ),
        ("generate x --sed 1", "did you mean --seed? see: t2i generate --help, t2i plugins generator noise"),
        ("rerank x y --size 8", "it is a setting of ranker 'colours': -o size=..."),
        ("train dalle --dim 8", "it is a setting of recipe 'dalle': -o dim=..."),
        ("train dalle --compile yes", "it is a setting of recipe 'dalle': -o loop.compile=..."),
        ("models list --size", "see: t2i models list --help"),
    ],
)
def test_a_flag_that_is_a_setting_says_so(t2i: Runner, words: str, hint: str) -> None:
    t2i.use(t2i_noise)
    t2i.fails(*words.split(), says=hint)
