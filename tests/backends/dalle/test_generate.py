from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

import t2icli
from t2icli.backends.dalle import convert
from t2icli.backends.dalle.config import Config
from t2icli.backends.dalle.model import DallE
from t2icli.backends.dvae import DvaeShape
from t2icli.backends.dvae.model import DiscreteVAE
from t2icli.contract.entries import Upstream
from t2icli.contract.requests import Request
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch
from t2icli.nn import decode, int8, weights
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.testing import check_generator

needs_int8 = pytest.mark.skipif(not int8.is_possible(), reason="no 8-bit kernels for this processor")


@pytest.fixture
def folder(golden, letters: type, tmp_path: Path) -> str:
    """A tiny imported model, and the tokenizer it needs."""
    target = tmp_path / "dalle"
    target.mkdir()
    with pytest.warns(UserWarning, match="no known tokenizer"):
        convert.convert(Upstream((golden("dalle/mixed_attn_rotary_shift/dalle.pt"),), {}), target)
    return str(target)


def load(folder: str, **options: object):
    return t2icli.load("generator", folder, tokenizer="letters", **options)


@pytest.fixture
def small(letters: type, tmp_path: Path) -> str:
    """An untrained model of 4 x 4 codes with every kind of attention: it draws four times as fast."""
    shape = DvaeShape(image_size=8, num_layers=1, num_tokens=48, codebook_dim=8, hidden_dim=8)
    torch.manual_seed(0)
    weights.save(DiscreteVAE(shape), tmp_path / "codec")
    models.seal(tmp_path / "codec", Card(kind="codec", backend="dvae", config=msgspec.to_builtins(shape)))
    sizes = {"text_length": 12, "dim": 48, "depth": 4, "heads": 3, "dim_head": 20}
    network = {"attention": "full,axial_row,axial_col,conv_like", "rotary": True, "shift_tokens": True}
    own = {"codec": str(tmp_path / "codec"), "tokenizer": "letters"}
    t2icli.load("recipe", "dalle", **own, **sizes, **network).save(tmp_path / "small")
    return str(tmp_path / "small")


@pytest.mark.filterwarnings("ignore:the text was cut")
@pytest.mark.parametrize("precision", ["fp32", pytest.param("int8", marks=needs_int8)])
def test_it_keeps_a_generator_s_promises(small: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "LEAST", 0)  # of a network as small as this one every layer
    entry = discovery.find("generator", "dalle")
    check_generator(entry, model=small, tokenizer="letters", precision=precision, tolerance=0)


@needs_int8
def test_in_8_bits_it_gives_nearly_the_same_logits(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "LEAST", 0)
    text = torch.randint(1, 40, (4, 16), generator=torch.Generator().manual_seed(0))
    exact, small = (load(folder, precision=precision).model for precision in ("fp32", "int8"))
    with torch.inference_mode():
        expected, given = (decode.prefill(model, (text, text[:, :0]), 4)[0] for model in (exact, small))
    assert 0 < (given - expected).norm() < 0.05 * expected.norm()


def test_greedy_images_are_the_original_s(folder: str, golden) -> None:
    expected = np.load(golden("dalle/mixed_attn_rotary_shift/expected.npz"))
    generator = load(folder, temperature=0, precision="fp32", codec={"precision": "fp32"})
    generator.read = lambda _: torch.from_numpy(expected["text"][:1])
    (image,) = generator.generate("", 1, seed=0)
    painted = torch.from_numpy(expected["decoded_greedy"][0]).float()
    pixels = (painted / 2 + 0.5).clamp(0, 1).permute(1, 2, 0)
    assert np.abs(np.asarray(image) / 255 - pixels.numpy()).max() <= 0.5 / 255 + 1e-4


def test_a_begun_image_is_continued(folder: str, golden) -> None:
    picture = golden("dalle/mixed_attn_rotary_shift/image_0.png")
    generator = load(folder, prime=str(picture), prime_rows=3, temperature=0.0)
    assert generator.beginning.tolist() == generator.codec.encode(pixels(picture))[0, :24].tolist()
    (image,) = generator.generate("noodles", 1, seed=0)
    free = load(folder, temperature=0.0)
    (other,) = free.generate("noodles", 1, seed=0)
    assert image.tobytes() != other.tobytes()


def test_a_source_begins_its_picture_alone_as_prime_begins_every_one(folder: str, golden) -> None:
    path = golden("dalle/mixed_attn_rotary_shift/image_0.png")
    begun = list(load(folder, prime=str(path), prime_rows=3).generate("noodles", 2, seed=0))
    generator = load(folder, prime_rows=3)
    free, own = Request("noodles", 0), Request("noodles", 0, source=Image.open(path))
    drawn = list(generator.draw([own, free, replace(own, seed=1)]))
    assert [drawn[0].tobytes(), drawn[2].tobytes()] == [image.tobytes() for image in begun]
    assert drawn[1].tobytes() == next(generator.generate("noodles", 1, seed=0)).tobytes()


def test_previews_show_the_codes_so_far_and_grey(folder: str) -> None:
    seen: list[np.ndarray] = []

    class Previews(Watch):
        def preview(self, index: int, picture: Callable[[], Image.Image]) -> None:
            seen.append(np.asarray(picture()))

    (image,) = load(folder).draw([Request("noodles", 0)], Previews())
    assert len(seen) == 64 and np.array_equal(seen[-1], np.asarray(image))
    half, grey = seen[31], 128
    middle = image.height // 2
    assert (half[middle:] == grey).all() and not (half[:middle] == grey).all()


def pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(path).convert("RGB")) / 255).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize(("options", "says"), [({"prime_rows": 8}, "8 rows in all"), ({"prime": "no.png"}, "no.png")])
def test_an_image_that_cannot_be_begun_with_is_refused(folder: str, golden, options: dict, says: str) -> None:
    picture = golden("dalle/mixed_attn_rotary_shift/image_0.png")
    with pytest.raises(T2IError, match=says):
        load(folder, **{"prime": str(picture), **options})


def test_guidance_acts_on_every_code(folder: str) -> None:
    """In the original it acts on the first alone."""
    generator = load(folder, cfg_scale=3.0, temperature=0.0, precision="fp32")  # bf16 has ties
    own, null = generator.after(generator.read("noodles"), generator.null())
    (codes,) = decode.sample_rows(generator.model, [generator.row(own, null, 0)])
    classes = generator.model.config.text_classes
    with torch.no_grad():
        logits = generator.model(torch.cat([own.row[0], null.row[0]]), codes.expand(2, -1))[:, -64:, classes:]
    assert (logits[1] + 3 * (logits[0] - logits[1])).argmax(dim=1).equal(codes)
    assert not logits[0].argmax(dim=1).equal(codes)


def test_a_text_that_is_too_long_is_cut_with_a_warning_or_refused(folder: str) -> None:
    with pytest.warns(UserWarning, match="cut to 12"):
        load(folder).read("a very long prompt")
    with pytest.raises(T2IError, match="does not fit"):
        load(folder, strict=True).read("a very long prompt")


def test_a_wrong_codec_is_refused_before_anything_is_drawn(folder: str, golden, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    discovery.find("codec", "dvae").convert(Upstream((golden("dalle/dvae_resblocks/vae.pt"),), {}), other)
    for named in ({"name": "dvae"}, {}):  # a model of its own backend is meant where none is named
        with pytest.raises(T2IError, match="was trained with another codec"):
            load(folder, codec={**named, "model": str(other)})


def test_a_wrong_tokenizer_is_refused_naming_both(folder: str, letters: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "vocabulary", 61)
    with pytest.raises(T2IError, match="reads 60 different ids, but tokenizer 'letters' gives 61"):
        load(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["full", "conv_like"])
def test_codes_do_not_depend_on_how_many_are_drawn_nor_on_the_batch(dtype: torch.dtype, kind: str) -> None:
    """Bit for bit, at a width where kernels for few rows and for many do round differently."""
    torch.manual_seed(0)
    config = Config(
        text_vocabulary=50,
        text_length=6,
        codes=512,
        grid=(2, 4),
        dim=256,
        depth=2,
        attention=(kind,),
        shift_tokens=True,
    )
    model = DallE(config).eval().to(dtype)
    text = torch.tensor([[3, 1, 4, 1, 5, 0]])

    def drawn(n: int, batch: int) -> list[list[int]]:
        codes = decode.sample(model, (text, text[:, :0]), range(n), 8, batch=batch)
        return [row.tolist() for row in codes]

    expected = drawn(16, 16)
    assert len({tuple(row) for row in expected}) == 16
    for n, batch in ((1, 16), (4, 16), (16, 4), (16, 5), (16, 64)):
        assert drawn(n, batch) == expected[:n]


@pytest.mark.filterwarnings("ignore:the text was cut")
def test_pictures_that_nobody_waits_for_change_no_other(folder: str) -> None:
    generator = load(folder, batch=40, cfg_scale=1.5)
    requests = [Request(prompt, seed) for seed in range(20) for prompt in ("ab", "cd")]

    class Leaving(Watch):
        done = 0

        def step(self, done: int, of: int) -> None:
            self.done = done

        def is_wanted(self, index: int) -> bool:
            return self.done < 3 or index in (7, 30)

    expected = [image.tobytes() for image in generator.draw(requests)]
    drawn = [image.tobytes() for image in generator.draw(requests, Leaving())]
    assert [drawn[7], drawn[30]] == [expected[7], expected[30]]
    assert len(drawn) == 40 and drawn[8] != expected[8], "nobody waited for it"
