"""What models are asked, in Chinese and English. None of it is shown to users, so none is translated."""

from __future__ import annotations

from typing import NamedTuple

DESCRIBE = {"zh": "请用一句话描述这张图片。", "en": "Describe this picture in one sentence."}
"""For a caption."""


class Form(NamedTuple):
    """How a model is asked, and how it answers."""

    question: str
    yes: str
    no: str
    system: str | None = None


FORMS = {
    "zh": Form("这张图片画的是“{prompt}”吗？请只回答“是”或“否”。", "是", "否"),
    "en": Form('Does this picture show "{prompt}"? Please answer yes or no.', "yes", "no"),
}
RERANKER = Form(
    "<Instruct>: Given a search query, retrieve relevant candidates that answer the query.\n"
    "<Query>: {prompt}\n<Document>:",
    "yes",
    "no",
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".',
)
"""What Qwen3-VL-Reranker was trained with."""
