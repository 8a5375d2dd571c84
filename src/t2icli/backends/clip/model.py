"""open_clip's networks, and the ids their text towers read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import open_clip
import torch
from torch import Tensor, nn

from t2icli.contract.kinds import Tokenizer
from t2icli.ground.errors import T2IError, did_you_mean
from t2icli.nn.embedding import ReportCut


class Texts(Protocol):
    """Texts to the (n, context) ids a text tower reads; a text that had to be cut is reported."""

    end: int
    """The id after a text's last one."""

    def __call__(self, texts: Sequence[str]) -> Tensor: ...


if TYPE_CHECKING:

    class Network(nn.Module):
        """What open_clip's networks have in common; it gives them no types."""

        visual: Any
        logit_scale: nn.Parameter

        def encode_image(self, images: Tensor) -> Tensor: ...
        def encode_text(self, ids: Tensor) -> Tensor: ...
        def forward(self, images: Tensor, ids: Tensor) -> tuple[Tensor, ...]: ...


def build(architecture: Mapping[str, Any]) -> Network:
    """open_clip's network of a `model_cfg`, with random weights."""
    shape = deepcopy(dict(architecture))
    custom = shape.pop("custom_text", False) or "hf_model_name" in shape["text_cfg"]
    if "timm_model_name" in shape["vision_cfg"]:
        shape["vision_cfg"]["timm_model_pretrained"] = False
    if "hf_model_name" in shape["text_cfg"]:
        shape["text_cfg"]["hf_model_pretrained"] = False
    plain = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    network: Network = (open_clip.CoCa if "multimodal_cfg" in shape else plain)(**shape)
    return network


OWN = Path(__file__).parent / "architectures"
"""Small ones, for machines without a GPU."""


def named(architecture: str) -> dict[str, Any]:
    """The shape open_clip knows by this name, one of ours, or what a JSON file of its form describes."""
    if (own := OWN / f"{architecture}.json").is_file():
        return dict(read_json(own)["model_cfg"])
    if architecture.endswith(".json"):
        return dict(read_json(Path(architecture))["model_cfg"])
    if architecture.startswith("hf-hub:"):  # which open_clip would fetch by itself
        raise T2IError(f"{architecture!r} is a repository", f"run: t2i models pull {architecture} --as clip")
    shape = open_clip.get_model_config(architecture)
    if shape is None:
        known = open_clip.list_models()
        raise T2IError(f"open_clip has no architecture {architecture!r}", did_you_mean(architecture, known))
    return dict(shape)


def read_json(path: Path) -> dict[str, Any]:
    """open_clip's description of a model: `model_cfg`, and perhaps `preprocess_cfg`."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise T2IError(f"cannot read the architecture '{path}': {error}") from error
    table = table if "model_cfg" in table else {"model_cfg": table}
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(table["model_cfg"])
    if missing:
        raise T2IError(f"'{path}' is not an open_clip architecture: it lacks {', '.join(sorted(missing))}")
    return table


def context_of(architecture: Mapping[str, Any]) -> int:
    """How many ids the text tower reads."""
    return int(architecture["text_cfg"].get("context_length", 77))


def text_tower(network: Network) -> Any:
    """The module with the text tower's parts: open_clip's older class keeps them in the network itself."""
    return network if isinstance(network, open_clip.CLIP) else network.get_submodule("text")


def set_pool(network: Network, pool: str, end: int) -> None:
    """Take the text feature at the end token (`eos`), or at the largest id (`argmax`).

    The two are the same for CLIP's own vocabulary, whose end token is the largest id. With a BERT vocabulary
    `argmax` lands on whichever character has the highest id, which text2img's models were trained with.
    """
    tower = text_tower(network)
    for owner, kind, eos in ((tower, "pool_type", "eos_id"), (tower, "text_pool_type", "text_eos_id")):
        if hasattr(owner, kind):
            setattr(owner, kind, pool)
            setattr(owner, eos, end)


class OwnTexts:
    """The tokenizer open_clip pairs with an architecture."""

    end = 49407
    """Of CLIP's own vocabulary."""

    def __init__(self, tokenizer: Any, context: int, report: ReportCut, *, keep_end: bool = True) -> None:
        self.tokenizer, self.context, self.report, self.keep_end = tokenizer, context, report, keep_end

    def __call__(self, texts: Sequence[str]) -> Tensor:
        longest = self.context
        for text in texts:
            length = self._length(text)
            if length > self.context:
                self.report(text, length, self.context)
            longest = max(longest, length)
        room = self.context if self.keep_end else longest  # where there is room for all, the end is cut off here
        ids: Tensor = self.tokenizer(list(texts), context_length=room)
        return ids[:, : self.context]

    def _length(self, text: str) -> int:
        if isinstance(self.tokenizer, open_clip.SimpleTokenizer):
            return len(self.tokenizer.encode(text)) + 2
        return len(self.tokenizer.tokenizer(text)["input_ids"])


class FramedTexts:
    """Any tokenizer's ids between a start and an end id."""

    def __init__(self, tokenizer: Tokenizer, context: int, start: int, end: int) -> None:
        self.tokenizer, self.context, self.start, self.end = tokenizer, context, start, end

    def __call__(self, texts: Sequence[str]) -> Tensor:
        inner = self.tokenizer.encode(texts, self.context - 2)  # (n, context - 2); reports cuts itself
        positions = torch.arange(1, inner.shape[1] + 1)
        lengths = (positions * (inner != self.tokenizer.padding)).amax(1)  # up to the last id that is no padding
        ids = inner.new_full((len(texts), self.context), self.tokenizer.padding)
        ids[:, 0] = self.start
        ids[:, 1:-1] = inner
        ids[torch.arange(len(texts)), lengths + 1] = self.end
        return ids
