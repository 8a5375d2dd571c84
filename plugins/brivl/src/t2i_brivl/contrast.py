"""BriVL's training objective: two towers, slow copies of them, and queues of the copies' latest outputs."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from t2i_brivl.model import Brivl
from t2i_brivl.recipe import Objective

Batch = Mapping[str, Tensor]


class Contrast(nn.Module):
    """Each sentence has to find its picture among the slow towers' keys, and each picture its sentence.

    The keys are those of the batch and of the last `queue` pairs before it, so that few pairs in memory are
    contrasted with many.
    """

    image_queue: Tensor
    text_queue: Tensor
    queued: Tensor
    next: Tensor

    def __init__(self, towers: Brivl, objective: Objective) -> None:
        super().__init__()
        self.towers, self.objective = towers, objective
        self.slow = deepcopy(towers).requires_grad_(False)
        width = towers.shape.width
        for side in ("image", "text"):
            self.register_buffer(f"{side}_queue", F.normalize(torch.randn(objective.queue, width), dim=-1))
        self.register_buffer("queued", torch.full((objective.queue, 2), -1, dtype=torch.int64))
        self.register_buffer("next", torch.zeros((), dtype=torch.int64))
        self._fresh: list[tuple[Tensor, Tensor, Tensor]] = []
        self._step = -1

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a mean over the batch, and how often the right partner came first."""
        inputs = batch["pixels"], batch["boxes"], batch["n_boxes"], batch["ids"]
        images, texts = self.towers(*inputs)
        with torch.no_grad():
            image_keys, text_keys = self.slow(*inputs)
        who = batch["who"]  # (b, 2): which picture, which sentence
        barred = self._barred(who)
        to_image, image_found = self._side(texts, image_keys, self.image_queue, barred)
        to_text, text_found = self._side(images, text_keys, self.text_queue, barred)
        if self.training:
            if step != self._step:  # what is left of a step that was given up
                self._fresh.clear()
            self._step = step
            self._fresh.append((image_keys.detach(), text_keys.detach(), who))
        return to_image + to_text, {"image_found": image_found, "text_found": text_found}

    def _side(self, queries: Tensor, keys: Tensor, queue: Tensor, barred: Tensor) -> tuple[Tensor, Tensor]:
        logits = queries @ torch.cat([keys, queue.to(keys.dtype)]).T / self.objective.temperature  # (b, b + k)
        logits = logits.float().masked_fill(barred, float("-inf"))
        right = torch.arange(len(queries), device=queries.device)
        return F.cross_entropy(logits, right), (logits.argmax(1) == right).float().mean().detach()

    def _barred(self, who: Tensor) -> Tensor:
        """(b, b + k): which keys are no wrong answers."""
        b, k = len(who), len(self.queued)
        barred = torch.zeros(b, b + k, dtype=torch.bool, device=who.device)
        if not self.objective.in_batch:
            barred[:, :b] = True
        if self.objective.duplicates == "ignore":
            everyone = torch.cat([who, self.queued])
            barred |= (who[:, None] == everyone[None]).any(-1)  # the same picture, or the same sentence
        own = torch.eye(b, b + k, dtype=torch.bool, device=who.device)
        return barred & ~own

    @torch.no_grad()
    def follow(self) -> None:
        """After a step: the slow towers move a little towards the towers, and the queues take in the new keys."""
        m = self.objective.momentum
        for slow, fast in zip(self.slow.parameters(), self.towers.parameters(), strict=True):
            slow.lerp_(fast, 1 - m)
        for followed, buffer in zip(self.slow.buffers(), self.towers.buffers(), strict=True):
            followed.copy_(buffer)
        for image_keys, text_keys, who in self._fresh:
            self._enqueue(*(everywhere(part) for part in (image_keys, text_keys, who)))
        self._fresh.clear()

    def _enqueue(self, image_keys: Tensor, text_keys: Tensor, who: Tensor) -> None:
        k = len(self.queued)
        n = min(len(who), k)
        if n == 0:
            return
        places = (self.next + torch.arange(n, device=who.device)) % k
        self.image_queue[places] = image_keys[-n:].to(self.image_queue.dtype)
        self.text_queue[places] = text_keys[-n:].to(self.text_queue.dtype)
        self.queued[places] = who[-n:]
        self.next.copy_((self.next + n) % k)


def everywhere(part: Tensor) -> Tensor:
    """The rows of all processes, in the same order in each."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return part
    parts = [torch.empty_like(part) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, part.contiguous())
    return torch.cat(parts)
