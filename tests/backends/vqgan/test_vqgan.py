"""The VQGAN computes what taming-transformers' does, from its own files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from t2icli import load
from t2icli.backends.vqgan.convert import convert, read_shape, to_config
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.nn import devices, weights
from t2icli.nn.patches import PatchDecoder, cosines
from t2icli.nn.shapes import VqganShape
from t2icli.nn.vqgan import Vqgan, meta
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.store.models import Card, Model
from t2icli.testing import check_codec

CASES = ("f4_attn16", "f8_embed_ne_z", "gumbel_f4")
SMALL = VqganShape(
    resolution=32,
    patch=4,
    ch=16,
    ch_mult=(1, 2),
    num_res_blocks=1,
    attn_resolutions=(),
    middle_attention=False,
    groups=4,
    z_channels=8,
    embed_dim=4,
    n_embed=16,
    quantizer="cosine",
)

TRANSFORMER = VqganShape(
    resolution=32, patch=8, ch=64, ch_mult=(1,), transformer=2, apart=True, z_channels=8, embed_dim=4, n_embed=16
)


class Case:
    """One reference model: its files, its inputs, what came out."""

    def __init__(self, folder: Path, into: Path) -> None:
        convert(Upstream((folder / "model.yaml", folder / "last.ckpt"), {}), into)
        self.model = models.open_model(into)
        self.shape = msgspec.convert(self.model.card.config, VqganShape)
        self.network = weights.load(Vqgan(self.shape), self.model)
        self.expected = {k: torch.from_numpy(v) for k, v in np.load(folder / "expected.npz").items()}
        images = [np.asarray(Image.open(folder / f"image_{i}.png")) for i in range(2)]
        self.images = torch.from_numpy(np.stack(images)).movedim(-1, 1).contiguous() / 255
        self.codes = self.expected.get("indices", self.expected.get("argmax_logits"))

    def map(self, codes: torch.Tensor) -> torch.Tensor:
        side = self.shape.resolution // self.shape.factor
        return codes.unflatten(1, (side, side))


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, golden: Callable[[str], Path], tmp_path: Path) -> Case:
    return Case(golden(f"vqgan/{request.param}"), tmp_path)


def small(folder: Path, shape: VqganShape = SMALL) -> Model:
    torch.manual_seed(0)
    weights.save(Vqgan(shape), folder)
    return models.seal(folder, Card(kind="codec", backend="vqgan", config=to_config(shape)))


def test_it_encodes_as_upstream(case: Case) -> None:
    pixels = 2 * case.images - 1
    assert torch.allclose(case.network.encoder(pixels), case.expected["encoder_out"], atol=2e-5)
    assert torch.allclose(case.network.latents(pixels), case.expected["prequant"], atol=2e-5)
    assert torch.equal(case.network.to_codes(case.images).flatten(1), case.codes)


def test_nearest_codes_are_upstreams_where_embeddings_and_latents_differ_in_width(
    golden: Callable[[str], Path],
) -> None:
    folder = golden("vqgan/f8_encoder")
    network = Vqgan(read_shape(folder / "model.yaml"))
    network.load_state_dict(torch.load(folder / "last.ckpt", weights_only=True)["state_dict"], strict=False)
    expected = {k: torch.from_numpy(v) for k, v in np.load(folder / "expected.npz").items()}
    images = np.stack([np.asarray(Image.open(folder / f"image_{i}.png")) for i in range(2)])
    pixels = torch.from_numpy(images).movedim(-1, 1).contiguous() / 255
    with torch.no_grad():
        torch.testing.assert_close(network.encoder(2 * pixels - 1), expected["encoder_out"], atol=2e-5, rtol=0)
        codes = network.to_codes(pixels)
        assert codes.flatten(1).equal(expected["indices"])
        torch.testing.assert_close(network.quantize.look_up(codes), expected["quantized"], atol=2e-5, rtol=0)


def test_it_decodes_as_upstream(case: Case) -> None:
    quantized = case.network.quantize.look_up(case.map(case.codes))
    assert torch.allclose(quantized, case.expected["quantized"], atol=2e-5)
    assert torch.allclose(case.network.reconstruct(quantized), case.expected["decoded"], atol=1e-4)
    drawn = case.network.quantize.look_up(case.map(case.expected["random_indices"]))
    assert torch.allclose(case.network.reconstruct(drawn), case.expected["decoded_random"], atol=1e-4)


def test_as_a_codec_it_keeps_its_promises(case: Case) -> None:
    check_codec(discovery.find("codec", "vqgan"), model=case.model)


@pytest.mark.parametrize("size", [(32, 96)])
def test_other_sizes_work(case: Case, size: tuple[int, int]) -> None:
    codec = load("codec", "vqgan", model=case.model, height=size[0], width=size[1])
    images = torch.rand(1, 3, *size)
    assert codec.decode(codec.encode(images)).shape == images.shape


@pytest.mark.parametrize(
    ("keys", "shape"),
    [
        ("imagenet_f16_1024", VqganShape()),
        ("imagenet_f16_16384", VqganShape(n_embed=16384)),
        ("gumbel_f8_8192_dummyloss", VqganShape(ch_mult=(1, 1, 2, 4), attn_resolutions=(32,), n_embed=8192)),
    ],
)
def test_the_full_size_networks_have_upstreams_parameters(
    golden: Callable[[str], Path], keys: str, shape: VqganShape
) -> None:
    listed = json.loads(golden(f"vqgan/keys_{keys}.json").read_text())
    needed = {name: size for name, size in listed.items() if not name.startswith("loss.")}
    if "gumbel" in keys:
        shape = msgspec.structs.replace(shape, quantizer="gumbel")
    assert {name: list(value.shape) for name, value in meta(shape).state_dict().items()} == needed


def test_a_small_one_keeps_its_promises(tmp_path: Path) -> None:
    check_codec(discovery.find("codec", "vqgan"), model=small(tmp_path))
    assert load("codec", "vqgan", model=small(tmp_path)).grid == (4, 4)


def test_codes_that_are_told_apart_depend_on_their_own_pixels_alone(tmp_path: Path) -> None:
    model = small(tmp_path, msgspec.structs.replace(SMALL, apart=True))
    check_codec(discovery.find("codec", "vqgan"), model=model)
    network = load("codec", "vqgan", model=model).model
    images = torch.rand(2, 3, 32, 32)
    others = images.clone()
    others[:, :, 8:16, 16:24] = torch.rand(2, 3, 8, 8)
    changed = (network.latents(images) != network.latents(others)).any(1)
    assert changed.nonzero().tolist() == [[0, 1, 2], [1, 1, 2]]


def test_a_last_convolution_mixes_pixels_across_the_edges_of_patches(tmp_path: Path) -> None:
    check_codec(discovery.find("codec", "vqgan"), model=small(tmp_path, msgspec.structs.replace(SMALL, finish=2)))
    decoder = Vqgan(msgspec.structs.replace(SMALL, finish=2)).decoder
    pixels = torch.zeros(1, 2, 32, 32)
    pixels[:, :, 7, 7] = 5.0
    with torch.no_grad():
        changed = (decoder.finish(pixels) - decoder.finish(pixels * 0)).abs().sum(1)[0].nonzero()
    assert changed.amin(0).tolist() == [6, 6] and changed.amax(0).tolist() == [8, 8]
    assert decoder.last is decoder.finish and decoder.conv_out.out_channels == 2 * SMALL.patch**2


def test_a_transformer_draws_codes_that_see_their_own_pixels_alone(tmp_path: Path) -> None:
    model = small(tmp_path, TRANSFORMER)
    check_codec(discovery.find("codec", "vqgan"), model=model)
    network = load("codec", "vqgan", model=model).model
    images = torch.rand(1, 3, 32, 48)
    others = images.clone()
    others[:, :, 8:16, 16:24] = torch.rand(3, 8, 8)
    changed = (network.latents(images) != network.latents(others)).any(1)
    assert changed.nonzero().tolist() == [[0, 1, 2]]
    assert network(images).shape == images.shape  # another size than it was trained for


def test_patches_of_one_colour_make_a_picture_without_seams_or_edges() -> None:
    decoder = Vqgan(TRANSFORMER).decoder
    assert isinstance(decoder, PatchDecoder)
    torch.nn.init.zeros_(decoder.outwards.weight)
    with torch.no_grad():
        decoder.outwards.bias.zero_()[0] = 1.0  # the coarsest wave, of light
        picture = decoder(torch.randn(1, TRANSFORMER.z_channels, 4, 4))
    assert picture.abs().min() > 0.01
    torch.testing.assert_close(picture, picture[:, :, :1, :1].expand_as(picture))


def test_all_cosine_waves_together_give_a_patch_back() -> None:
    waves = cosines(8, 192, 8)
    patch = torch.rand(192)
    torch.testing.assert_close((patch @ waves) / waves.square().sum(0) @ waves.T, patch)
    assert cosines(8, 3, 8).shape == (192, 3)
    assert (cosines(8, 3, 8)[:, 0] > 0).all()  # light that is the same everywhere is the largest


def test_latents_are_decoded_as_the_codes_nearest_to_them(tmp_path: Path) -> None:
    codec = load("codec", "vqgan", model=small(tmp_path))
    images = torch.rand(2, 3, 32, 32)
    assert codec.decode_latents(codec.encode_latents(images)).equal(codec.decode(codec.encode(images)))
    with pytest.raises(T2IError, match=r"do not fit a codec of \(4, 4, 4\)"):
        codec.decode_latents(torch.zeros(1, 4, 4, 3))


def test_bf16_codes_are_nearly_all_the_same(case: Case) -> None:
    exact = load("codec", "vqgan", model=case.model).encode(case.images)
    rough = load("codec", "vqgan", model=case.model, precision="bf16").encode(case.images)
    assert (exact == rough).float().mean() > 0.9


@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_processor_with_bf16_paints_in_it_but_finds_the_codes_of_others(
    has_bf16: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "has_bf16", lambda device: has_bf16)
    model, images = small(tmp_path), torch.rand(2, 3, 32, 32)
    codec, exact = load("codec", "vqgan", model=model), load("codec", "vqgan", model=model, precision="fp32")
    codes = exact.encode(images)
    assert codec.encode(images).equal(codes) and codec.encode_latents(images).equal(exact.encode_latents(images))
    painted = exact.decode(codes)
    assert codec.decode(codes).equal(painted) != has_bf16
    torch.testing.assert_close(codec.decode(codes), painted, atol=0.02, rtol=0)


def test_a_size_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = small(tmp_path)
    with pytest.raises(T2IError, match="no whole codes") as caught:
        load("codec", "vqgan", model=model, height=30)
    assert caught.value.hint == "use multiples of 8"
    codec = load("codec", "vqgan", model=model)
    with pytest.raises(T2IError, match="do not fit a codec"):
        codec.encode(torch.rand(1, 3, 64, 64))
    with pytest.raises(T2IError, match="grid of 4 x 4"):
        codec.decode(torch.zeros(1, 15, dtype=torch.int64))


YAML = """
model:
  target: {target}
  params: {{embed_dim: 4, n_embed: 8, ddconfig: {{z_channels: 4, resolution: 8, in_channels: 3, out_ch: {out}, ch: 32,
    ch_mult: [1, 1], num_res_blocks: 1, attn_resolutions: []}}}}
"""


def test_a_configuration_cannot_name_code_to_run(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(f"model: !!python/object/apply:os.system ['touch {tmp_path}/ran']")
    with pytest.raises(T2IError, match="cannot read"):
        read_shape(tmp_path / "model.yaml")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (YAML.format(target="taming.models.cond_transformer.Net2NetTransformer", out=3), "Net2NetTransformer"),
        (YAML.format(target="taming.models.vqgan.VQModel", out=1), "RGB"),
        (YAML.format(target="taming.models.vqgan.VQModel", out=3).replace("n_embed: 8,", ""), "n_embed"),
        (
            YAML.format(target="taming.models.vqgan.VQModel", out=3).replace("n_embed: 8", "n_embed: 8, remap: a.npy"),
            "remaps",
        ),
        ("just: words", "not a taming-transformers configuration"),
        ("model: [", "cannot read"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "model.yaml").write_text(text)
    with pytest.raises(T2IError, match=says):
        read_shape(tmp_path / "model.yaml")


def test_missing_and_left_over_weights_are_listed(golden: Callable[[str], Path], tmp_path: Path) -> None:
    folder = golden("vqgan/gumbel_f4")
    state = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    state["encoder.conv_on.weight"] = state.pop("encoder.conv_in.weight")
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    with pytest.raises(T2IError, match="do not fit") as caught:
        convert(Upstream((tmp_path / "last.ckpt", folder / "model.yaml"), {}), tmp_path / "out")
    assert "missing: encoder.conv_in.weight" in caught.value.hint
    assert "left over: encoder.conv_on.weight" in caught.value.hint


def test_weights_and_configuration_are_told_apart_whatever_they_are_called(
    golden: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = golden("vqgan/gumbel_f4")
    (tmp_path / "a.bin").write_bytes((folder / "model.yaml").read_bytes())
    (tmp_path / "b").write_bytes((folder / "last.ckpt").read_bytes())
    (out := tmp_path / "out").mkdir()
    convert(Upstream((tmp_path / "a.bin", tmp_path / "b"), {}), out)
    assert models.open_model(out).card.config["quantizer"] == "gumbel"
    with pytest.raises(T2IError, match="two files"):
        convert(Upstream((tmp_path / "b",), {}), out)
