"""Inception, whose features FID and KID are computed on: `t2i evaluate pictures`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, Upstream
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Metric
from t2icli.store.models import Model
from t2icli.store.sources import ModelSource, RemoteFile

SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""Of the file that published figures are computed with: TensorFlow's network of 2015, carried over to torch."""
ADDRESSES = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: Annotated[Model, Meta(description="Inception's weights")]
    batch: Annotated[int, Meta(description="pictures at a time", ge=1)] = 32
    device: Annotated[str, Meta(description="auto, cpu, cuda, cuda:1 ...")] = "auto"


def load(settings: Settings) -> Metric:
    from t2icli.backends.inception.model import Inception

    return Inception(settings)


# Not called `convert`: the module of that name takes its place in this package once it is imported.
def import_file(upstream: Upstream, folder: Path) -> None:
    from t2icli.backends.inception.convert import convert

    convert(upstream, folder)


@hookimpl
def t2i_metrics() -> list[Entry[Metric]]:
    return [
        Entry("inception", "differences of Inception's features; FID and KID use them", Settings, load, import_file)
    ]


@hookimpl
def t2i_models() -> list[ModelSource]:
    return [
        ModelSource(
            "inception/fid",
            "the network that FID and KID are computed with",
            "Apache-2.0",
            files=(RemoteFile(ADDRESSES, SHA256, 95_628_359),),
            kind="metric",
        )
    ]
