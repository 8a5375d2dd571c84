"""Beam search over any model that `nn.decode` can draw from: the most likely sequences, deterministically."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from t2icli.nn.blocks import ROWS, fill, filled
from t2icli.nn.decode import Autoregressive, State, prefill
from t2icli.nn.packed import fewest, packed


@torch.inference_mode()
def search(
    model: Autoregressive, condition: Any, length: int, beams: int, *, stop: int, forbidden: tuple[int, ...] = ()
) -> tuple[Tensor, Tensor]:
    """The `beams` likeliest sequences for each row of the condition, best first: (b, beams, length), filled
    with `stop` from their end on; and their scores, (b, beams): the mean log-probability of their codes."""
    logits, state = prefill(model, condition, length)
    b = len(logits)
    # As many rows of the condition at a time as fill a block: what is found for one does not depend on the others.
    together = max(1, ROWS // beams) if logits.device.type == "cpu" else b
    results: list[tuple[Tensor, Tensor]] = []
    for start in range(0, b, together):
        rows = torch.arange(start, min(start + together, b), device=logits.device)
        n = len(rows) * beams
        count = fewest(model, state, logits.shape[1], length, n) if logits.device.type == "cpu" else filled(n)
        wanted = fill(rows.repeat_interleave(beams).tolist(), count)
        padded = torch.tensor(wanted, device=logits.device)
        with packed(model, len(padded)):
            results.append(
                _search(model, logits[padded], state.select(padded), length, beams, len(rows), stop, forbidden)
            )
    sequences, scores = zip(*results, strict=True)
    return torch.cat(sequences), torch.cat(scores)


def _search(
    model: Autoregressive,
    logits: Tensor,
    state: State,
    length: int,
    beams: int,
    b: int,
    stop: int,
    forbidden: tuple[int, ...],
) -> tuple[Tensor, Tensor]:
    """The same of b conditions, from `logits` and a state whose first b * beams rows are theirs; the others fill."""
    n, padding = b * beams, len(logits) - b * beams
    words = logits.shape[1]
    base = torch.arange(b, device=logits.device)[:, None]
    total = logits.new_full((b, beams), -torch.inf, dtype=torch.float32)
    total[:, 0] = 0.0  # at first there is one beam
    lengths, finished = torch.zeros_like(total), torch.zeros_like(total, dtype=torch.bool)
    drawn = torch.empty((b, beams, 0), dtype=torch.int64, device=logits.device)
    while True:
        each = _log_probabilities(logits[:n], forbidden).unflatten(0, (b, beams))
        new = each.masked_fill(finished[..., None], -torch.inf)
        new[..., stop] = new[..., stop].masked_fill(finished, 0.0)  # a finished beam stays as it is
        longer = lengths + ~finished
        best, place = ((total[..., None] + new) / longer[..., None]).flatten(1).topk(beams, dim=1)
        parent, codes = place // words, place % words
        lengths = longer.gather(1, parent)
        total, finished = best * lengths, finished.gather(1, parent) | (codes == stop)
        drawn = torch.cat([drawn.gather(1, parent[..., None].expand_as(drawn)), codes[..., None]], dim=2)
        if drawn.shape[2] == length or bool(finished.all()):
            break
        rows = (base * beams + parent).flatten()
        state = state.select(torch.cat([rows, rows[-1:].expand(padding)]))
        logits = model.step(torch.cat([codes.flatten(), codes[-1, -1:].expand(padding)]), state)
    drawn = torch.nn.functional.pad(drawn, (0, length - drawn.shape[2]), value=stop)
    score, order = (total / lengths).sort(dim=1, descending=True, stable=True)
    return drawn.gather(1, order[..., None].expand_as(drawn)), score


def _log_probabilities(logits: Tensor, forbidden: tuple[int, ...]) -> Tensor:
    logits = logits.float()
    if forbidden:
        logits = logits.index_fill(1, torch.tensor(forbidden, device=logits.device), -torch.inf)
    return logits.log_softmax(dim=1)
