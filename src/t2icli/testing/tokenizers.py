"""Tokenizers of the true classes with vocabularies of bytes or a few letters, made in memory."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers
from transformers import BertTokenizer, ByT5Tokenizer, CLIPTokenizer, GemmaTokenizer, Qwen2Tokenizer, T5Tokenizer

LETTERS = "红烧牛肉面abcdefghijklmnopqrstuvwxyz0123456789.,:-'"
QWEN_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|vision_pad|>",
    "<think>",
    "</think>",
)
VOCABULARY = 320
"""Entries of a text encoder's embedding: the 256 bytes and what is special."""
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _bytes() -> list[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def qwen(**named: str) -> Any:
    """`named` are tokens that a processor asks for by attribute: `image_token="<|image_pad|>"`."""
    vocabulary = {letter: index for index, letter in enumerate([*_bytes(), *QWEN_TOKENS])}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[], extra_special_tokens=named or list(QWEN_TOKENS[1:]))
    tokenizer.chat_template = CHAT
    return tokenizer


def clip(length: int = 77) -> Any:
    letters = [*_bytes(), *(f"{letter}</w>" for letter in _bytes()), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={letter: i for i, letter in enumerate(letters)}, merges=[], model_max_length=length)


CLIP_VOCABULARY = 514


def gemma() -> Any:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    letters = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *LETTERS, "▁"]
    return GemmaTokenizer(vocab={letter: i for i, letter in enumerate(letters)}, merges=[])


def t5() -> Any:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in LETTERS)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=24)


def byt5() -> Any:
    return ByT5Tokenizer()


def bert() -> Any:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    return BertTokenizer(vocab={word: i for i, word in enumerate(words)}, model_max_length=24)


def glm() -> Any:
    """Byte letters behind two start tokens, without which an empty negative prompt would be no tokens at all."""
    from tokenizers import Tokenizer, models, processors
    from transformers import PreTrainedTokenizerFast

    letters = ["<|endoftext|>", "[gMASK]", "<sop>", *_bytes()]
    backend = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.TemplateProcessing(
        single="[gMASK] <sop> $A", special_tokens=[("[gMASK]", 1), ("<sop>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|endoftext|>", pad_token="<|endoftext|>", padding_side="left"
    )


def chatglm() -> Any:
    """A sentencepiece model of a few letters."""
    import sentencepiece
    from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer

    model = io.BytesIO()  # a file would have its path in the model
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([LETTERS, "红烧牛肉面 with an egg"]),
        model_writer=model,
        vocab_size=320,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=3,
    )
    path = Path(tempfile.mkdtemp()) / "tokenizer.model"  # the tokenizer copies its file when it is saved
    path.write_bytes(model.getvalue())
    return ChatGLMTokenizer(str(path))
