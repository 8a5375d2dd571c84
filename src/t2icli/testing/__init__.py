"""For the tests of plugins: the `t2i` fixture, a contract check for every kind, toys, a fake hub.

pytest finds this module by itself wherever t2icli is installed.
"""

from t2icli.testing import toys
from t2icli.testing.contracts import (
    check_audio_embedder,
    check_captioner,
    check_codec,
    check_dataset,
    check_embedder,
    check_generator,
    check_metric,
    check_ranker,
    check_recipe,
    check_tokenizer,
)
from t2icli.testing.hub import FakeHub, fake_hub
from t2icli.testing.runner import Result, Runner, t2i

__all__ = [
    "FakeHub",
    "Result",
    "Runner",
    "check_audio_embedder",
    "check_captioner",
    "check_codec",
    "check_dataset",
    "check_embedder",
    "check_generator",
    "check_metric",
    "check_ranker",
    "check_recipe",
    "check_tokenizer",
    "fake_hub",
    "t2i",
    "toys",
]
