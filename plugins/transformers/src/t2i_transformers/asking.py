"""A picture and a question as the inputs of a vision-language model, in the way that each kind of model is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    from PIL.Image import Image

TASKS = {"florence2": "<MORE_DETAILED_CAPTION>"}
"""The word for a description, of models that know tasks in place of questions."""
SILENT = ("blip", "git", "pix2struct", "vision-encoder-decoder")
"""Kinds of models that describe a picture without being asked."""


def inputs(model: Any, processor: Any, image: Image, question: str | None, own: bool = False) -> Any:
    """Tensors of one row. `own` is whether the question is the user's, not our usual one."""
    kind, image = model.config.model_type, image.convert("RGB")
    template = getattr(processor, "chat_template", None) or getattr(
        getattr(processor, "tokenizer", None), "chat_template", None
    )
    if template:
        text = chat(processor, question or "")
        return processor(text=[text], images=[image], return_tensors="pt")
    if kind in SILENT and not own:
        return processor(images=[image], return_tensors="pt")
    text = TASKS[kind] if kind in TASKS and not own else question or ""
    return processor(text=[text], images=[image], return_tensors="pt")


def chat(processor: Any, question: str, system: str | None = None) -> str:
    """A conversation of one picture and one question, up to where the answer begins."""
    content = [{"type": "image"}, {"type": "text", "text": question}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
    try:
        text: str = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except ValueError as error:
        raise T2IError("this model has no chat template, so it cannot be asked a question", "choose another") from error
    return text


def is_chinese(text: str) -> bool:
    return any("\u4e00" <= letter <= "\u9fff" for letter in text)
