"""The one loop that draws codes one after another: DALL-E, CLIP-GEN and ClipCap's GPT-2 all use it.

A model takes part by offering two methods (`Autoregressive`): `prefill` reads the condition once and
`step` takes the codes just drawn; both return the logits of the next code, over those classes only that can
be drawn. What the model must remember in between, a static KV cache above all, is its `State`.

Two promises hold for any such model:

* Sequence i depends on its condition, the sampling and `seeds[i]` alone. Each has its own stream of uniform
  numbers, turned into codes through the inverse of the cumulative distribution, so no sequence ever uses up
  another's luck. Matrix products round differently for few rows than for many, so conditions are read one by one, and
  on a CPU batches are filled up to whole blocks, in which a row's result does not depend on its neighbours: see
  `nn.blocks` and `nn.packed`.
* Memory grows with the batch, not with how many sequences are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from t2icli.ground.errors import T2IError
from t2icli.nn.blocks import fill, filled
from t2icli.nn.devices import halved
from t2icli.nn.packed import packed
from t2icli.nn.replay import Step, stepper


class State(Protocol):
    """What a model remembers of the sequences so far; `step` updates it in place.

    One that also offers `fixed()`, itself with all that changes in tensors, is quicker on a GPU: see `nn.replay`.
    """

    def select(self, rows: Tensor) -> State:
        """A copy whose row i is this one's row `rows[i]`: repeats a prompt, or reorders beams."""
        ...

    def joined(self, others: Sequence[Any]) -> State:
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

OnStep = Callable[[int, int], object]
"""Called after each step with how many codes of the running batch are drawn, and how many there will be."""


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
    on_step: OnStep | None = None,
) -> Iterator[Tensor]:
    """Draw `length` codes, (length,), for each seed in turn; the condition is read once for all of them.

    The condition has `prompts` rows, or twice as many with guidance; `owners[i]` says which prompt sequence i
    continues, the first if not given.
    """
    sampling = sampling or Sampling()
    owners = owners or [0] * len(seeds)
    logits, state = prefill(model, condition, length)
    done = 0
    while done < len(seeds):
        now = slice(done, done + batch)
        count = batch if logits.device.type != "cpu" else filled(len(seeds[now]))
        rows = _guided(torch.tensor(fill(owners[now], count)), prompts, sampling).to(logits.device)
        try:
            with packed(model, len(rows)):
                step = stepper(model, state.select(rows))
                codes = decode(step, logits[rows], seeds[now], length, sampling, on_step)
        except torch.OutOfMemoryError as error:
            batch = halved(batch, error)
            continue
        yield from codes
        done += batch


@torch.inference_mode()
def decode(
    step: Step,
    logits: Tensor,
    seeds: Sequence[int],
    length: int,
    sampling: Sampling,
    on_step: OnStep | None = None,
) -> Tensor:
    """The codes (n, length) of n seeds, all at once: first from `logits` (b, v), then from what `step` makes of codes.

    Rows beyond n are there to fill a block: they repeat the last and are not drawn from. With guidance there are 2b
    rows, those with the prompt first. Stops early when every row has.
    """
    luck = uniforms(seeds, length).to(logits.device)  # (length, n)
    copies = 1 if sampling.cfg_scale == 1 else 2
    rows = torch.tensor(fill(range(len(seeds)), len(logits) // copies) * copies, device=logits.device)
    finished = torch.zeros(len(seeds), dtype=torch.bool, device=logits.device)
    drawn: list[Tensor] = []
    while True:
        codes = draw(guide(logits, sampling.cfg_scale)[: len(seeds)], luck[len(drawn)], sampling)
        if sampling.stop is not None:
            codes = codes.masked_fill(finished, sampling.stop)
            finished |= codes == sampling.stop
        drawn.append(codes)
        if on_step is not None:
            on_step(len(drawn), length)
        if len(drawn) == length or (sampling.stop is not None and bool(finished.all())):
            break
        logits = step(codes[rows])
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


def draw(logits: Tensor, luck: Tensor, sampling: Sampling) -> Tensor:
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
    target = luck.to(exact)[:, None] * upto[:, -1:]
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
        ordered = probabilities.topk(k, dim=1).values
        before = ordered.cumsum(dim=1) - ordered
        kept = before < p
        if k == width or not kept[:, -1].any():
            break
    lowest = ordered.gather(1, kept.sum(dim=1, keepdim=True) - 1)
    equals = (kept & (ordered == lowest)).sum(dim=1, keepdim=True)
    at_threshold = probabilities == lowest
    chosen = (probabilities > lowest) | (at_threshold & (at_threshold.cumsum(dim=1) <= equals))
    return probabilities.masked_fill(~chosen, 0.0)


@torch.inference_mode()
def prefill(model: Autoregressive, condition: Any, length: int) -> tuple[Tensor, State]:
    """The model's own, of each row by itself, so that none depends on how many there are.

    Weights that give no numbers are refused, for codes would be drawn from them all the same.
    """
    each = [model.prefill(row, length) for row in _rows(condition)]
    logits, (state, *others) = torch.cat([logits for logits, _ in each]), [state for _, state in each]
    state = state.joined(others) if others else state
    if logits.isnan().any():
        raise T2IError(
            "the model's logits are NaN",
            "the weights are damaged or training diverged: import or train the model again",
            code=1,
        )
    return logits, state


def _guided(owners: Tensor, prompts: int, sampling: Sampling) -> Tensor:
    """Which row of the condition each row of the batch continues; with guidance the null rows follow."""
    return owners if sampling.cfg_scale == 1 else torch.cat([owners, owners + prompts])


def _rows(condition: Any) -> list[Any]:
    """The rows of a condition, which is a tensor or a tuple of tensors with as many rows."""
    if isinstance(condition, Tensor):
        return list(condition.split(1))
    return list(zip(*(part.split(1) for part in condition), strict=True))
