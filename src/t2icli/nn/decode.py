"""The one loop that draws codes one after another: DALL-E, CLIP-GEN and ClipCap's GPT-2 all use it.

A model implements two methods (`Autoregressive`): `prefill` reads the condition once and
`step` takes the codes just drawn; both return the logits of the next code, over those classes only that can
be drawn. What it keeps in between, mainly a static KV cache, is its `State`.

Two promises hold for any such model:

* Sequence i depends on its condition, the sampling and `seeds[i]` alone. Each has its own stream of uniform
  numbers, turned into codes through the inverse of the cumulative distribution, so no sequence consumes
  another's numbers. Matrix products round differently for few rows than for many: conditions are read one by one, and
  on a CPU batches are filled up to a number of rows in which a row's result does not depend on its neighbours: see
  `nn.blocks` and `nn.packed`.
* Memory grows with the batch, not with how many sequences are asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch, unwatched
from t2icli.nn.blocks import fill, in_groups
from t2icli.nn.packed import alone_if_small, fewest, packed
from t2icli.nn.replay import Step, stepper


class State(Protocol):
    """What a model remembers of the sequences so far; `step` updates it in place.

    One that also offers `fixed()`, itself with all that changes in tensors, is quicker on a GPU: see `nn.replay`.
    """

    def select(self, rows: Tensor) -> State:
        """A copy whose row i is this one's row `rows[i]`: repeats a prompt, or reorders beams."""
        ...

    def concatenated(self, others: Sequence[Any]) -> State:
        """The rows of this one, then those of the others, which have as many codes."""
        ...


class Autoregressive(Protocol):
    """A model that can be drawn from."""

    def prefill(self, condition: Any, length: int) -> tuple[Tensor, State]:
        """Read a condition of b rows, leave room for `length` codes: logits (b, v) of the first code, and the state."""
        ...

    def step(self, codes: Tensor, state: Any) -> Tensor:
        """Append one code to each row, (b,): logits (b, v) of the next."""
        ...


@dataclass(frozen=True)
class Sampling:
    """How a code is chosen from logits."""

    temperature: float = 1.0
    """0 takes the likeliest."""
    top_k: int | None = None
    top_p: float | None = None
    """The code that crosses the threshold is kept."""
    cfg_scale: float = 1.0
    """null + (condition - null) * scale; other than 1, the condition holds the null rows after the others."""
    forbidden: tuple[int, ...] = ()
    stop: int | None = None
    """A row that drew this code is finished; what follows it is filled with it."""


FEW = 256
"""Classes that hold nearly all of a trained model's probability."""

Paint = Callable[[Tensor], Image]
"""The picture of the codes so far, (m,)."""


@dataclass(eq=False)
class Condition:
    """What a model reads before it draws. Rows with the same one, not an equal one, have it read once."""

    row: Any
    """A tensor of one row, or a tuple of such tensors."""
    length: int
    """How many codes are drawn after it."""
    prefilled: tuple[Tensor, State] | None = None
    """The logits (1, v) of the first code and the state, once it was read."""


@dataclass(frozen=True)
class Row:
    """One sequence to draw."""

    condition: Condition
    seed: int
    sampling: Sampling = Sampling()
    null: Condition | None = None
    """What guidance compares with."""
    paint: Paint | None = None
    """What makes previews of it."""


def sample(
    model: Autoregressive,
    condition: Any,
    seeds: Sequence[int],
    length: int,
    sampling: Sampling | None = None,
    *,
    prompts: int = 1,
    owners: Sequence[int] | None = None,
    batch: int = 32,
    watch: Watch = unwatched,
) -> Iterator[Tensor]:
    """Draw `length` codes, (length,), for each seed in turn; the condition is read once for all of them.

    The condition has `prompts` rows, or twice as many with guidance; `owners[i]` says which prompt sequence i
    continues, the first if not given.
    """
    sampling = sampling or Sampling()
    read = [Condition(row, length) for row in _rows(condition)]
    own, null = read[:prompts], read[prompts:] if sampling.cfg_scale != 1 else [None] * prompts
    owners = owners or [0] * len(seeds)
    rows = (Row(own[owner], seed, sampling, null[owner]) for owner, seed in zip(owners, seeds, strict=True))
    return sample_rows(model, rows, batch=batch, watch=watch)


def sample_rows(
    model: Autoregressive, rows: Iterable[Row], *, batch: int = 32, watch: Watch = unwatched
) -> Iterator[Tensor]:
    """The codes of each row, in their order. Rows are read in blocks of `batch`, which mix conditions."""

    def compute(group: Mapping[int, Row], batch: int) -> Tensor:
        with alone_if_small(model, len(group)):
            return _sample_group(model, group, batch, watch)

    return in_groups(rows, lambda row: (row.sampling, row.condition.length), compute, batch)


def _sample_group(model: Autoregressive, rows: Mapping[int, Row], batch: int, watch: Watch) -> Tensor:
    """The codes (n, length) of rows with one sampling and length, by their index among all."""
    sampling, length = next((row.sampling, row.condition.length) for row in rows.values())
    conditions = [row.condition for row in rows.values()]
    nulls = [row.null for row in rows.values() if row.null is not None and sampling.cfg_scale != 1]
    logits, state, places = _read(model, [conditions, nulls])
    halves = 2 if nulls else 1
    needed = partial(fewest, model, state, logits.shape[1], length, halves=halves)
    count = needed(len(rows)) if logits.device.type == "cpu" else batch
    repeated = torch.tensor([place for half in places if half for place in fill(half, count)], device=logits.device)
    seeds = [row.seed for row in rows.values()]
    narrowing = Narrowing(model, state.select(repeated), count, halves, needed, list(rows), watch)

    def follow(drawn: Sequence[Tensor]) -> None:
        watch.step(len(drawn), length)
        for i, (index, row) in enumerate(rows.items()):
            if row.paint is not None:
                watch.preview(index, partial(_painted, row.paint, drawn, i))

    with narrowing.opened() as step:
        return decode(step, logits[repeated], seeds, length, sampling, follow, narrowing.narrow)


@dataclass
class Narrowing:
    """Sequences being sampled; on a CPU, those that are no longer wanted are dropped once that saves a block."""

    model: Autoregressive
    state: State
    count: int
    """Rows of a half: there are two with guidance."""
    halves: int
    needed: Callable[[int], int]
    """How many rows of a half so many sequences take."""
    indices: list[int]
    """The index of each sequence among all."""
    watch: Watch
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Step]:
        with self.stack:
            yield self._step()

    def _step(self) -> Step:
        self.stack.enter_context(packed(self.model, self.count * self.halves))
        return stepper(self.model, self.state)

    def narrow(self, here: Sequence[int], device: torch.device) -> tuple[list[int], Tensor, Step] | None:
        """Which of the sequences `here` are kept, the rows of logits that are, and what appends to them."""
        staying = [i for i, place in enumerate(here) if self.watch.is_wanted(self.indices[place])]
        if device.type != "cpu" or not staying:
            return None
        count = self.needed(len(staying))
        if count >= self.count:
            return None
        rows = torch.tensor([half * self.count + i for half in range(self.halves) for i in fill(staying, count)])
        self.stack.close()
        self.state, self.count = self.state.select(rows), count
        return staying, rows, self._step()


def _painted(paint: Paint, drawn: Sequence[Tensor], i: int) -> Image:
    return paint(torch.stack([codes[i] for codes in drawn]))


def _read(model: Autoregressive, halves: Sequence[Sequence[Condition]]) -> tuple[Tensor, State, list[list[int]]]:
    """Logits and state of all that is conditioned on, each once, and the place of each condition among them."""
    different = {id(condition): condition for half in halves for condition in half}
    for condition in different.values():
        condition.prefilled = condition.prefilled or _prefill_one(model, condition.row, condition.length)
    prefilled = [condition.prefilled for condition in different.values() if condition.prefilled is not None]
    place = {key: i for i, key in enumerate(different)}
    return *_joined(prefilled), [[place[id(condition)] for condition in half] for half in halves]


@torch.inference_mode()
def decode(
    step: Step,
    logits: Tensor,
    seeds: Sequence[int],
    length: int,
    sampling: Sampling,
    follow: Callable[[Sequence[Tensor]], object] = lambda drawn: None,
    narrow: Callable[[Sequence[int], torch.device], tuple[list[int], Tensor, Step] | None] = lambda here, device: None,
) -> Tensor:
    """The codes (n, length) of n seeds, all at once: first from `logits` (b, v), then from those that `step` returns.

    `follow` is called after each step with the codes (n,) of every step so far. `narrow` may leave sequences out from
    then on: it gets the places of those that are drawn.

    Rows beyond n are there to fill a block: they repeat the last and are not drawn from. With guidance there are 2b
    rows, those with the prompt first. Stops early when every row has.
    """
    uniform = uniforms(seeds, length).to(logits.device)  # (length, n)
    copies = 1 if sampling.cfg_scale == 1 else 2
    here = list(range(len(seeds)))
    rows = torch.tensor(fill(here, len(logits) // copies) * copies, device=logits.device)
    codes = torch.zeros(len(seeds), dtype=torch.long, device=logits.device)
    finished = torch.zeros(len(seeds), dtype=torch.bool, device=logits.device)
    drawn: list[Tensor] = []
    while True:
        if len(here) == len(seeds):
            codes = draw(guide(logits, sampling.cfg_scale)[: len(seeds)], uniform[len(drawn)], sampling)
        else:
            drawn_here = draw(guide(logits, sampling.cfg_scale)[: len(here)], uniform[len(drawn), here], sampling)
            codes = codes.index_copy(0, torch.tensor(here), drawn_here)
        if sampling.stop is not None:
            codes = codes.masked_fill(finished, sampling.stop)
            finished |= codes == sampling.stop
        drawn.append(codes)
        follow(drawn)
        if len(drawn) == length or (sampling.stop is not None and bool(finished.all())):
            break
        logits = step(codes[rows])
        if (fewer := narrow(here, logits.device)) is not None:
            staying, left, step = fewer
            here, logits = [here[i] for i in staying], logits[left]
            finished |= torch.ones_like(finished).index_fill(0, torch.tensor(here), False)
            rows = torch.tensor(fill(here, len(logits) // copies) * copies)
    drawn += [codes] * (length - len(drawn))  # only stops are left to be written
    return torch.stack(drawn, dim=1)


def uniforms(seeds: Sequence[int], length: int) -> Tensor:
    """Numbers in [0, 1), (length, b), column i drawn with `seeds[i]` alone; the same on every device."""
    columns = [torch.rand(length, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(columns, dim=1)


def guide(logits: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance over rows that hold the conditional half first, then the null half."""
    if scale == 1:
        return logits.float()
    conditional, null = logits.float().chunk(2)
    return null + (conditional - null) * scale


def draw(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """One code a row, (b,), from logits (b, v) and one uniform number a row, (b,)."""
    if sampling.forbidden:
        logits = logits.index_fill(1, torch.tensor(sampling.forbidden, device=logits.device), -torch.inf)
    if sampling.temperature == 0:
        return logits.argmax(dim=1)
    logits = logits / sampling.temperature
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)
    exact = torch.float32 if logits.device.type == "mps" else torch.float64
    probabilities = logits.to(exact).softmax(dim=1)
    if sampling.top_p is not None:
        probabilities = keep_top_p(probabilities, sampling.top_p)
    upto = probabilities.cumsum(dim=1)
    target = uniform.to(exact)[:, None] * upto[:, -1:]
    return torch.searchsorted(upto, target, right=True)[:, 0].clamp(max=logits.shape[1] - 1)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """The k highest logits of each row; the others become -inf."""
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return torch.full_like(logits, -torch.inf).scatter(1, best, logits.gather(1, best))


def keep_top_p(probabilities: Tensor, p: float) -> Tensor:
    """The likeliest of each row until their sum passes p, the one that passes it included; the others become 0.

    Of equal ones at the threshold the first are kept. A few hundred mostly do, so all of them are seldom sorted.
    """
    width = probabilities.shape[1]
    for k in (FEW, width) if width > 2 * FEW else (width,):
        ordered = probabilities.topk(k, dim=1).values if k < width else _descending(probabilities)
        before = ordered.cumsum(dim=1) - ordered
        nucleus = before < p
        if k == width or not nucleus[:, -1].any():
            break
    lowest = ordered.gather(1, nucleus.sum(dim=1, keepdim=True) - 1)
    equals = (nucleus & (ordered == lowest)).sum(dim=1, keepdim=True)
    at_threshold = probabilities == lowest
    chosen = (probabilities > lowest) | (at_threshold & (at_threshold.cumsum(dim=1) <= equals))
    return probabilities.masked_fill(~chosen, 0.0)


def _descending(rows: Tensor) -> Tensor:
    """Each row sorted; NumPy does it eight times as fast as torch on a CPU."""
    if rows.device.type != "cpu":
        return rows.sort(dim=1, descending=True).values
    return torch.from_numpy(np.sort(rows.numpy(), axis=1)).flip(1)


def prefill(model: Autoregressive, condition: Any, length: int) -> tuple[Tensor, State]:
    """The model's own, of each row by itself, so that none depends on how many there are."""
    return _joined([_prefill_one(model, row, length) for row in _rows(condition)])


@torch.inference_mode()
def _prefill_one(model: Autoregressive, row: Any, length: int) -> tuple[Tensor, State]:
    """Of one row. Logits that are not finite are refused; codes would be drawn from them all the same."""
    logits, state = model.prefill(row, length)
    if logits.isnan().any():
        raise T2IError(
            "the model's logits are NaN",
            "the weights are damaged or training diverged: import or train the model again",
            code=1,
        )
    return logits, state


@torch.inference_mode()
def _joined(prefilled: Sequence[tuple[Tensor, State]]) -> tuple[Tensor, State]:
    state, *others = [state for _, state in prefilled]
    return torch.cat([logits for logits, _ in prefilled]), state.concatenated(others) if others else state


def _rows(condition: Any) -> list[Any]:
    """The rows of a condition, which is a tensor or a tuple of tensors with as many rows."""
    if isinstance(condition, Tensor):
        return list(condition.split(1))
    return list(zip(*(part.split(1) for part in condition), strict=True))
