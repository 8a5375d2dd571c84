"""VQAScore: the probability that a vision-language model answers yes when asked whether a picture shows the prompt."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import transformers
from PIL.Image import Image

from t2i_transformers import asking, repository
from t2i_transformers.load import network, processor
from t2i_transformers.questions import FORMS, RERANKER, Form
from t2icli.ground.errors import T2IError
from t2icli.nn.devices import pick_device, pick_dtype

if TYPE_CHECKING:
    from t2i_transformers import VqaSettings


class Vqa:
    """Every picture is read by itself, so its score depends on no other."""

    def __init__(self, model: Any, processor: Any, settings: VqaSettings, style: str) -> None:
        self.model, self.processor, self.settings, self.style = model, processor, settings, style
        known = inspect.signature(model.forward).parameters
        self.last = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        """Spares models that can the logits of the question."""

    def score(self, prompt: str, images: Sequence[Image]) -> list[float]:
        form = self.form(prompt)
        ids = [self._first_ids(word) for word in (form.yes, form.no)]
        if ids[0] & ids[1]:
            raise T2IError(
                f"{form.yes!r} and {form.no!r} begin with the same token", "choose other words: -o yes= -o no="
            )
        text = asking.chat(self.processor, form.question.replace("{prompt}", prompt), form.system)
        return [self._score(text, image, *ids) for image in images]

    def form(self, prompt: str) -> Form:
        """As the settings say, or as the prompt's language and the model suggest."""
        settings = self.settings
        language = settings.language
        if language == "auto":
            language = "zh" if asking.is_chinese(prompt) else "en"
        form = RERANKER if self.style == "reranker" else FORMS[language]
        question = form.question if settings.question is None else settings.question
        if "{prompt}" not in question:
            raise T2IError("the question does not ask for the prompt", "write {prompt} where it belongs")
        return form._replace(question=question, yes=settings.yes or form.yes, no=settings.no or form.no)

    def _first_ids(self, word: str) -> set[int]:
        """The tokens that an answer may begin with."""
        spellings = {word, word.capitalize()}
        return {self.processor.tokenizer(each, add_special_tokens=False)["input_ids"][0] for each in spellings}

    @torch.inference_mode()
    def _score(self, text: str, image: Image, yes: set[int], no: set[int]) -> float:
        inputs = self.processor(text=[text], images=[image.convert("RGB")], return_tensors="pt")
        output = self.model(**inputs.to(self.model.device, self.model.dtype), **self.last)
        logits = output.logits[0, -1].double().cpu()
        return float(torch.sigmoid(_total(logits, yes) - _total(logits, no)))


def _total(logits: torch.Tensor, ids: Iterable[int]) -> torch.Tensor:
    return logits[sorted(ids)].logsumexp(0)


def load(settings: VqaSettings) -> Vqa:
    folder = repository.locate(settings.model, settings.source, "vqa")
    device = pick_device(settings.device)
    style = settings.style
    if style == "auto":
        name = settings.model.card.source or settings.model.name if settings.model else folder.absolute().name
        style = "reranker" if "reranker" in name.lower() else "question"
    dtype = pick_dtype(settings.precision, device)
    model = network(transformers.AutoModelForImageTextToText, folder, dtype, device)
    if model.config.is_encoder_decoder:
        raise T2IError(
            f"'{folder}' is a {model.config.model_type}, whose answers are not supported",
            "use a model that chats: Qwen-VL, InternVL, SmolVLM",
        )
    return Vqa(model, processor(folder), settings, style)
