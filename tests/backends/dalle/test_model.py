"""Against what DALLE-pytorch 1.6.6 and text2img's fork computed with the same files.

Tolerances are those of the golden set: another order of summation moves fp32 logits by up to 1e-6.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from t2icli.backends.dalle.convert import LEFT_OUT, renamed
from t2icli.backends.dalle.model import DallE
from t2icli.nn import decode
from t2icli.nn.decode import Sampling

if TYPE_CHECKING:
    from conftest import Original


def greedy(model: DallE, text: Tensor, codes: Tensor, length: int) -> Tensor:
    """The likeliest codes (b, length) that follow those given."""
    b = len(text)
    drawn = decode.sample(
        model, (text, codes), [0] * b, length, Sampling(temperature=0), prompts=b, owners=list(range(b))
    )
    return torch.stack(list(drawn))


def test_logits_are_the_originals(original: Original) -> None:
    expected = original.expected
    with torch.no_grad():
        model = original.model
        logits = model(expected["text"], expected["image_indices"])
        text_only = model(expected["text"])[:, -1]
        codes = expected["image_indices"][:, : int(expected["partial_len"])]
        partial = model(expected["text"], codes)[:, -1]
        null = model(torch.zeros_like(expected["text"]), codes)[:, -1]
    torch.testing.assert_close(logits, expected["logits"], atol=2e-5, rtol=0)
    torch.testing.assert_close(text_only, expected["logits_text_only_last"], atol=2e-5, rtol=0)
    torch.testing.assert_close(partial, expected["logits_partial_last"], atol=2e-5, rtol=0)
    torch.testing.assert_close(null, expected["logits_null_last"], atol=2e-5, rtol=0)


def test_loss_and_gradients_are_the_originals(original: Original) -> None:
    model = original.model
    model.zero_grad()
    loss, parts = model.loss(original.expected["text"], original.expected["image_indices"])
    assert loss.item() == pytest.approx(original.expected["loss"].item(), abs=1e-5)
    assert set(parts) == {"text_loss", "image_loss"}
    loss.backward()
    norms = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()}
    norms_of_originals = json.loads((original.folder / "grad_norms.json").read_text())
    compared = {renamed(name): norm for name, norm in norms_of_originals.items() if not LEFT_OUT.match(name)}
    assert set(norms) <= set(compared)
    assert {name: compared[name] for name in norms} == pytest.approx(norms, rel=1e-3, abs=1e-7)


def test_greedy_codes_are_the_originals(original: Original) -> None:
    text, codes = original.expected["text"], original.expected["greedy_tokens"]
    assert greedy(original.model, text, codes[:, :0], codes.shape[1]).equal(codes)


def test_primed_greedy_codes_are_the_originals(original: Original) -> None:
    expected, start = original.expected, int(original.expected["primed_len"])
    codes = expected["primed_greedy_tokens"]
    rest = greedy(original.model, expected["text"], codes[:, :start], codes.shape[1] - start)
    assert rest.equal(codes[:, start:])


def test_guided_logits_are_the_originals(original: Original) -> None:
    """At one position: further on the original's guidance does nothing, see the test below."""
    model, expected = original.model, original.expected
    text = torch.cat([expected["text"], torch.zeros_like(expected["text"])])
    codes = expected["image_indices"][:, : int(expected["partial_len"])].repeat(2, 1)
    with torch.no_grad():
        logits, _ = model.prefill((text, codes), 1)
    guided = expected["logits_cond_scale3_last"][:, model.config.text_classes :]
    torch.testing.assert_close(decode.guide(logits, 3.0), guided, atol=1e-4, rtol=0)


def test_steps_with_the_cache_give_what_the_whole_sequence_gives(original: Original) -> None:
    model, expected = original.model, original.expected
    text, codes = expected["text"], expected["image_indices"]
    with torch.no_grad():
        whole = model(text, codes)[:, -codes.shape[1] :, model.config.text_classes :]
        for start in (0, 11):
            logits, state = model.prefill((text, codes[:, :start]), codes.shape[1] - start)
            steps = [logits] + [model.step(codes[:, i], state) for i in range(start, codes.shape[1] - 1)]
            torch.testing.assert_close(torch.stack(steps, dim=1), whole[:, start:], atol=2e-5, rtol=0)


@pytest.mark.parametrize("rows", [[0, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1, 0]], ids=["one prompt", "two", "mixed"])
def test_rows_that_share_a_prompt_give_what_each_gives_alone(original: Original, rows: list[int]) -> None:
    model, expected = original.model, original.expected
    text, codes = expected["text"], expected["image_indices"]
    with torch.no_grad():
        _, state = model.prefill((text, codes[:, :5]), 20)
        shared = state.select(torch.tensor(rows))
        for i in range(5, 20):
            alone = model.step(codes[:, i], state)[rows]
            torch.testing.assert_close(model.step(codes[rows, i], shared), alone, atol=2e-5, rtol=0)
            if i == 12:
                rows, shared = rows[::-1], shared.select(torch.arange(len(rows)).flip(0))
