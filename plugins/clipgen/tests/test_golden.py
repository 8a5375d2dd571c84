"""The networks against tensors stored from CLIP-GEN's own code (fp32, CPU).

Ids must agree exactly, values to 1e-4, gradients to 1e-3 or to 1e-4 of the largest: other orders of summation.
"""

from __future__ import annotations

from typing import Any

import torch

from t2i_clipgen.model import Prior
from t2i_clipgen.vqgan.convert import renamed
from t2icli.nn import codebook
from t2icli.nn.vqgan import Vqgan


def close(ours: torch.Tensor, theirs: torch.Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


def through_codes(vqgan: Vqgan, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The reconstruction and the codebook's loss."""
    z = vqgan.latents(images)
    chosen = vqgan.quantize.look_up(vqgan.quantize.codes(z))
    loss = codebook.commitment(z, chosen) + 0.2 * codebook.attraction(z, chosen)
    return vqgan.reconstruct(codebook.straight_through(z, chosen)), loss


def test_vqgan_picks_the_same_codes_and_draws_the_same_image(vqgan: Vqgan, tiny: Any) -> None:
    io = tiny.io
    with torch.no_grad():
        z = vqgan.latents(io["vq/x"])
        close(z, io["vq/z"])
        assert vqgan.quantize.codes(z).equal(io["vq/indices"])
        close(vqgan.reconstruct(vqgan.quantize.look_up(io["vq/decode_in_indices"])), io["vq/decode_out"])
        reconstruction, loss = through_codes(vqgan, io["vq/x"])
    close(reconstruction, io["vq/recon"])
    close(loss.reshape(1), io["vq/loss_q"])


def test_vqgan_has_the_same_gradients(vqgan: Vqgan, tiny: Any) -> None:
    io = tiny.io
    reconstruction, loss = through_codes(vqgan, io["vq/x"])
    ((reconstruction - io["vq/x"]).abs().mean() + loss).backward()
    gradients = {name.removeprefix("grad_vq/"): each for name, each in io.items() if name.startswith("grad_vq/")}
    gradients.pop("total_norm")
    for name, theirs in renamed(gradients, tiny.codec_shape).items():
        ours = vqgan.get_parameter(name).grad
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


def test_prior_has_the_same_logits_and_loss(prior: Prior, tiny: Any) -> None:
    io = tiny.io
    with torch.no_grad():
        close(prior(io["gpt/cond"], io["gpt/tokens"][:, :-1]), io["gpt/logits"])
        close(prior(io["gpt/cond"], io["gpt/tokens"][:, :0]), io["gpt/logits_empty"])
        close(prior.loss(io["gpt/cond"], io["gpt/tokens"]).reshape(1), io["gpt/loss"])


def test_prior_has_the_same_gradients(prior: Prior, tiny: Any) -> None:
    io = tiny.io
    prior.loss(io["gpt/cond"], io["gpt/tokens"]).backward()
    norms = torch.stack([parameter.grad.norm() for parameter in prior.parameters()])
    torch.testing.assert_close(norms.norm().reshape(1), io["grad_gpt/total_norm"], rtol=1e-3, atol=0)
    for name in ("cond_proj.weight", "head.bias", "pos_emb"):
        torch.testing.assert_close(prior.get_parameter(name).grad, io[f"grad_gpt/{name}"], rtol=1e-3, atol=1e-6)
