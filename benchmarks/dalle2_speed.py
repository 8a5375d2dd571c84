"""DALL-E 2's sampling, t2i compared with dalle2-pytorch: the sizes and steps of the seed's project, the same weights.

    make bench-dalle2

Times are this process's CPU seconds with one thread, so that a busy machine changes ratios little.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from table import record
from torch import Tensor

from t2i_dalle2.convert import fill_decoder, fill_prior
from t2i_dalle2.decoder.draw import Stage
from t2i_dalle2.decoder.model import Decoder
from t2i_dalle2.diffusion import ddim, sample
from t2i_dalle2.generate import prior_steps
from t2i_dalle2.prior.draw import imagine
from t2i_dalle2.prior.model import Prior
from t2icli.nn import devices

CANDIDATES, GUIDANCE = 2, 2.0
TIMESTEPS, TIMED = 100, 2
"""Steps of a picture, and how many of them are timed."""
FEW = 5
"""Steps of DPM-Solver++ that draw as well as all of the original's: see benchmarks/dalle2.py."""
WIDTH, TOKENS, SIZES = 512, 77, (128, 256)


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    their_prior, their_decoder = original_prior(), original_decoder()
    prior = fill_prior(their_prior.state_dict(), {}, Path("prior")).eval()
    decoder = fill_decoder(
        their_decoder.state_dict(), {"image_sizes": list(SIZES), "resnet_groups": 8}, Path("decoder")
    ).eval()
    dtype = devices.pick_dtype("auto", torch.device("cpu"))
    precision = "bf16" if dtype is torch.bfloat16 else "fp32"
    text = torch.nn.functional.normalize(torch.randn(1, WIDTH), dim=1)
    encodings, small = torch.randn(1, TOKENS, WIDTH), torch.rand(1, 3, SIZES[0], SIZES[0])
    rows = []
    for name, theirs, ours in (
        (
            "prior",
            lambda: prior_theirs(their_prior, text, encodings),
            lambda: prior_ours(prior, text, encodings, precision),
        ),
        (
            "unet 1, 128 px",
            lambda: unet_theirs(their_decoder, 0, text, None),
            lambda: unet_ours(decoder, 0, text, None, precision),
        ),
        (
            "unet 2, 256 px",
            lambda: unet_theirs(their_decoder, 1, text, small),
            lambda: unet_ours(decoder, 1, text, small, precision),
        ),
    ):
        rows.append((name, whole(theirs), whole(ours)))
        print(rows[-1], flush=True)
    rows.append(("a picture from a text", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    share = FEW / TIMESTEPS
    record(
        "DALL-E 2 sampling",
        f"CPU seconds a picture: {CANDIDATES} candidates of the prior, guidance {GUIDANCE:g} of the decoder, "
        f"{TIMESTEPS} steps each,\nof which {TIMED} were timed; ours in {precision}. The second unet has no condition "
        f"to be guided by: ours runs it once a\nstep, theirs twice. {FEW} steps by `-o sampler=dpm`, each of which "
        "costs the same, draw held-out scenes as well\nas all of them: see below.",
        ("part", "dalle2-pytorch 1.15.6", "t2i", "times", f"t2i, {FEW} steps", "times"),
        [(name, theirs, ours, theirs / ours, ours * share, theirs / ours / share) for name, theirs, ours in rows],
    )


def whole(run: Callable[[], object]) -> float:
    """CPU seconds of all steps for one picture; the better of two."""
    found = []
    for _ in range(2):
        begun = time.process_time()
        with torch.inference_mode():
            run()
        found.append(time.process_time() - begun)
    return min(found) / TIMED * TIMESTEPS


def original_prior() -> Any:
    from dalle2_pytorch import DiffusionPrior, DiffusionPriorNetwork

    network = DiffusionPriorNetwork(dim=WIDTH, depth=6, dim_head=64, heads=8)
    return DiffusionPrior(net=network, image_embed_dim=WIDTH, timesteps=TIMESTEPS, cond_drop_prob=0.2).eval()


def original_decoder() -> Any:
    from dalle2_pytorch import Decoder as Theirs
    from dalle2_pytorch import Unet

    known = {"image_embed_dim": WIDTH, "cond_dim": 128, "channels": 3}
    unets = (
        Unet(dim=128, dim_mults=(1, 2, 4, 8), **known),
        Unet(dim=16, dim_mults=(1, 2, 4, 8, 16), **known),
    )
    return Theirs(unet=unets, image_sizes=SIZES, timesteps=TIMESTEPS, image_cond_drop_prob=0.1).eval()


def prior_theirs(prior: Any, text: Tensor, encodings: Tensor) -> None:
    condition = {"text_embed": text.repeat(CANDIDATES, 1), "text_encodings": encodings.repeat(CANDIDATES, 1, 1)}
    # Its so many timesteps are the ends of one step fewer.
    prior.p_sample_loop((CANDIDATES, WIDTH), text_cond=condition, timesteps=TIMED + 1)


def prior_ours(prior: Prior, text: Tensor, encodings: Tensor, precision: str) -> None:
    imagine(
        prior, text, encodings, [0], prior_steps(prior, TIMED), candidates=CANDIDATES, scale=1.0, precision=precision
    )


def unet_theirs(decoder: Any, number: int, text: Tensor, small: Tensor | None) -> None:
    from dalle2_pytorch.dalle2_pytorch import resize_image_to

    size = SIZES[number]
    decoder.p_sample_loop(
        decoder.unets[number],
        (1, 3, size, size),
        image_embed=text,
        cond_scale=GUIDANCE,
        learned_variance=decoder.learned_variance[number],
        lowres_cond_img=None if small is None else resize_image_to(small, size, nearest=True),
        noise_scheduler=decoder.noise_schedulers[number],
        timesteps=TIMED,
    )


def unet_ours(decoder: Decoder, number: int, text: Tensor, small: Tensor | None, precision: str) -> None:
    size = SIZES[number]
    stage = Stage(decoder, number, text, None if small is None else small * 2 - 1, GUIDANCE, precision)
    sample(stage.schedule, ddim(stage.schedule, TIMED, eta=0.0), stage, lambda: torch.randn(1, 3, size, size))


if __name__ == "__main__":
    main()
