"""What pictures are compared by: LPIPS, and a comparison that needs no weights."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Entry, Metric, ModelSource, RemoteFile, lazily
from t2icli.store.models import Model


class Lpips(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: Annotated[Model | None, Meta(description="LPIPS weights; without them the Laplacian metric is used")] = None


class Laplacian(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    levels: Annotated[int, Meta(description="scales to compare at, each half the size of the last", ge=1)] = 4


load_lpips = lazily("t2icli.backends.perceptual.model:load_lpips")
load_laplacian = lazily("t2icli.backends.perceptual.model:Laplacian")
import_files = lazily("t2icli.backends.perceptual.convert:convert")


@hookimpl
def t2i_metrics() -> list[Entry[Metric]]:
    return [
        Entry("lpips", "LPIPS: learned distance of VGG16 features", Lpips, load_lpips, import_files),
        Entry("laplacian", "differences of details at several scales; needs no weights", Laplacian, load_laplacian),
    ]


@hookimpl
def t2i_models() -> list[ModelSource]:
    weighing = "https://heibox.uni-heidelberg.de/f/607503859c864bc1b30b/?dl=1"
    vgg = "https://download.pytorch.org/models/vgg16-397923af.pth"
    files = (RemoteFile((vgg,), sha256=None), RemoteFile((weighing,), sha256=None, name="vgg.pth"))
    about = "the perceptual network that VQGANs are trained with"
    return [ModelSource("lpips/vgg16", about, "BSD-2-Clause; VGG16 weights: torchvision's", files=files)]
