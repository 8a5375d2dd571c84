"""Towers of other projects, with random weights of their true shapes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import resnet18

import t2i_wavbrivl
from t2i_wavbrivl.wav2clip import Wav2Clip, renamed
from t2icli import load
from t2icli.backends.clip.convert import preprocessing
from t2icli.backends.clip.model import build
from t2icli.contract.kinds import AudioClip
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.store import models
from t2icli.store.models import Card
from t2icli.testing import Runner, check_audio_embedder
from t2icli.testing.contracts import sounds

CLIP = {
    "embed_dim": 512,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16, "head_width": 64},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as Wav2CLIP's: Lightning's checkpoint of both towers, with what is not used."""
    torch.manual_seed(0)
    network = resnet18()
    network.conv1 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    state = {f"audio_encoder.{name}": tensor for name, tensor in network.state_dict().items()}
    state["audio_encoder.spectrogram.window"] = torch.hann_window(512)
    for number in (0, 3):
        layer = torch.nn.Linear(512, 512)
        state |= {f"audio_transform.sequential.{number}.{name}": value for name, value in layer.state_dict().items()}
    state["image_encoder.weight"] = torch.zeros(3)
    path = tmp_path_factory.mktemp("released") / "ResNet_CX.ckpt"
    torch.save({"state_dict": state, "epoch": 3}, path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP as wide as ViT-B/32, and small otherwise."""
    folder = tmp_path_factory.mktemp("clip") / "model"
    torch.manual_seed(0)
    weights.save(build(CLIP), folder)
    config = {"architecture": CLIP, "preprocess": preprocessing(CLIP, {})}
    return models.seal(folder, Card(kind="embedder", backend="clip", config=config)).folder


def test_wav2clip_is_imported_and_hears(released: Path, clip: Path, t2i: Runner) -> None:
    t2i.use(t2i_wavbrivl)
    t2i.ok("models", "import", released, "--as", "wav2clip", "--part", f"space={clip}", "--name", "wav2clip/vgg")
    entry = next(entry for entry in t2i_wavbrivl.t2i_embedders() if entry.name == "wav2clip")
    check_audio_embedder(entry, model="wav2clip/vgg")


def test_wav2clip_computes_what_the_original_does(released: Path) -> None:
    """Against its formula: log of a spectrogram, standardised, ResNet-18 without its last layer, two layers more."""
    state = torch.load(released, weights_only=True)["state_dict"]
    model = Wav2Clip()
    weights.fill(model, renamed(state), "it")
    model.eval()
    samples = torch.from_numpy(sounds()[0].samples)[None]
    padded = torch.nn.functional.pad(samples, (256, 256), mode="reflect")[0]
    frames = padded.unfold(0, 512, 353) * torch.hann_window(512)
    power = torch.log(torch.fft.rfft(frames).abs().square().T + 1e-7)
    power = (power - power.mean()) / (power.std() + 1e-9)
    with torch.no_grad():
        features = model.network(power[None, None])
        first, last = (state[f"audio_transform.sequential.{i}.weight"] for i in (0, 3))
        hidden = (features @ first.T + state["audio_transform.sequential.0.bias"]).relu()
        expected = hidden @ last.T + state["audio_transform.sequential.3.bias"]
        torch.testing.assert_close(model(samples), expected, atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def clap_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clap") / "model"
    text = {
        "vocab_size": 20,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    audio = {
        **{"patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2], "hidden_size": 32},
        **{"spec_size": 256, "num_mel_bins": 64, "window_size": 8, "patch_size": 4, "patch_stride": [4, 4]},
        **{"num_hidden_layers": 2, "enable_fusion": False},
    }
    ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=24)).save_pretrained(folder)
    ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
    words = {word: i for i, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", "a", "dog", "barks", "rain"])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", model_max_length=32
    )
    fast.save_pretrained(folder)
    return folder


def test_clap_is_used_as_the_hub_has_it(clap_folder: Path, t2i: Runner) -> None:
    t2i.use(t2i_wavbrivl)
    t2i.ok("models", "import", clap_folder, "--as", "clap", "--name", "clap/tiny")
    embedder = load("embedder", "clap/tiny")
    clips = sounds()
    vectors = embedder.embed_audio(clips)
    assert vectors.shape == (3, 24) and torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-4)
    for i in range(3):
        assert torch.equal(embedder.embed_audio(clips[i : i + 1]), vectors[i : i + 1])
    assert torch.equal(embedder.embed_audio(clips), vectors)
    long = AudioClip(np.tile(clips[2].samples, 6), clips[2].rate)
    assert embedder.embed_audio([long]).shape == (1, 24)
    assert embedder.embed_texts(["a dog barks", "rain"]).shape == (2, 24)
    with pytest.raises(T2IError, match="no pictures"):
        embedder.embed_images([])


def test_what_is_no_clap_is_refused(clap_folder: Path, tmp_path: Path, t2i: Runner) -> None:
    t2i.use(t2i_wavbrivl)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(T2IError, match="says 'clip'"):
        load("embedder", "clap", source=str(tmp_path / "other"))
    with pytest.raises(T2IError, match="cannot be read"):
        load("embedder", "clap", source=str(tmp_path))
    assert not math.isnan(load("embedder", "clap", source=str(clap_folder)).embed_texts(["a dog"]).sum())
