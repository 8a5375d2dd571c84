"""The network against tensors stored from the Chinese original (fp32, CPU): prefix to 1e-5, logits and
losses to 1e-4, every argmax the same."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from t2i_clipcap.model import ClipCap


@torch.no_grad()
def test_prefix_logits_and_loss_are_the_originals(clipcap: ClipCap, golden: Any) -> None:
    io, skip = golden.io, golden.sizes["prefix_len"]
    embedding, tokens, mask = io["data/clip_embeds"], io["data/caption_ids"], io["data/mask"].bool()
    torch.testing.assert_close(clipcap.mapper(embedding), io["model/prefix"], atol=1e-5, rtol=0)
    logits = clipcap(embedding, tokens, mask)
    chosen = logits[io["model/logit_rows"]][:, io["model/logit_positions"]]
    torch.testing.assert_close(chosen, io["model/logits"], atol=1e-4, rtol=0)
    assert logits.argmax(-1).equal(io["model/logits_argmax"])
    loss = F.cross_entropy(logits[:, skip - 1 : -1].flatten(0, 1), tokens.flatten())
    torch.testing.assert_close(loss.reshape(1), io["model/loss_all"], atol=1e-4, rtol=0)
