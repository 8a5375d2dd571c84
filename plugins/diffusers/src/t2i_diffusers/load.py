"""A folder as a pipeline in memory: each network loaded by itself, so that what it lacks is known by name."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from t2i_diffusers import calls, folder, memory
from t2i_diffusers.folder import Component, PipelineFolder
from t2i_diffusers.libraries import diffusers, quiet, transformers
from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    from t2i_diffusers import Settings

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DAMAGED = (
    *(OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, AssertionError, ImportError),
    *(NotImplementedError, SafetensorError),
)
"""What the libraries raise where a file or a configuration is not as they expect."""
SHOWN = 5
"""Names of missing tensors in a message."""


def load_pipeline(settings: Settings, device: torch.device, precision: str) -> Any:
    """The pipeline on its device, in its number format."""
    repository = folder.open_repository(folder.locate(settings.model, settings.source))
    with quiet(), default_dtype_kept():
        kind = pipeline_class(repository)
        calls.check_draws(kind)
        _check_flags(settings, device)
        memory.check(memory.need(repository, settings, precision), device)
        networks = dict(_networks(repository, settings, DTYPES[precision], device))
        try:
            pipeline = kind.from_pretrained(
                repository.folder, local_files_only=True, torch_dtype=DTYPES[precision], **networks
            )
        except DAMAGED as error:
            raise T2IError(f"'{repository.folder}' cannot be loaded: {first_line(error)}", code=1) from error
        return placed(pipeline, settings, device)


@contextlib.contextmanager
def default_dtype_kept() -> Iterator[None]:
    """diffusers sets torch's default number format while it reads weights, and leaves it so where they are damaged."""
    before = torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def pipeline_class(repository: PipelineFolder) -> Any:
    kind = getattr(diffusers, repository.pipeline, None)
    if not (inspect.isclass(kind) and issubclass(kind, diffusers.DiffusionPipeline)):
        raise folder.unknown(repository)
    return kind


def component_class(component: Component) -> Any:
    """The class an index names: of diffusers, of transformers, or of one pipeline of diffusers."""
    libraries = {"diffusers": diffusers, "transformers": transformers}
    module = libraries.get(component.library) or getattr(diffusers.pipelines, component.library, None)
    cls = getattr(module, component.kind, None)
    if not inspect.isclass(cls):
        raise T2IError(
            f"part {component.name!r} of '{component.folder.parent}' is a {component.library}.{component.kind}, "
            "which neither diffusers nor transformers has",
            "update them: t2i install --upgrade diffusers transformers; code from a repository is never run",
        )
    return cls


def _check_flags(settings: Settings, device: torch.device) -> None:
    if settings.offload == "model" and device.type != "cuda":
        raise T2IError("offload=model needs a GPU", "omit it: without a GPU, all weights are in the machine's memory")
    for module, wanted in (("torchao", settings.quantize == "int8"), ("gguf", settings.gguf is not None)):
        if wanted and importlib.util.find_spec(module) is None:
            raise T2IError(f"the package {module} is not installed", f"run: t2i install {module}")
    if settings.gguf is not None and not settings.gguf.is_file():
        raise T2IError(f"there is no file '{settings.gguf}'")


def _networks(
    repository: PipelineFolder, settings: Settings, dtype: torch.dtype, device: torch.device
) -> Iterator[tuple[str, Any]]:
    """Each on its device before the next is read: a GPU's network passes through the machine's memory alone."""
    for component in repository.components:
        kind = component_class(component)
        if not issubclass(kind, torch.nn.Module):
            continue
        if settings.gguf is not None and component.name in memory.DENOISERS:
            network = _from_gguf(kind, component, settings.gguf, dtype)
        else:
            network = _network(kind, component, settings, dtype)
        yield component.name, network.to(device) if settings.offload == "none" else network


def _network(kind: Any, component: Component, settings: Settings, dtype: torch.dtype) -> Any:
    variant, files = component.weights()
    if not files:
        raise T2IError(f"there are no weights in '{component.folder}'", "download the repository again", code=1)
    options: dict[str, Any] = {"variant": variant, "local_files_only": True, "use_safetensors": True}
    is_transformers = issubclass(kind, transformers.PreTrainedModel)
    options["dtype" if is_transformers else "torch_dtype"] = dtype
    if settings.quantize == "int8" and component.name != "vae":
        options["quantization_config"] = _int8(transformers if is_transformers else diffusers)
    try:
        network, report = kind.from_pretrained(component.folder, output_loading_info=True, **options)
    except DAMAGED as error:
        raise T2IError(
            f"'{component.folder}' cannot be loaded: {first_line(error)}", "download the repository again", code=1
        ) from error
    refuse_missing(component.folder, report)
    return network.eval()


def refuse_missing(place: Path, report: Any) -> None:
    """Tensors that the configuration requires and the files lack would be random numbers."""
    missing: Sequence[str] = sorted(map(str, report["missing_keys"]))
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise T2IError(
            f"the weights in '{place}' lack {len(missing)} tensors that its config.json requires: "
            f"{', '.join(missing[:SHOWN])}{more}",
            "download the repository again",
            code=1,
        )


def _int8(library: Any) -> Any:
    from torchao.quantization import Int8WeightOnlyConfig

    return library.TorchAoConfig(Int8WeightOnlyConfig())


def _from_gguf(kind: Any, component: Component, path: Path, dtype: torch.dtype) -> Any:
    try:
        return kind.from_single_file(
            str(path),
            config=str(component.folder.parent),
            subfolder=component.name,
            quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=dtype),
            torch_dtype=dtype,
            local_files_only=True,
        ).eval()
    except DAMAGED as error:
        raise T2IError(f"'{path}' is not a {kind.__name__}: {first_line(error)}", code=1) from error


def placed(pipeline: Any, settings: Settings, device: torch.device) -> Any:
    if settings.tiling:
        vae: Any = getattr(pipeline, "vae", None)
        if not hasattr(vae, "enable_tiling"):
            raise T2IError(f"the VAE of {type(pipeline).__name__} cannot decode in tiles", "omit tiling")
        vae.enable_tiling()
    if settings.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif settings.offload == "group":
        pipeline.enable_group_offload(onload_device=device, offload_type="leaf_level", use_stream=False)
    else:
        pipeline.to(device)
    return pipeline


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
