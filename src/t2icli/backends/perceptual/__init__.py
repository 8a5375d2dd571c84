"""What pictures are compared by: LPIPS, and a comparison that needs no weights."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, lazily
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Metric
from t2icli.store.models import Model
from t2icli.store.sources import ModelSource, RemoteFile


class LpipsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: Annotated[Model | None, Meta(description="LPIPS weights; without them the Laplacian metric is used")] = None


class LaplacianSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    levels: Annotated[int, Meta(description="scales to compare at, each half the size of the last", ge=1)] = 4


load_lpips = lazily("t2icli.backends.perceptual.model:load_lpips")
load_laplacian = lazily("t2icli.backends.perceptual.model:Laplacian")
import_files = lazily("t2icli.backends.perceptual.convert:convert")


@hookimpl
def t2i_metrics() -> list[Entry[Metric]]:
    return [
        Entry("lpips", "LPIPS: learned distance of VGG16 features", LpipsSettings, load_lpips, import_files),
        Entry(
            "laplacian", "differences of details at several scales; needs no weights", LaplacianSettings, load_laplacian
        ),
    ]


VGG16 = RemoteFile(
    ("https://download.pytorch.org/models/vgg16-397923af.pth",),
    "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    553_433_881,
)
WEIGHING = RemoteFile(
    (
        "https://heibox.uni-heidelberg.de/f/607503859c864bc1b30b/?dl=1",
        "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth",
    ),
    "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    7_289,
    name="vgg.pth",
)


@hookimpl
def t2i_models() -> list[ModelSource]:
    about = "the perceptual network that VQGANs are trained with"
    licence = "BSD-2-Clause; VGG16 weights: torchvision's"
    return [ModelSource("lpips/vgg16", about, licence, files=(VGG16, WEIGHING), kind="metric")]
