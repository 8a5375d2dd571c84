"""Vision-language models as captioners, with captions that depend on their picture and seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import transformers
from PIL.Image import Image
from torch import Tensor

from t2i_transformers import asking, repository
from t2i_transformers.load import first_line, network, processor, quiet
from t2i_transformers.questions import DESCRIBE
from t2icli.ground import translate
from t2icli.ground.errors import T2IError
from t2icli.nn.blocks import fill
from t2icli.nn.devices import pick_device, pick_dtype

if TYPE_CHECKING:
    from t2i_transformers import VlmSettings

APART = 0x9E3779B1
"""Between the seeds of an image's captions, far from its neighbours' seeds: torch looks at 32 bits of a seed alone."""


class GumbelNoise:
    """Makes the largest logit of each row a sample of its distribution, drawn with the row's own generator.

    Gumbel noise added to logits has its maximum at class k with the probability of k. `generate` has one seed for all.
    """

    def __init__(self, seeds: Sequence[int], settings: VlmSettings) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.settings = settings

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if not self.settings.temperature:
            return scores
        logits = filtered(scores.float() / self.settings.temperature, self.settings.top_k, self.settings.top_p)
        uniform = torch.stack([torch.rand(logits.shape[-1], generator=each) for each in self.generators])
        noise = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
        return logits + noise.to(logits.device)


def filtered(logits: Tensor, top_k: int | None, top_p: float | None) -> Tensor:
    """Logits of the likeliest classes; the class that crosses the threshold of `top_p` is kept."""
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if top_p is not None and top_p < 1:
        ordered, order = logits.sort(descending=True, stable=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        dropped = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= top_p)
        logits = logits.masked_fill(dropped, float("-inf"))
    return logits


class VlmCaptioner:
    """Draws the captions of one picture at a time: on a CPU one by one, on a GPU in full batches."""

    def __init__(self, model: Any, processor: Any, settings: VlmSettings) -> None:
        self.model, self.processor, self.settings = model, processor, settings
        self.batch = 1 if model.device.type == "cpu" else settings.batch
        language = translate.language() if settings.language == "auto" else settings.language
        self.question = DESCRIBE[language] if settings.question is None else settings.question
        own = model.generation_config
        self.generation = transformers.GenerationConfig(
            max_new_tokens=settings.max_tokens,
            do_sample=False,
            num_beams=1,
            repetition_penalty=own.repetition_penalty,
            **{name: getattr(own, name) for name in TOKENS if getattr(own, name, None) is not None},
        )

    def caption(self, images: Sequence[Image], n: int, *, seed: int) -> list[list[str]]:
        return [self._of_one(image, [seed + i + j * APART for j in range(n)]) for i, image in enumerate(images)]

    def _of_one(self, image: Image, seeds: list[int]) -> list[str]:
        own = self.settings.question is not None
        inputs = asking.inputs(self.model, self.processor, image, self.question, own)
        inputs = inputs.to(self.model.device, self.model.dtype)
        captions: list[str] = []
        for start in range(0, len(seeds), self.batch):
            some = seeds[start : start + self.batch]
            captions += self._drawn(inputs, fill(some, self.batch))[: len(some)]
        return captions

    @torch.inference_mode()
    def _drawn(self, inputs: Any, seeds: list[int]) -> list[str]:
        rows = {name: repeated(tensor, len(seeds)) for name, tensor in inputs.items()}
        noise = transformers.LogitsProcessorList([GumbelNoise(seeds, self.settings)])
        with quiet():
            try:
                ids = self.model.generate(**rows, generation_config=self.generation, logits_processor=noise)
            except ValueError as error:
                raise T2IError(f"the model cannot describe this picture: {first_line(error)}", code=1) from error
        prompt = rows.get("input_ids")
        if prompt is not None and ids[:, : prompt.shape[1]].equal(prompt):
            ids = ids[:, prompt.shape[1] :]
        texts = self.processor.batch_decode(ids, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]


TOKENS = ("eos_token_id", "pad_token_id", "bos_token_id", "decoder_start_token_id", "forced_bos_token_id")


def repeated(tensor: Any, n: int) -> Any:
    """The inputs of one picture n times over, row after row: patches of several pictures follow one another."""
    return torch.cat([tensor] * n) if n > 1 else tensor


def load(settings: VlmSettings) -> VlmCaptioner:
    folder = repository.locate(settings.model, settings.source, "vlm")
    device = pick_device(settings.device)
    dtype = pick_dtype(settings.precision, device)
    model = network(transformers.AutoModelForImageTextToText, folder, dtype, device)
    return VlmCaptioner(model, processor(folder), settings)
