from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from PIL import Image
from torch import Tensor

from t2icli.contract.entries import Entry
from t2icli.contract.fields import Part
from t2icli.contract.hookspecs import hookimpl
from t2icli.ground.errors import T2IError
from t2icli.pictures.images import open_image
from t2icli.registry import configure, parts
from t2icli.testing import Runner


class Settings(msgspec.Struct, frozen=True): ...


class Greys:
    """Keeps the brightness of each quarter of a picture of 16 x 16, in 4 steps."""

    codes, grid, size = 4, (2, 2), (16, 16)

    def encode(self, images: Tensor) -> Tensor:
        quarters = torch.nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), 2)
        return (quarters * 3).round().long().flatten(1)

    def decode(self, codes: Tensor) -> Tensor:
        quarters = codes.float().view(-1, 1, 2, 2) / 3
        return torch.nn.functional.interpolate(quarters, 16).expand(-1, 3, -1, -1)


class Quarters:
    """Latents alone: the colours of each quarter of a picture of 16 x 16."""

    size, latent_shape = (16, 16), (3, 2, 2)

    def encode_latents(self, images: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images, 2)

    def decode_latents(self, latents: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(latents, 16)


class Plugin:
    __name__ = "greys"

    @hookimpl
    def t2i_codecs(self) -> list[Entry]:
        return [
            Entry("greys", "four of them", Settings, lambda settings: Greys()),
            Entry("quarters", "their colours", Settings, lambda settings: Quarters()),
        ]


def test_the_command_says_what_survives_and_shows_it(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(Plugin())
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, grey in (("black", 0), ("dark", 85), ("grey", 120)):
        Image.new("RGB", (40, 32), (grey, grey, grey)).save(folder / f"{name}.png")
    result = t2i.ok("evaluate", "codec", folder, "-m", "greys", "--pairs", tmp_path / "pairs.png", "--json").json()
    found = result["results"][0]
    error = (120 - 85) / 255
    assert abs(found["psnr"] - (100 + 100 - 20 * torch.tensor(error).log10().item()) / 3) < 0.01
    assert (found["pictures"], found["codes"], found["codes_used"]) == (3, 4, 2)
    assert open_image(tmp_path / "pairs.png").height >= 32
    assert "2 of 4" in t2i.ok("evaluate", "codec", folder, "-m", "greys").stdout


def test_a_codec_of_latents_alone_is_measured_too(t2i: Runner, tmp_path: Path) -> None:
    t2i.use(Plugin())
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (40, 32), (10, 120, 200)).save(tmp_path / "pictures/blue.png")
    found = t2i.ok("evaluate", "codec", tmp_path / "pictures", "-m", "quarters", "--json").json()["results"][0]
    assert found["psnr"] > 99 and found["codes"] == 0 and "codes_used" not in found
    assert "quarters" in t2i.ok("evaluate", "codec", tmp_path / "pictures", "-m", "quarters").stdout


@pytest.mark.parametrize("codec", ["greys", "quarters"])
def test_a_job_measures_as_a_run_without_engine_does(t2i: Runner, codec: str) -> None:
    t2i.use(Plugin())
    Path("pictures").mkdir()
    for number in range(10):
        colour = (25 * number, 120, 10 * number)
        Image.new("RGB", (40, 32), colour).save(f"pictures/{number:02d}.png")
    words = ("evaluate", "codec", "pictures", "-m", codec, "--pairs")
    job = ("--engine", "here", "--output", "job", "--shard-rows", 6)
    plain = t2i.ok(*words, "plain.png", "--json").json()
    assert t2i.ok(*words, "job.png", *job, "--json").json() == plain
    assert Path("job.png").read_bytes() == Path("plain.png").read_bytes()  # eight pictures of two shards
    (shard, other) = sorted(Path("job/shards").iterdir())
    shard.unlink()
    assert t2i.ok(*words, "job.png", *job, "--json").json() == plain and other.is_file()
    t2i.fails(*words, "job.png", *job, "--limit", 9, says="was started with pictures = 10, now it is 9")
    t2i.fails(*words, "job.png", *job, "-m", codec, says="--engine measures one model")


def test_what_needs_codes_or_latents_refuses_a_codec_without(t2i: Runner) -> None:
    t2i.use(Plugin())
    greys, quarters = (configure.part(Part("codec", name), None, "codec") for name in ("greys", "quarters"))
    assert (parts.load_codec(greys).codes, parts.load_latent_codec(quarters).latent_shape) == (4, (3, 2, 2))
    with pytest.raises(T2IError, match="codec 'quarters' has latents but no codes"):
        parts.load_codec(quarters)
    with pytest.raises(T2IError, match="codec 'greys' has codes but no latents"):
        parts.load_latent_codec(greys)
