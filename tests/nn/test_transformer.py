"""The cache of keys and values, in every format and beyond the places it began with."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from t2icli.nn import int8, transformer
from t2icli.nn.attention import attend
from t2icli.nn.blocks import ROWS
from t2icli.nn.packed import FEWER
from t2icli.nn.transformer import GROWTH, PIECE, GrowingCache, reserve

HEADS, WIDTH = 2, 16


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
@pytest.mark.parametrize("first", [1, 4, GROWTH, PIECE + 1])
@torch.inference_mode()
def test_a_step_gathers_from_all_places_up_to_its_own(dtype: torch.dtype, tolerance: float, first: int) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 3, HEADS, PIECE + GROWTH + 5, WIDTH)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    cache = reserve(nn.Identity(), q.new_empty(3, 0, dtype=dtype), HEADS, q.shape[2], WIDTH)
    gathered = [cache.attend(*(x[:, :, :first] for x in (q, k, v)))]
    gathered += [cache.attend(*(x[:, :, i : i + 1] for x in (q, k, v))) for i in range(first, q.shape[2])]
    torch.testing.assert_close(torch.cat(gathered, 2), expected, atol=tolerance, rtol=0)
    assert cache.length == q.shape[2]


@pytest.mark.skipif(not int8.is_possible(), reason="no int8")
@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_network_in_8_bits_keeps_its_cache_in_bf16_where_the_processor_has_it(
    has_bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformer, "has_bf16", lambda device: has_bf16)
    network, x = nn.Sequential(nn.Linear(8, 8)), torch.randn(1, 1, 8)
    small = nn.Sequential(int8.Int8Linear(torch.randn(8, 8), None))
    kept = [reserve(each, x, HEADS, 4, WIDTH).values.dtype for each in (network, small)]
    assert kept == [torch.float32, torch.bfloat16 if has_bf16 else torch.float32]


@pytest.mark.parametrize("rows", FEWER)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_what_few_rows_gather_is_the_same_as_in_a_block_at_every_length(dtype: torch.dtype, rows: int) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(ROWS, 3, n, 64).to(dtype) for n in (1, 160, 160))
    for length in range(1, 161):
        near = [(each[:, :, :length] if each is not q else q) for each in (q, k, v)]
        parts = [attend(*(each[i : i + rows] for each in near)) for i in range(0, ROWS, rows)]
        assert torch.cat(parts).equal(attend(*near)), length


@torch.inference_mode()
def test_a_step_may_look_at_some_places_in_bf16() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, HEADS, 9, WIDTH).bfloat16()
    cache = reserve(nn.Identity(), q.new_empty(2, 0), HEADS, 9, WIDTH, narrowed=True)
    cache.attend(q[:, :, :8], k[:, :, :8], v[:, :, :8])
    places = torch.tensor([0, 3, 8])
    gathered = cache.attend(q[:, :, 8:], k[:, :, 8:], v[:, :, 8:], places)
    torch.testing.assert_close(gathered, attend(q[:, :, 8:], k[:, :, places], v[:, :, places]))


@torch.inference_mode()
def test_what_a_row_gathers_from_a_growing_cache_does_not_depend_on_its_company() -> None:
    """In 4 or 8 rows, in one or several blocks, after it was selected or joined; at every length up to two pieces."""
    torch.manual_seed(0)
    x = torch.empty(1, 0, dtype=torch.bfloat16)
    prompts = [reserve(nn.Identity(), x, 3, 0, 64) for _ in range(2)]
    for prompt in prompts:
        prompt.attend(*torch.randn(3, 1, 3, 5, 64))
    both = prompts[0].concatenated(prompts[1:])
    assert isinstance(both, GrowingCache)
    companies = [torch.arange(ROWS), *torch.arange(ROWS).split(4), *torch.arange(ROWS).split(8)]
    companies += [torch.arange(ROWS).flip(0), torch.arange(2 * ROWS) % ROWS]
    caches = [both.select(rows % 2) for rows in companies]
    for length in range(6, 2 * PIECE + 2):
        q, k, v = torch.randn(3, ROWS, 3, 1, 64)
        whole, *parts = (cache.attend(q[rows], k[rows], v[rows]) for cache, rows in zip(caches, companies, strict=True))
        for rows, part in zip(companies[1:], parts, strict=True):
            assert part.equal(whole[rows]), length
        if length == PIECE + 1:
            caches = [cache.select(torch.arange(len(rows))) for cache, rows in zip(caches, companies, strict=True)]


def test_a_growing_cache_takes_several_positions_only_at_first() -> None:
    cache = reserve(nn.Identity(), torch.empty(1, 0, dtype=torch.bfloat16), HEADS, 9, WIDTH)
    few = torch.zeros(3, 1, HEADS, 2, WIDTH)
    cache.attend(*few)
    with pytest.raises(ValueError, match="only come first"):
        cache.attend(*few)
