"""The network against tensors stored from the Chinese original (fp32, CPU): prefix to 1e-5, logits and
losses to 1e-4, every argmax the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from t2i_clipcap.model import ClipCap
from t2i_clipcap.words import open_words
from t2icli.nn import decode


@torch.no_grad()
def test_prefix_logits_and_loss_are_the_originals(clipcap: ClipCap, tiny: Any) -> None:
    io, skip = tiny.io, tiny.sizes["prefix_len"]
    embedding, tokens, mask = io["data/clip_embeds"], io["data/caption_ids"], io["data/mask"].bool()
    torch.testing.assert_close(clipcap.mapper(embedding), io["model/prefix"], atol=1e-5, rtol=0)
    logits = clipcap(embedding, tokens, mask)
    chosen = logits[io["model/logit_rows"]][:, io["model/logit_positions"]]
    torch.testing.assert_close(chosen, io["model/logits"], atol=1e-4, rtol=0)
    assert logits.argmax(-1).equal(io["model/logits_argmax"])
    loss = F.cross_entropy(logits[:, skip - 1 : -1].flatten(0, 1), tokens.flatten())
    torch.testing.assert_close(loss.reshape(1), io["model/loss_all"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_likeliest_captions_are_the_originals(clipcap: ClipCap, tiny: Any, vocabulary: Path) -> None:
    words, known, io = open_words(vocabulary), tiny.json("captions.json"), tiny.io
    greedy = decode.Sampling(temperature=0, stop=words.stop, forbidden=words.forbidden)

    def ids(embedding: torch.Tensor, length: int) -> list[list[int]]:
        n = len(embedding)
        rows = decode.sample(clipcap, embedding, [0] * n, length, greedy, prompts=n, owners=range(n))
        return [row.tolist() for row in rows]

    # The original stops one token later than its max_len says.
    found = ids(io["data/clip_embeds"][io["gen/first_rows"]], tiny.sizes["max_len"] + 1)
    assert [upto(row, words.stop) for row in found] == known["greedy_ids"]
    assert [words.decode(row) for row in found] == known["greedy"]
    noise = ids(io["gen/noise_embeds"], known["noise"]["max_len"] + 1)
    assert [upto(row, words.stop) for row in noise] == known["noise"]["greedy_ids"]


def upto(ids: list[int], stop: int) -> list[int]:
    return ids[: ids.index(stop)] if stop in ids else ids


@torch.no_grad()
def test_stepping_through_the_cache_gives_the_whole_forward_passs_logits(clipcap: ClipCap, tiny: Any) -> None:
    embedding, tokens = tiny.io["data/clip_embeds"][:2], tiny.io["data/caption_ids"][:2]
    whole = clipcap(embedding, tokens)[:, tiny.sizes["prefix_len"] - 1 : -1]
    logits, cache = clipcap.prefill(embedding, tokens.shape[1])
    stepped = [logits] + [clipcap.step(ids, cache) for ids in tokens[:, :-1].unbind(1)]
    torch.testing.assert_close(torch.stack(stepped, 1), whole, atol=1e-4, rtol=0)


def test_texts_get_the_originals_ids(golden: Any, vocabulary: Path) -> None:
    words = open_words(vocabulary)
    for known in json.loads(golden("clipcap/tokenizer.json").read_text(encoding="utf-8")):
        assert words.encode([known["text"]])[0] == [*known["ids"], words.stop]
