from __future__ import annotations

from pathlib import Path

import torch

from t2icli.testing import Runner
from t2icli.training.order import SampleOrder
from t2icli.training.similar import Similar

DISHES = [(f"{a}{b}面", f"{c} noodles") for a in "番南西冬" for b in "瓜茄豆" for c in ("hot", "cold")]


def test_neighbours_share_more_words_than_others() -> None:
    similar = Similar(DISHES, 4)
    rows = similar.order(torch.Generator().manual_seed(0))
    assert sorted(rows.tolist()) == list(range(len(DISHES)))
    words = [{*chinese, *english.split()} for chinese, english in DISHES]

    def shared(groups: list[list[int]]) -> float:
        pairs = [(a, b) for group in groups for a in group for b in group if a < b]
        return sum(len(words[a] & words[b]) for a, b in pairs) / len(pairs)

    every = [list(range(len(DISHES)))]
    assert shared([group.tolist() for group in rows.split(4)]) > shared(every) + 0.4


def test_each_epoch_groups_other_samples_and_a_seed_gives_the_same_ones() -> None:
    order = SampleOrder(3, len(DISHES), 8, similar=Similar(DISHES, 4))
    again = SampleOrder(3, len(DISHES), 8, similar=Similar(DISHES, 4))
    epochs = [order.of_epoch(epoch).tolist() for epoch in range(3)]
    assert epochs == [again.of_epoch(epoch).tolist() for epoch in range(3)]
    assert len({frozenset(map(frozenset, torch.tensor(each).split(4))) for each in epochs}) == 3
    assert [row for row, _ in order.rows(1)] == epochs[0][8:16]


def test_captions_without_words_are_samples_too() -> None:
    rows = Similar([("!",), (), ("红",)], 2).order(torch.Generator().manual_seed(0))
    assert sorted(rows.tolist()) == [0, 1, 2]


def test_recipes_without_captions_to_contrast_and_windows_are_refused(tiny_t2i: Runner, data: Path) -> None:
    words = ["train", "tiny", "--train-data", str(data), "--output", "x", "--max-steps", "1", "-o", "loop.similar=4"]
    tiny_t2i.fails(*words, says="contrast captions")
    tiny_t2i.fails(*words, "-o", "loop.shuffle_window=4", says="set one of them")
