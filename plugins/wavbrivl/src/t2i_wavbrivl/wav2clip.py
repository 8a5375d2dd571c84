"""Wav2CLIP's released tower: ResNet-18 over a spectrogram, in the space of OpenAI's CLIP ViT-B/32."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18

from t2i_wavbrivl import Wav2ClipSettings
from t2i_wavbrivl.embed import AudioTower
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.nn.devices import pick_device
from t2icli.registry import parts
from t2icli.store import models, upstream
from t2icli.store.models import Card

WIDTH, POINTS, HOP = 512, 512, 353
SECONDS = 10.0
"""The length of the clips that it was trained on: a longer sound is embedded in pieces."""
RENAMED = (("audio_encoder.", "network."), ("audio_transform.sequential.0.", "first."))
UNUSED = ("audio_encoder.fc.", "audio_encoder.spectrogram.")


class Wav2Clip(nn.Module):
    """Samples at 16,000 a second, (b, n), to features (b, 512)."""

    def __init__(self) -> None:
        super().__init__()
        self.network = resnet18()
        self.network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        self.network.fc = nn.Identity()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, samples: Tensor) -> Tensor:
        window = torch.hann_window(POINTS, device=samples.device)
        spectrum = torch.stft(samples, POINTS, HOP, window=window, center=True, return_complex=True)
        power = (spectrum.abs().square() + 1e-7).log()
        deviation, mean = torch.std_mean(power, dim=(1, 2), keepdim=True)
        features = self.network(((power - mean) / (deviation + 1e-9))[:, None])
        return self.second(self.first(features).relu())


def convert(files: Upstream, folder: Path) -> None:
    """A model folder from `ResNet_CX.ckpt`; `--part space=FOLDER` is OpenAI's ViT-B/32 as a model of ours."""
    if len(files.files) != 1:
        raise T2IError("Wav2CLIP is one file", "import ResNet_CX.ckpt alone")
    model = Wav2Clip()
    weights.fill(model, renamed(upstream.read(files.files[0]).tensors("state_dict")), files.files[0].name)
    weights.save(model, folder)
    parts.convert("embedder", "clip", files, "space", folder)
    about = "Wav2CLIP: sounds in the space of CLIP ViT-B/32"
    models.seal(
        folder, Card(kind="embedder", backend="wav2clip", about=about, licence="MIT", source=files.files[0].name)
    )


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """By our names; the second layer of their MLP is whichever comes after activation and dropout."""
    ours = {}
    for name, tensor in tensors.items():
        if not name.startswith(("audio_encoder.", "audio_transform.")) or name.startswith(UNUSED):
            continue
        for theirs, own in RENAMED:
            name = name.replace(theirs, own) if name.startswith(theirs) else name
        ours[name.replace("audio_transform.sequential.3.", "second.")] = tensor
    return ours


def load(settings: Wav2ClipSettings) -> AudioTower:
    embedder = settings.space.load()
    if embedder.width != WIDTH:
        raise T2IError(
            f"Wav2CLIP's vectors have {WIDTH} numbers, but those of {settings.space.name!r} have {embedder.width}",
            "omit the space to use the model's own",
        )
    tower = weights.load(weights.unfilled(Wav2Clip), settings.model)
    space = parts.space(settings.space.name, settings.space.settings)
    device = pick_device(settings.device)
    owner = f"model {settings.model.name!r}"
    return AudioTower(tower, _filled, embedder, space, device, owner, SECONDS)


def _filled(samples: Tensor) -> tuple[Tensor]:
    """With silence, as long as one window at least."""
    return (F.pad(samples, (0, max(0, POINTS - len(samples)))),)
