from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from t2icli.nn.beam import search

STOP = 0


class Table:
    """Logits that depend on the last two codes; its state is what was drawn."""

    def __init__(self, words: int) -> None:
        self.table = torch.randn(words, words, words, generator=torch.Generator().manual_seed(3)) * 2

    class State:
        def __init__(self, drawn: Tensor) -> None:
            self.drawn = drawn

        def select(self, rows: Tensor) -> Table.State:
            return Table.State(self.drawn[rows])

        def concatenated(self, others: Sequence[Table.State]) -> Table.State:
            return Table.State(torch.cat([each.drawn for each in (self, *others)]))

    def prefill(self, condition: Tensor, length: int) -> tuple[Tensor, State]:
        state = self.State(condition[:, None].repeat(1, 2))
        return self.table[condition, condition], state

    def step(self, codes: Tensor, state: State) -> Tensor:
        state.drawn = torch.stack([state.drawn[:, 1], codes], 1)
        return self.table[state.drawn[:, 0], state.drawn[:, 1]]


def best_by_trying_all(model: Table, start: int, length: int) -> tuple[float, list[int]]:
    scored = []
    for codes in itertools.product(range(model.table.shape[0]), repeat=length):
        end = codes.index(STOP) + 1 if STOP in codes else length
        if any(codes[end:]):
            continue
        before, last, total = start, start, 0.0
        for code in codes[:end]:
            total += float(model.table[before, last].log_softmax(0)[code])
            before, last = last, code
        scored.append((total / end, list(codes)))
    return max(scored)


def test_a_wide_beam_finds_the_likeliest_sequence_of_all() -> None:
    model = Table(4)
    sequences, scores = search(model, torch.tensor([1, 2, 3]), 4, 64, stop=STOP)
    for i, start in enumerate((1, 2, 3)):
        score, codes = best_by_trying_all(model, start, 4)
        assert sequences[i, 0].tolist() == codes
        assert abs(float(scores[i, 0]) - score) < 1e-5
        assert scores[i].diff().max() <= 0


def test_one_beam_takes_the_likeliest_code_each_time_and_forbidden_ones_never() -> None:
    model = Table(6)
    sequences, _ = search(model, torch.tensor([2]), 5, 1, stop=STOP, forbidden=(4, 5))
    before, last = 2, 2
    for code in sequences[0, 0].tolist():
        assert code == int(model.table[before, last][:4].argmax())
        if code == STOP:
            break
        before, last = last, code


def test_a_single_code_takes_no_step() -> None:
    model = Table(5)
    model.step = None  # type: ignore[assignment,method-assign]
    sequences, _ = search(model, torch.tensor([1, 2]), 1, 2, stop=STOP)
    assert sequences[:, 0, 0].tolist() == [int(model.table[at, at].argmax()) for at in (1, 2)]
