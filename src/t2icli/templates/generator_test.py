from __future__ import annotations

from pathlib import Path

import t2i_sample

from t2icli.testing import Runner, check_generator


def test_it_keeps_the_promises_of_a_generator() -> None:
    (entry,) = t2i_sample.t2i_generators()
    check_generator(entry, size=16)


def test_t2i_generate_draws_it(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(t2i_sample)
    t2i.ok("generate", "a red apple", "-n", "2", "-m", "sample", "-o", "size=16", "--output", tmp_path / "out")
    assert (tmp_path / "out/001.png").is_file()
