from __future__ import annotations

from pathlib import Path

import t2i_noise
from t2icli.testing import Runner, check_generator


def test_it_keeps_the_promises_of_a_generator() -> None:
    (entry,) = t2i_noise.t2i_generators()
    check_generator(entry, size=16)


def test_prompt_and_seed_both_change_the_picture() -> None:
    noise = t2i_noise.Noise(t2i_noise.Settings(size=16))
    ((one,), (other_seed,), (other_prompt,)) = (
        noise.generate(prompt, 1, seed=seed) for prompt, seed in [("a", 0), ("a", 1), ("b", 0)]
    )
    assert len({one.tobytes(), other_seed.tobytes(), other_prompt.tobytes()}) == 3


def test_t2i_generate_draws_it(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(t2i_noise)
    for folder in ("a", "b"):
        t2i.ok("generate", "红烧牛肉面", "-m", "noise", "-o", "size=16", "--seed", "7", "--output", tmp_path / folder)
    assert (tmp_path / "a/000.png").read_bytes() == (tmp_path / "b/000.png").read_bytes()
