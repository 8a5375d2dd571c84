"""A codebook in training: gradients past the choice of code, averages of the latents of each code, a start from
k-means, and reseeding of unused codes. With all of it small VQGANs train well in minutes."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from t2icli.nn.vqgan import Nearest

POOL = 32768
"""At most so many latents are remembered."""


def straight_through(z: Tensor, quantized: Tensor) -> Tensor:
    """The quantized latents, with the gradient passed straight through to `z`."""
    return z + (quantized - z).detach()


class Codebook(nn.Module):
    """Maintains the codes of `quantize` during training. Its state is buffers, the same in every process."""

    steps: Tensor
    count: Tensor
    total: Tensor
    new_count: Tensor
    new_total: Tensor
    pool: Tensor
    seen: Tensor

    def __init__(self, codes: int, width: int, *, begin: int, reseed_every: int, decay: float, averages: bool) -> None:
        super().__init__()
        self.begin, self.reseed_every, self.decay, self.averages = begin, reseed_every, decay, averages
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("count", torch.ones(codes))
        self.register_buffer("total", torch.zeros(codes, width))
        self.register_buffer("new_count", torch.zeros(codes))
        self.register_buffer("new_total", torch.zeros(codes, width))
        self.register_buffer("pool", torch.zeros(min(max(4 * codes, 4096), POOL), width))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def watch(self, z: Tensor, codes: Tensor) -> None:
        """Record a batch's latents (b, d, h, w) and codes (b, h, w)."""
        flat, chosen = z.detach().float().movedim(1, -1).flatten(0, 2), codes.flatten()
        count = torch.zeros_like(self.count).index_add_(0, chosen, flat.new_ones(len(flat)))
        total = torch.zeros_like(self.total).index_add_(0, chosen, flat)
        if dist.is_initialized():
            dist.all_reduce(count)
            dist.all_reduce(total)
        self.new_count += count
        self.new_total += total
        self._remember(flat)

    def _remember(self, flat: Tensor) -> None:
        """Put some latents into the pool, in place of the oldest."""
        some = flat[torch.randperm(len(flat), device=flat.device)[: max(1, len(self.pool) // 8)]].clone()
        if dist.is_initialized():
            dist.broadcast(some, 0)
        places = (self.seen + torch.arange(len(some), device=flat.device)) % len(self.pool)
        self.pool[places] = some
        self.seen += len(some)

    @torch.no_grad()
    def step(self, quantize: Nearest) -> None:
        """After each step of the optimizer: move the codes to where the latents are."""
        self.steps += 1
        now = int(self.steps)
        if now == self.begin:
            self._start(quantize)
        elif now > self.begin:
            self._follow(quantize)
            if self.reseed_every and now % self.reseed_every == 0:
                self._reseed(quantize)
        self.new_count.zero_()
        self.new_total.zero_()

    def _known(self) -> Tensor:
        return self.pool[: min(int(self.seen), len(self.pool))]

    def _random(self, n: int) -> Tensor:
        """n different numbers below the pool's size where it has so many; the same in every process."""
        random, known = torch.Generator().manual_seed(int(self.steps)), len(self._known())
        picks = torch.randperm(known, generator=random)
        return picks.repeat(-(-n // known))[:n].to(self.pool.device)

    def _start(self, quantize: Nearest) -> None:
        """K-means over the pool."""
        known = self._known()
        centres = known[self._random(len(self.count))] + 1e-4 * known.std(0) * _noise(self.total)
        for _ in range(5):
            nearest = torch.cat([torch.cdist(some, centres).argmin(1) for some in known.split(4096)])
            count = torch.zeros_like(self.count).index_add_(0, nearest, known.new_ones(len(known)))
            total = torch.zeros_like(self.total).index_add_(0, nearest, known)
            centres = torch.where(count[:, None] > 0, total / count.clamp(min=1)[:, None], centres)
        self._set(quantize, torch.ones_like(self.count, dtype=torch.bool), centres)

    def _follow(self, quantize: Nearest) -> None:
        self.count.lerp_(self.new_count, 1 - self.decay)
        self.total.lerp_(self.new_total, 1 - self.decay)
        if self.averages:
            used = self.count > 1e-5 * self.count.mean()
            means = self.total / self.count.clamp(min=1e-12)[:, None]
            quantize.embedding.weight.copy_(torch.where(used[:, None], means, quantize.embedding.weight))

    def _reseed(self, quantize: Nearest) -> None:
        """Reseed codes that are hardly used at recent latents."""
        dead = self.count < 0.05 * self.count.mean()
        if bool(dead.any()):
            fresh = quantize.embedding.weight.clone()
            fresh[dead] = self._known()[self._random(int(dead.sum()))]
            self._set(quantize, dead, fresh)

    def _set(self, quantize: Nearest, which: Tensor, vectors: Tensor) -> None:
        quantize.embedding.weight[which] = vectors[which]
        self.count[which] = self.count.mean()
        self.total[which] = vectors[which] * self.count[which][:, None]


def _noise(like: Tensor) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randn(like.shape, generator=random).to(like.device)


def commitment(z: Tensor, quantized: Tensor) -> Tensor:
    """Squared distance of the latents from their codes; its gradient moves the encoder."""
    return F.mse_loss(z.float(), quantized.detach().float())


def attraction(z: Tensor, quantized: Tensor) -> Tensor:
    """The same; its gradient moves the codes."""
    return F.mse_loss(quantized.float(), z.detach().float())


def used(codes: Tensor, n: int) -> Tensor:
    """How many of n codes a batch makes even use of: the perplexity of its code counts."""
    share = torch.bincount(codes.flatten(), minlength=n).float()
    share = share / share.sum()
    entropy: Tensor = torch.special.entr(share).sum()
    return entropy.exp()
