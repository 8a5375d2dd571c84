"""Files of dalle2-pytorch 1.15.6 as a model folder of ours: bare state dicts and its trainers' checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
import torch
from torch import Tensor

from t2i_dalle2 import folders
from t2i_dalle2.decoder.model import Decoder
from t2i_dalle2.diffusion import betas
from t2i_dalle2.prior.model import Prior
from t2i_dalle2.shapes import Betas, DecoderShape, PriorShape, UnetShape
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.registry import parts
from t2icli.store import models
from t2icli.store.upstream import read

Tensors = Mapping[str, Tensor]

PRIOR_NAMES = (
    (r"^learned_query$", "query"),
    (r"^null_text_encodings$", "null_encodings"),
    (r"^null_text_embeds$", "null_text"),
    (r"^null_image_embed$", "null_image"),
    (r"^to_(text|image)_embeds\.0\.", r"\1."),
    (r"^to_time_embeds\.0\.weight$", "time.weight"),
    (r"^to_time_embeds\.0\.1\.net\.0\.0\.", "time.1."),
    (r"^to_time_embeds\.0\.1\.net\.1\.0\.", "time.3."),
    (r"^to_time_embeds\.0\.1\.net\.2\.", "time.5."),
    (r"^causal_transformer\.rel_pos_bias\.relative_attention_bias\.", "distances.bias."),
    (r"^causal_transformer\.norm\.g$", "norm.weight"),
    (r"^causal_transformer\.project_out\.", "out."),
    (r"^causal_transformer\.layers\.(\d+)\.0\.", r"layers.\1.attention."),
    (r"^causal_transformer\.layers\.(\d+)\.1\.0\.g$", r"layers.\1.feed.norm.weight"),
    (r"^causal_transformer\.layers\.(\d+)\.1\.1\.", r"layers.\1.feed.up."),
    (r"^causal_transformer\.layers\.(\d+)\.1\.5\.", r"layers.\1.feed.down."),
)
UNET_NAMES = (
    (r"^(to_time_tokens|to_time_cond|image_to_tokens|to_image_hiddens)\.0\.", r"\1."),
    (r"^downs\.(\d+)\.1\.", r"downs.\1.first."),
    (r"^downs\.(\d+)\.2\.", r"downs.\1.blocks."),
    (r"^(downs\.\d+)\.3\.fn\.fn\.", r"\1.attention.attention."),
    (r"^downs\.(\d+)\.4\.", r"downs.\1.to_next."),
    (r"^ups\.(\d+)\.0\.", r"ups.\1.first."),
    (r"^ups\.(\d+)\.1\.", r"ups.\1.blocks."),
    (r"^(ups\.\d+)\.2\.fn\.fn\.", r"\1.attention.attention."),
    (r"^ups\.(\d+)\.3\.net\.", r"ups.\1.to_next."),
    (r"^mid_attn\.fn\.fn\.", "mid_attn.attention."),
)
NORM_NAMES = (
    (r"\.to_out\.0\.", ".out."),
    (r"\.to_out\.1\.g$", ".out_norm.weight"),
    (r"\.norm\.g$", ".norm.weight"),
)


def renamed(tensors: Tensors, table: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    by_our_names = {}
    for name, tensor in tensors.items():
        for theirs, ours in (*table, *NORM_NAMES):
            name = re.sub(theirs, ours, name)
        by_our_names[name] = tensor
    return by_our_names


def convert(upstream: Upstream, folder: Path) -> None:
    """A model folder from `decoder.pth` and its prior, or from `dalle2.pth`, with CLIP inside."""
    checkpoint, known = sorted_files(upstream.files)
    tensors = state_of(checkpoint)
    own = list(upstream.parts.get("prior", ()))
    whole = {"prior": below(tensors, "prior."), "decoder": below(tensors, "decoder.")}
    (prior_file, prior_known) = sorted_files(tuple(own)) if own else (checkpoint, known)
    prior = state_of(prior_file) if own else whole["prior"]
    network = fill_decoder(whole["decoder"] or tensors, known.get("decoder", known), checkpoint)
    weights.save(network, folder)
    parts.convert("embedder", "clip", upstream, "embedder", folder)
    embedder = models.open_model(folder / "embedder").sha256
    if prior:
        made = convert_prior(prior, prior_known.get("prior", prior_known), prior_file, folder / "prior", embedder)
        if made.width != network.shape.embedding:
            raise T2IError(
                f"the prior makes embeddings of {made.width} numbers, but the decoder reads {network.shape.embedding}",
                "give the prior that belongs to it: --part prior=FILE",
            )
    about = "DALL-E 2: prior and decoder" if prior else "DALL-E 2's decoder"
    folders.seal_decoder(folder, network.shape, embedder, {}, about=about, source=checkpoint.name)
    parts.check_embedder("generator", folder, network.shape.embedding)


def convert_prior(
    tensors: Tensors, known: Mapping[str, Any], checkpoint: Path, folder: Path, embedder: str
) -> PriorShape:
    network = fill_prior(tensors, known, checkpoint)
    weights.save(network, folder)
    folders.seal_prior(folder, network.shape, embedder, about="DALL-E 2's prior", source=checkpoint.name)
    return network.shape


def sorted_files(files: tuple[Path, ...]) -> tuple[Path, dict[str, Any]]:
    """The checkpoint, and from a JSON file beside it what no checkpoint shows."""
    checkpoints = [path for path in files if path.suffix != ".json"]
    if len(checkpoints) != 1:
        raise T2IError(f"one checkpoint is needed, not {len(checkpoints)}", "give the prior with --part prior=FILE")
    known: dict[str, Any] = {}
    for path in files:
        if path.suffix == ".json":
            known.update(msgspec.json.decode(path.read_bytes()))
    return checkpoints[0], known


def state_of(checkpoint: Path) -> dict[str, Tensor]:
    """A trainer's averaged weights where it kept them, else its model, else the bare state dict; without CLIP."""
    contents = read(checkpoint)
    tensors = contents.tensors("ema_model", "model") | averaged_unets(contents.data)
    tensors = {name: tensor for name, tensor in tensors.items() if not re.match(r"(prior\.|decoder\.)?clip\.", name)}
    names = {name.removeprefix("prior.").removeprefix("decoder.") for name in tensors}
    is_old_prior = any(name.startswith("net.") for name in names) and "net.null_text_embeds" not in names
    if "betas" in names or is_old_prior:
        raise T2IError(
            f"'{checkpoint}' is of dalle2-pytorch before 1.0, such as the 0.2.4 some projects pin",
            "its networks differ (no learned null embeddings, other norms): train again, or save with 1.15.6",
        )
    return tensors


def averaged_unets(data: Any) -> dict[str, Tensor]:
    """The decoder's trainer keeps the average of each unet by its number: `ema` holds `0.ema_model.to_out.bias`."""
    ema = data.get("ema") if isinstance(data, Mapping) else None
    unets = {}
    for name, tensor in (ema or {}).items():
        if match := re.match(r"(\d+)\.ema_model\.(.+)", str(name)):
            unets[f"unets.{match[1]}.{match[2]}"] = tensor
    return unets


def below(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def fill_prior(tensors: Tensors, known: Mapping[str, Any], checkpoint: Path) -> Prior:
    """The network that holds these weights."""
    own = renamed(below(tensors, "net."), PRIOR_NAMES)
    try:
        _, length, width = own["null_encodings"].shape
        head_width = own["layers.0.attention.null_kv"].shape[1]
        time = own["time.weight"].shape[1] if "time.weight" in own else len(own["time.5.weight"])
        inferred = {
            "width": width,
            "encodings": width,
            "text_length": length,
            "layers": count(own, r"layers\.(\d+)\."),
            "heads": own["layers.0.attention.to_q.weight"].shape[0] // head_width,
            "head_width": head_width,
            "text_tokens": own["null_text"].shape[1],
            "time_tokens": time // width,
            "image_tokens": len(own["image.weight"]) // width if "image.weight" in own else 1,
            "timesteps": len(tensors["noise_scheduler.betas"]),
            "time_table": "time.weight" in own,
            "betas": schedule_of(tensors["noise_scheduler.betas"], checkpoint),
        }
    except KeyError as missing:
        raise T2IError(f"'{checkpoint}' holds no prior of dalle2-pytorch: there is no {missing} in it") from missing
    refuse_other_options(own, width, checkpoint)
    network = Prior(shape_of({**inferred, **known}, PriorShape, checkpoint))
    weights.fill(network, with_one_rotation(own), checkpoint.name)
    return network


def refuse_other_options(own: Tensors, width: int, checkpoint: Path) -> None:
    """What the reference's transformer has as options that ours lacks, by the weights that are there or not."""
    present = {
        "norm_in=True": "causal_transformer.init_norm.g" in own,
        "norm_out=False": "norm.weight" not in own,
        "normformer=True": "causal_transformer.layers.0.1.3.g" in own,
        "final_proj=False": "out.weight" not in own,
        "rotary_emb=False": not any(name.endswith(".rotary_emb.freqs") for name in own),
        "ff_mult": "layers.0.feed.up.weight" in own and len(own["layers.0.feed.up.weight"]) != 8 * width,
    }
    if options := [option for option, is_there in present.items() if is_there]:
        raise T2IError(
            f"the prior in '{checkpoint}' was made with options that are not supported: {', '.join(options)}",
            "train one with t2i train dalle2-prior, or import one with dalle2-pytorch's defaults for them",
        )


def with_one_rotation(own: Tensors) -> dict[str, Tensor]:
    """Their layers share one table of angles, which is stored once for each."""
    tables = {name: tensor for name, tensor in own.items() if name.endswith(".rotary_emb.freqs")}
    rates = {"rates": next(iter(tables.values()))} if tables else {}
    return {name: tensor for name, tensor in own.items() if name not in tables} | rates


def fill_decoder(tensors: Tensors, known: Mapping[str, Any], checkpoint: Path) -> Decoder:
    """The cascade that holds these weights."""
    if any(name.startswith("vaes.") for name in tensors):
        raise T2IError(
            f"the decoder in '{checkpoint}' draws the latents of a VQGanVAE of dalle2-pytorch, which is not supported",
            "train one on a codec's latents: t2i train dalle2-decoder -o codec=vqgan",
        )
    n = count(tensors, r"noise_schedulers\.(\d+)\.")
    if not n or not count(tensors, r"unets\.(\d+)\."):
        raise T2IError(f"'{checkpoint}' holds no decoder of dalle2-pytorch: there are no unets in it")
    for i in range(n):
        if not below(tensors, f"unets.{i}."):
            raise T2IError(f"the decoder in '{checkpoint}' lacks unet {i + 1} of {n}", "save it with all its unets")
    sizes = known.get("image_sizes", [128 * 2**i for i in range(n)])
    if not isinstance(sizes, list):
        raise T2IError(f"image sizes are a list, not {sizes!r}", 'one for each unet: {"image_sizes": [64, 256]}')
    if len(sizes) != n:
        raise T2IError(
            f"'{checkpoint}' has {n} unets, but {len(sizes)} image sizes are given", "name one size for each"
        )
    groups = groups_of(known, n, checkpoint)
    unets = [unet_tensors(below(tensors, f"unets.{i}.")) for i in range(n)]
    schedules = [tensors[f"noise_schedulers.{i}.betas"] for i in range(n)]
    shapes = [
        shape_of(
            unet_seen(unet, checkpoint) | {"size": size, "groups": count, "betas": schedule_of(beta, checkpoint)},
            UnetShape,
            checkpoint,
        )
        for unet, size, count, beta in zip(unets, sizes, groups, schedules, strict=True)
    ]
    for number, shape in enumerate(shapes, start=1):
        if shape.width % shape.groups:
            raise T2IError(
                f"{shape.groups} groups do not divide the {shape.width} channels of unet {number} in '{checkpoint}'",
                'name the right ones: {"resnet_groups": [8, 8]} has one number for each unet',
            )
    inferred = {
        "embedding": unets[0]["image_to_tokens.weight"].shape[1],
        "unets": msgspec.to_builtins(shapes),
        "timesteps": len(schedules[0]),
        "text": unets[0]["text_to_cond.weight"].shape[1] if "text_to_cond.weight" in unets[0] else 0,
        "text_length": unets[0]["null_text_embed"].shape[1] if "null_text_embed" in unets[0] else 0,
    }
    network = Decoder(shape_of({**inferred, **known}, DecoderShape, checkpoint))
    own = {f"unets.{i}.{name}": tensor for i, unet in enumerate(unets) for name, tensor in unet.items()}
    weights.fill(network, own, checkpoint.name)
    return network


def groups_of(known: Mapping[str, Any], unets: int, checkpoint: Path) -> list[int]:
    """The groups of each unet's norms, which must be given: a wrong number fits as well and draws other pictures."""
    value = known.get("resnet_groups")
    if value is None:
        raise T2IError(
            f"nothing in '{checkpoint}' shows the `resnet_groups` it was trained with",
            "import a JSON file with them too, such as decoder.json; "
            'if they were never set, they are 8: {"resnet_groups": 8}',
        )
    groups = value if isinstance(value, list) else [value] * unets
    if len(groups) != unets or not all(isinstance(count, int) and count > 0 for count in groups):
        raise T2IError(f"resnet_groups cannot be {value!r}", f"one number for all unets, or a list of {unets}")
    return groups


def unet_tensors(tensors: Tensors) -> dict[str, Tensor]:
    """By our names, without the null embeddings of conditions that this unet does not read."""
    unread = {"null_text_embed"} if "text_to_cond.weight" not in tensors else set()
    if "to_image_hiddens.0.weight" not in tensors:
        unread |= {"null_image_embed", "null_image_hiddens"}
    return renamed({name: tensor for name, tensor in tensors.items() if name not in unread}, UNET_NAMES)


def unet_seen(own: Tensors, checkpoint: Path) -> dict[str, Any]:
    """The sizes that the weights show."""
    try:
        width = own["to_time_hiddens.1.weight"].shape[1]
        condition = len(own["norm_cond.weight"])
        levels = count(own, r"downs\.(\d+)\.")
        self_width, cross_width = (
            own[f"{name}.null_kv"].shape[1] for name in ("mid_attn.attention", "mid_block1.cross_attn")
        )
        outer = [own[f"downs.{i}.to_next.{'1.' * (i < levels - 1)}weight"].shape[0] for i in range(levels)]
        return {
            "width": width,
            "multipliers": [d // width for d in outer],
            "blocks": count(own, r"downs\.0\.blocks\.(\d+)\."),
            "kernels": [
                own[f"init_conv.convs.{i}.weight"].shape[-1] for i in range(count(own, r"init_conv\.convs\.(\d+)\."))
            ],
            "condition": condition,
            "image_tokens": own["null_image_embed"].shape[1] if "null_image_embed" in own else 4,
            "time_tokens": len(own["to_time_tokens.weight"]) // condition,
            "heads": len(own["mid_attn.attention.to_q.weight"]) // self_width,
            "head_width": self_width,
            "cross_heads": len(own["mid_block1.cross_attn.to_q.weight"]) // cross_width,
            "cross_head_width": cross_width,
            "attention": [f"downs.{i}.attention.attention.null_kv" in own for i in range(levels)],
            "learned_variance": len(own["to_out.weight"]) == 6,
        }
    except KeyError as missing:
        raise T2IError(f"'{checkpoint}' has a unet of an unknown kind: no {missing} in it") from missing


def count(names: Tensors, pattern: str) -> int:
    """How many different numbers stand at the pattern's group."""
    return len({match[1] for name in names if (match := re.match(pattern, name))})


def schedule_of(stored: Tensor, checkpoint: Path) -> str:
    """The schedule whose betas these are."""
    for name in get_args(Betas):
        if torch.allclose(betas(name, len(stored)).float(), stored.float(), atol=1e-6):
            return str(name)
    raise T2IError(f"the betas in '{checkpoint}' are of no known schedule")


def shape_of(values: Mapping[str, Any], kind: Any, checkpoint: Path) -> Any:
    try:
        return msgspec.convert({k: v for k, v in values.items() if k in kind.__struct_fields__}, kind)
    except msgspec.ValidationError as error:
        raise T2IError(f"the sizes in '{checkpoint}' are inconsistent: {error}") from error
