from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch
from t2icli.nn import decode
from t2icli.nn.decode import Condition, Row, Sampling
from t2icli.nn.int8 import Int8Linear

VOCABULARY = 12


class Sums:
    """The sum of all embeddings so far; enough memory to notice a mixed-up row."""

    def __init__(self, total: Tensor) -> None:
        self.total = total

    def select(self, rows: Tensor) -> Sums:
        return Sums(self.total[rows])

    def concatenated(self, others: Sequence[Sums]) -> Sums:
        return Sums(torch.cat([each.total for each in (self, *others)]))


class Toy(nn.Module):
    """The smallest autoregressive model: logits are a linear map of the state."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.code = nn.Embedding(VOCABULARY, 48)
        self.out = nn.Linear(48, VOCABULARY)
        self.rows_seen: list[int] = []
        self.room = 1000
        """How many rows the memory holds."""

    def prefill(self, condition: Tensor, length: int) -> tuple[Tensor, Sums]:
        state = Sums(condition.clone())
        return self.out(state.total), state

    def step(self, codes: Tensor, state: Sums) -> Tensor:
        self.rows_seen.append(len(codes))
        if len(codes) > self.room:
            raise torch.OutOfMemoryError("no room")
        state.total += self.code(codes)
        return self.out(state.total)


@pytest.fixture
def toy() -> Toy:
    return Toy()


def codes_of(model: Toy, seeds: list[int], sampling: Sampling | None = None, **options: object) -> list[list[int]]:
    condition = options.pop("condition", torch.linspace(-1, 1, 48)[None])
    return [row.tolist() for row in decode.sample(model, condition, seeds, 10, sampling, **options)]


def test_a_sequence_depends_on_its_seed_alone(toy: Toy) -> None:
    together = codes_of(toy, list(range(40)))
    assert len({tuple(row) for row in together}) > 30
    for count in (1, 4, 17):
        assert codes_of(toy, list(range(count))) == together[:count]
    for batch in (1, 3, 16, 64):
        assert codes_of(toy, list(range(40)), batch=batch) == together


def test_the_batch_bounds_how_many_rows_are_computed_at_once(toy: Toy) -> None:
    codes_of(toy, list(range(200)), batch=16)
    assert max(toy.rows_seen) == 16 and set(toy.rows_seen) <= {4, 8, 16}


def test_few_sequences_are_computed_as_few_rows_where_that_gives_the_same(toy: Toy) -> None:
    toy.out = Int8Linear(toy.out.weight.detach(), toy.out.bias.detach())  # whose sums are exact
    together = codes_of(toy, list(range(16)))
    for count, rows in ((1, 4), (4, 4), (5, 8), (9, 16)):
        toy.rows_seen.clear()
        assert codes_of(toy, list(range(count))) == together[:count]
        assert toy.rows_seen[-9:] == [rows] * 9


class Crowded(Toy):
    """Rounds by the number of rows, as a library may."""

    def step(self, codes: Tensor, state: Sums) -> Tensor:
        return super().step(codes, state) * (1 + len(codes) / 8)


def test_whole_blocks_are_computed_where_fewer_rows_give_something_else() -> None:
    crowded = Crowded()
    together = codes_of(crowded, list(range(16)))
    assert codes_of(crowded, [0, 1]) == together[:2]
    assert crowded.rows_seen[-9:] == [16] * 9


def test_weights_that_give_no_numbers_are_refused(toy: Toy) -> None:
    toy.out.weight.data[3, 5] = torch.nan
    with pytest.raises(T2IError, match="logits are NaN"):
        codes_of(toy, [1])


def test_temperature_0_takes_the_likeliest_whatever_the_seed(toy: Toy) -> None:
    rows = codes_of(toy, [1, 2, 3], Sampling(temperature=0))
    assert rows[0] == rows[1] == rows[2] and len(rows[0]) == 10
    logits, state = toy.prefill(torch.linspace(-1, 1, 48)[None], 10)
    for code in rows[0]:
        assert code == int(logits.argmax())
        logits = toy.step(torch.tensor([code]), state)


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([0.5, 0.25, 0.15, 0.1]).log().expand(20_000, 4)
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    shares = decode.draw(logits, uniform, Sampling()).bincount(minlength=4) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.25, 0.15, 0.1]), atol=0.01, rtol=0)


def test_top_k_is_a_count() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0]]).expand(500, 4)
    uniform = torch.linspace(0, 0.999, 500)
    assert decode.draw(logits, uniform, Sampling(top_k=2)).unique().tolist() == [0, 2]
    assert decode.draw(logits, uniform, Sampling(top_k=99)).unique().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("p", "kept"), [(0.49, [1]), (0.51, [1, 3]), (0.8, [1, 2, 3]), (1.0, [0, 1, 2, 3])])
def test_top_p_keeps_the_code_that_crosses_the_threshold(p: float, kept: list[int]) -> None:
    logits = torch.tensor([[0.1, 0.5, 0.15, 0.25]]).log().expand(1000, 4)
    assert decode.draw(logits, torch.linspace(0, 0.999, 1000), Sampling(top_p=p)).unique().tolist() == kept


@pytest.mark.parametrize("sharpness", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("p", [0.01, 0.5, 0.95, 1.0])
def test_top_p_of_many_classes_is_what_sorting_all_of_them_gives(sharpness: float, p: float) -> None:
    logits = torch.randn(5, 3000, generator=torch.Generator().manual_seed(0)).mul(4).round() / 4  # many are equal
    probabilities = (logits.double() * sharpness).softmax(dim=1)
    ordered, order = probabilities.sort(dim=1, descending=True, stable=True)
    kept = ordered.where(ordered.cumsum(dim=1) - ordered < p, 0.0)
    assert torch.equal(decode.keep_top_p(probabilities, p), torch.zeros_like(kept).scatter(1, order, kept))


def test_forbidden_codes_are_never_drawn(toy: Toy) -> None:
    rows = codes_of(toy, list(range(20)), Sampling(temperature=3.0, forbidden=(0, 5)))
    assert not {0, 5} & {code for row in rows for code in row}


def test_rows_stop_separately_and_the_loop_ends_when_all_have(toy: Toy) -> None:
    free = codes_of(toy, list(range(8)))
    stopped = codes_of(toy, list(range(8)), Sampling(stop=3))
    for before, after in zip(free, stopped, strict=True):
        end = before.index(3) if 3 in before else 10
        assert after == before[:end] + [3] * (10 - end)
    codes_of(toy, [0])  # tries how many rows will do
    toy.rows_seen.clear()
    codes_of(toy, [0], Sampling(forbidden=tuple(range(3)) + tuple(range(4, VOCABULARY)), stop=3))
    assert toy.rows_seen == []


def test_guidance_pushes_away_from_the_null_condition_at_every_step(toy: Toy) -> None:
    both = torch.stack([torch.linspace(-1, 1, 48), torch.zeros(48)])
    guided = codes_of(toy, [0], Sampling(temperature=0, cfg_scale=3.0), condition=both)[0]
    logits, state = toy.prefill(both, 10)
    for code in guided:
        assert code == int((logits[1] + 3 * (logits[0] - logits[1])).argmax())
        logits = toy.step(torch.tensor([code, code]), state)


def test_guidance_of_a_scale_near_1_changes_nothing(toy: Toy) -> None:
    both = torch.stack([torch.linspace(-1, 1, 48), torch.zeros(48)])
    assert codes_of(toy, [5], Sampling(cfg_scale=1 + 1e-9), condition=both) == codes_of(toy, [5])


def test_sequences_of_several_prompts_continue_their_own(toy: Toy) -> None:
    prompts = torch.stack([torch.linspace(-1, 1, 48), torch.linspace(1, -1, 48)])
    mixed = codes_of(toy, [7, 7, 8], condition=prompts, prompts=2, owners=[0, 1, 1])
    assert mixed[0] == codes_of(toy, [7], condition=prompts[:1])[0]
    assert mixed[1:] == codes_of(toy, [7, 8], condition=prompts[1:])


def test_rows_of_any_sampling_and_length_are_mixed_and_each_is_as_alone(toy: Toy) -> None:
    greedy, warm = Sampling(temperature=0), Sampling(temperature=2.0)
    conditions = [Condition(torch.linspace(-1, i, 48)[None], length) for i, length in enumerate((10, 10, 6))]
    null = Condition(torch.zeros(1, 48), 10)
    guided = [Row(condition, 3, Sampling(cfg_scale=2.0), null) for condition in conditions[:2]]
    rows = [Row(condition, seed, how) for seed in (1, 2) for how in (greedy, warm) for condition in conditions] + guided
    alone = [codes.tolist() for row in rows for codes in decode.sample_rows(toy, [row])]
    for batch in (1, 3, 16):
        assert [codes.tolist() for codes in decode.sample_rows(toy, rows, batch=batch)] == alone
    assert {len(codes) for codes in alone} == {10, 6}


def test_a_condition_is_read_once_however_many_rows_and_blocks_have_it(toy: Toy) -> None:
    reads: list[Tensor] = []
    own = toy.prefill
    toy.prefill = lambda condition, length: reads.append(condition) or own(condition, length)  # type: ignore[method-assign]
    condition, null = (Condition(torch.full((1, 48), value), 10) for value in (1.0, 0.0))
    rows = (Row(condition, seed, Sampling(cfg_scale=2.0), null) for seed in range(50))
    assert len(list(decode.sample_rows(toy, rows, batch=16))) == 50
    assert len(reads) == 2


def test_out_of_memory_halves_the_batch_and_changes_no_sequence(toy: Toy) -> None:
    expected = codes_of(toy, list(range(40)), batch=32)
    toy.room = 16
    toy.rows_seen.clear()
    assert codes_of(toy, list(range(40)), batch=32) == expected
    assert toy.rows_seen[0] == 32 and max(toy.rows_seen[1:]) == 16 and set(toy.rows_seen[1:]) <= {4, 8, 16}, (
        "what did not fit once is not tried again"
    )


def test_one_sequence_that_does_not_fit_is_an_error_with_advice(toy: Toy) -> None:
    toy.room = 0
    with pytest.raises(T2IError, match="not enough memory"):
        codes_of(toy, [0])


def test_progress_is_told_step_by_step(toy: Toy) -> None:
    steps: list[tuple[int, int]] = []

    class Steps(Watch):
        def step(self, done: int, of: int) -> None:
            steps.append((done, of))

    codes_of(toy, [0], watch=Steps())
    assert steps == [(i, 10) for i in range(1, 11)]


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(cfg_scale=2.0), Sampling(stop=3)])
def test_what_nobody_waits_for_is_left_out_within_a_step_and_changes_no_other(toy: Toy, sampling: Sampling) -> None:
    own, null = (Condition(torch.full((1, 48), value), 10) for value in (1.0, 0.0))
    rows = [Row(own, seed, sampling, null) for seed in range(40)]
    expected = [codes.tolist() for codes in decode.sample_rows(toy, rows, batch=40)]

    class Leaving(Watch):
        done = 0

        def step(self, done: int, of: int) -> None:
            self.done = done

        def is_wanted(self, index: int) -> bool:
            return index % 3 == 0 if self.done < 5 else index in (6, 30)  # 14 of 40 are left, then two

    toy.rows_seen.clear()
    drawn = [codes.tolist() for codes in decode.sample_rows(toy, rows, batch=40, watch=Leaving())]
    assert [drawn[index] for index in (6, 30)] == [expected[index] for index in (6, 30)]
    halves = 2 if sampling.cfg_scale != 1 else 1
    assert toy.rows_seen[:2] == [48 * halves, 16 * halves] and max(toy.rows_seen[1:]) == 16 * halves
    assert len(drawn) == 40 and {len(codes) for codes in drawn} == {10}
