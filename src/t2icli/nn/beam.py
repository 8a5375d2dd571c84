"""Beam search over any model that `nn.decode` can draw from: the likeliest sequences, without luck."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from t2icli.nn.decode import Autoregressive, prefill


@torch.inference_mode()
def search(
    model: Autoregressive, condition: Any, length: int, beams: int, *, stop: int, forbidden: tuple[int, ...] = ()
) -> tuple[Tensor, Tensor]:
    """The `beams` likeliest sequences for each row of the condition, best first: (b, beams, length), filled
    with `stop` from their end on; and their scores, (b, beams): the mean log-probability of their codes."""
    logits, state = prefill(model, condition, length)
    b, words = logits.shape
    base = torch.arange(b, device=logits.device)[:, None]
    rows = base.expand(b, beams)
    logits, state = logits[rows.flatten()], state.select(rows.flatten())
    total = logits.new_full((b, beams), -torch.inf, dtype=torch.float32)
    total[:, 0] = 0.0  # at first there is one beam
    lengths, finished = torch.zeros_like(total), torch.zeros_like(total, dtype=torch.bool)
    drawn = torch.empty((b, beams, 0), dtype=torch.int64, device=logits.device)
    while True:
        new = (
            _log_probabilities(logits, forbidden).unflatten(0, (b, beams)).masked_fill(finished[..., None], -torch.inf)
        )
        new[..., stop] = new[..., stop].masked_fill(finished, 0.0)  # a finished beam stays as it is
        longer = lengths + ~finished
        best, place = ((total[..., None] + new) / longer[..., None]).flatten(1).topk(beams, dim=1)
        parent, codes = place // words, place % words
        lengths = longer.gather(1, parent)
        total, finished = best * lengths, finished.gather(1, parent) | (codes == stop)
        drawn = torch.cat([drawn.gather(1, parent[..., None].expand_as(drawn)), codes[..., None]], dim=2)
        if drawn.shape[2] == length or bool(finished.all()):
            break
        state = state.select((base * beams + parent).flatten())
        logits = model.step(codes.flatten(), state)
    drawn = torch.nn.functional.pad(drawn, (0, length - drawn.shape[2]), value=stop)
    score, order = (total / lengths).sort(dim=1, descending=True, stable=True)
    return drawn.gather(1, order[..., None].expand_as(drawn)), score


def _log_probabilities(logits: Tensor, forbidden: tuple[int, ...]) -> Tensor:
    logits = logits.float()
    if forbidden:
        logits = logits.index_fill(1, torch.tensor(forbidden, device=logits.device), -torch.inf)
    return logits.log_softmax(dim=1)
