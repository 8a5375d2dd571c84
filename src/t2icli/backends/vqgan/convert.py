"""taming-transformers' `last.ckpt` and `model.yaml` as a model folder. Its parameter names are ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml
from torch import Tensor

from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.nn.shapes import VqganShape
from t2icli.nn.vqgan import Vqgan
from t2icli.store import models, upstream
from t2icli.store.models import Card

UNUSED = ("loss.", "model_ema.")
"""The discriminator, the perceptual network and averaged copies: not needed to encode and decode."""

QUANTIZERS = {"VQModel": "vq", "GumbelVQ": "gumbel"}
DDCONFIG = ("resolution", "ch", "ch_mult", "num_res_blocks", "attn_resolutions", "z_channels", "dropout")


def convert(files: Upstream, folder: Path) -> None:
    checkpoint, config = _sort(files.files)
    write(read_shape(config), upstream.read(checkpoint).tensors("state_dict"), folder, source=checkpoint.name)


def write(shape: VqganShape, state: Mapping[str, Tensor], folder: Path, *, source: str) -> None:
    """A sealed model folder of a taming state dict."""
    network = Vqgan(shape)
    tensors = {name: value for name, value in state.items() if not name.startswith(UNUSED)}
    weights.fill(network, tensors, f"'{source}'")
    weights.save(network, folder)
    about = f"{shape.quantizer} f{shape.factor}, {shape.n_embed} codes"
    models.seal(folder, Card(kind="codec", backend="vqgan", about=about, source=source, config=to_config(shape)))


def to_config(shape: VqganShape) -> dict[str, Any]:
    return dict(msgspec.to_builtins(shape))


def read_shape(path: Path) -> VqganShape:
    """The shape a taming configuration describes; the classes it names are never imported."""
    params, target = _model_table(path)
    if params.get("remap"):
        raise T2IError(
            f"'{path}' remaps its codes to those of another file, which cannot be imported",
            "remapped models cannot be imported",
        )
    dd = params["ddconfig"]
    if dd.get("in_channels", 3) != 3 or dd.get("out_ch", 3) != 3 or dd.get("double_z"):
        raise T2IError(f"'{path}' is not for RGB images", "in_channels and out_ch must be 3, double_z false")
    try:
        known = {key: dd[key] for key in DDCONFIG if key in dd}
        known |= {key: params[key] for key in ("embed_dim", "n_embed")}
        return msgspec.convert({**known, "quantizer": QUANTIZERS[target]}, VqganShape)
    except KeyError as error:
        raise T2IError(f"'{path}' does not say {error.args[0]}", "give the model.yaml that belongs to it") from error
    except msgspec.ValidationError as error:
        raise T2IError(f"'{path}' does not describe a VQGAN: {error}") from error


def _model_table(path: Path) -> tuple[dict[str, Any], str]:
    try:
        tables = yaml.safe_load(path.read_text(encoding="utf-8"))
        params, target = tables["model"]["params"], str(tables["model"]["target"]).rpartition(".")[2]
        params["ddconfig"].get("ch")
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise T2IError(f"cannot read '{path}': {str(error).splitlines()[0]}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise T2IError(
            f"'{path}' is not a taming-transformers configuration", "expected model.target, model.params.ddconfig"
        ) from error
    if target not in QUANTIZERS:
        raise T2IError(f"'{path}' is for {target!r}, not a VQGAN", f"known: {', '.join(QUANTIZERS)}")
    return params, target


def _sort(files: tuple[Path, ...]) -> tuple[Path, Path]:
    """The checkpoint and the configuration, distinguished by content: downloads may have other names."""
    configs = [path for path in files if _is_text(path)]
    others = [path for path in files if path not in configs]
    if len(configs) != 1 or len(others) != 1:
        raise T2IError(
            "a VQGAN is imported from two files: its weights and its configuration",
            "t2i models import last.ckpt model.yaml --as vqgan",
        )
    return others[0], configs[0]


def _is_text(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(4096)
    return b"\0" not in head and not head.startswith((b"\x80", b"PK"))
