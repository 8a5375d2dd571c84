"""Learning a vocabulary from captions, with the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from t2icli.backends.tokenizers import FitSettings
from t2icli.backends.tokenizers.json import FILE, seal
from t2icli.ground import files
from t2icli.ground.errors import T2IError

PADDING, UNKNOWN = "[PAD]", "[UNK]"
END, END_OF_BYTES = "[SEP]", "<|endoftext|>"
"""What BERT and GPT-2 end a text with; no caption holds them, but captioners learn to generate them."""


class TokenizerFit:
    """A recipe without steps: the captions are read once."""

    def __init__(self, settings: FitSettings) -> None:
        self.settings = settings

    def fit(self, captions: Iterable[str], folder: Path) -> None:
        """Learn from `captions` and leave a tokenizer's model folder."""
        tokenizer = {"wordpiece": word_pieces, "bytes": byte_pairs}[self.settings.pieces](captions, self.settings)
        if tokenizer.get_vocab_size() <= 3:
            raise T2IError("there is nothing to learn a vocabulary from", "the captions are empty")
        folder.mkdir(parents=True, exist_ok=True)
        files.write(folder / FILE, tokenizer.to_str(pretty=True))
        # No caption here had an unknown token, so models trained with this vocabulary never learn what one means.
        seal(folder, source="trained here", unknown="drop")


def word_pieces(captions: Iterable[str], settings: FitSettings) -> Tokenizer:
    """Chinese characters one by one, other words in pieces; what no caption has is unknown."""
    texts = list(captions)
    normalizer = normalizers.BertNormalizer(lowercase=settings.lowercase)
    tokenizer = _like_bert({}, normalizer)
    # Given as special tokens, the letters have their ids before the words are looked through, which happens
    # in another order each time; and ids decide between equally frequent pieces.
    reserved = [PADDING, UNKNOWN, END, *_letters(texts, normalizer)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=max(settings.vocabulary, len(reserved)),
        min_frequency=settings.frequency,
        special_tokens=reserved,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    trained = _like_bert(tokenizer.get_vocab(), normalizer)
    trained.add_special_tokens([PADDING, UNKNOWN, END])
    return trained


def _like_bert(vocabulary: dict[str, int], normalizer: normalizers.BertNormalizer) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _letters(texts: Iterable[str], normalizer: normalizers.BertNormalizer) -> list[str]:
    """Every character that begins a word, and every one inside a word, as word pieces write them."""
    split = pre_tokenizers.BertPreTokenizer()
    letters: set[str] = set()
    for text in texts:
        for word, _ in split.pre_tokenize_str(normalizer.normalize_str(text)):
            letters.add(word[0])
            letters.update(f"##{letter}" for letter in word[1:])
    return sorted(letters)


def byte_pairs(captions: Iterable[str], settings: FitSettings) -> Tokenizer:
    """Frequent runs of bytes, so Chinese words too; any text at all can be spelled."""
    tokenizer = Tokenizer(models.BPE())
    steps = [normalizers.NFC(), *([normalizers.Lowercase()] if settings.lowercase else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        captions,
        trainers.BpeTrainer(
            vocab_size=settings.vocabulary,
            min_frequency=settings.frequency,
            special_tokens=[PADDING, END_OF_BYTES],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer
