"""What the call of a pipeline takes, read from its signature, and a request as such a call."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from t2i_diffusers.libraries import diffusers
from t2icli.contract.requests import Request
from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    from t2i_diffusers import Settings

OFF = ("use_resolution_binning", "use_pe", "enable_prompt_rewrite", "clean_caption")
"""Switches by which a pipeline would draw another size or prompt than it was asked for."""
GUIDANCE = ("guidance_scale", "true_cfg_scale", "distilled_guidance_scale")
"""Arguments of the guidance; the first whose default is a number counts."""
SIBLINGS = {"source": "Img2Img", "mask": "Inpaint"}
"""The class beside `XPipeline` for each condition: `XImg2ImgPipeline`. `XEditPipeline` needs weights of its own."""
SHAPES = ((1, 1), (4, 3), (3, 4), (3, 2), (2, 3), (16, 9), (9, 16))


def parameters(kind: type) -> Mapping[str, Any]:
    """The arguments of a pipeline's call with their defaults."""
    return {name: each.default for name, each in inspect.signature(kind.__call__).parameters.items()}


def check_draws(kind: type) -> None:
    """Whether a pipeline draws pictures from words, from seeds of our own."""
    needed = [name for name in ("prompt", "generator", "num_inference_steps") if name not in parameters(kind)]
    if needed:
        raise T2IError(
            f"{kind.__name__} cannot draw from a prompt: its call takes no {', '.join(needed)}",
            "see what can: t2i models list",
        )


def guidance(kind: type) -> str | None:
    known = parameters(kind)
    return next((name for name in GUIDANCE if isinstance(known.get(name), (int, float))), None)


def guider(pipeline: Any) -> Any:
    """The part that guides in place of an argument of the call, in pipelines that have one."""
    return getattr(pipeline, "guider", None)


def sibling(kind: type, condition: str) -> type | None:
    """The class that draws with a condition: the pipeline itself if it takes pictures, else one named after it."""
    needed = "mask_image" if condition == "mask" else "image"
    if needed in parameters(kind):
        return kind
    stem = kind.__name__.removesuffix("Pipeline")
    cls: type | None = getattr(diffusers, f"{stem}{SIBLINGS[condition]}Pipeline", None)
    return cls if cls is not None and needed in parameters(cls) else None


def needs_picture(kind: type) -> bool:
    """Whether it draws from a picture alone: an edit pipeline."""
    return kind.__name__.removesuffix("Pipeline").endswith(("Edit", "EditPlus", "Img2Img", "Inpaint", "Kontext"))


def sizes(pipeline: Any) -> tuple[tuple[int, int], ...]:
    """Widths and heights of usual shapes, about as many pixels as the pipeline's own square, which comes first."""
    side, step = _side(pipeline), multiple(pipeline)
    shapes = [(_near(side * (w / h) ** 0.5, step), _near(side * (h / w) ** 0.5, step)) for w, h in SHAPES]
    return tuple(dict.fromkeys(shapes))


def _side(pipeline: Any) -> int:
    default = parameters(type(pipeline)).get("height")
    if isinstance(default, int):
        return default
    of_unet = getattr(getattr(pipeline, "unet", None), "config", {}).get("sample_size")
    sample = getattr(pipeline, "default_sample_size", of_unet)
    factor = getattr(pipeline, "vae_scale_factor", None)
    return sample * factor if isinstance(sample, int) and isinstance(factor, int) else 1024


def multiple(pipeline: Any) -> int:
    """What width and height must be multiples of."""
    factor = getattr(pipeline, "vae_scale_factor", 8)
    patches = getattr(pipeline, "transformer", None) is not None and factor < 32
    return int(factor) * 2 if patches else int(factor)


def _near(length: float, step: int) -> int:
    return max(step, round(length / step) * step)


def size(pipeline: Any, request: Request, word: str | None) -> tuple[int, int]:
    """The size asked for; else the usual one, in the shape of the picture to start from where there is one."""
    step = multiple(pipeline)
    if word is not None:
        width, height = map(int, word.split("x"))
        if width % step or height % step or not (width and height):
            raise T2IError(f"pictures of {word} cannot be drawn", f"width and height are multiples of {step}")
        return width, height
    side = _side(pipeline)
    if request.source is None:
        return side, side
    ratio = (request.source.width / request.source.height) ** 0.5
    return _near(side * ratio, step), _near(side / ratio, step)


def call(pipeline: Any, request: Request, chosen: Settings, shape: tuple[int, int], batch: int) -> dict[str, Any]:
    """The arguments for `batch` pictures of one request, but for their seeds."""
    kind = type(pipeline)
    known = parameters(kind)
    options: dict[str, Any] = {"prompt": request.prompt, "num_images_per_prompt": batch, "output_type": "pil"}
    options |= {"width": shape[0], "height": shape[1], "output_resolution": _near((shape[0] * shape[1]) ** 0.5, 32)}
    options |= dict.fromkeys(OFF, False)
    options |= _pictures(request, shape)
    if chosen.steps is not None:
        options["num_inference_steps"] = chosen.steps
        if chosen.steps != 2:  # Sana-Sprint's own second step is only for two
            options["intermediate_timesteps"] = None
    options["strength"] = chosen.strength
    options |= _guided(pipeline, chosen)
    _check_strength(known, options)
    return {name: value for name, value in options.items() if name in known}


def cut(pipeline: Any, prompt: str) -> tuple[int, int] | None:
    """How many tokens a prompt has and how many are read, where none of the text encoders reads all of it."""
    lengths: list[tuple[int, int]] = []
    for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
        tokenizer = getattr(pipeline, name, None)
        if tokenizer is None:
            continue
        most = parameters(type(pipeline)).get("max_sequence_length")
        if not isinstance(most, int) or "CLIP" in type(tokenizer).__name__:
            most = int(tokenizer.model_max_length)
        lengths.append((len(tokenizer(prompt, verbose=False)["input_ids"]), most))
    if not lengths or any(count <= most for count, most in lengths):
        return None
    return max(lengths, key=lambda each: each[1])


def _guided(pipeline: Any, chosen: Settings) -> dict[str, Any]:
    kind = type(pipeline)
    known, name = parameters(kind), guidance(kind)
    options: dict[str, Any] = {}
    if chosen.cfg_scale is not None:
        if name is None and guider(pipeline) is None:
            warnings.warn(f"{kind.__name__} has no guidance: cfg_scale changes nothing", UserWarning, stacklevel=2)
        options[name or "guidance_scale"] = chosen.cfg_scale
    if chosen.negative is not None:
        if "negative_prompt" not in known:
            warnings.warn(f"{kind.__name__} takes no negative prompt: it changes nothing", UserWarning, stacklevel=2)
        options["negative_prompt"] = chosen.negative
    elif name == "true_cfg_scale":  # it guides only where there is a negative prompt, be it empty
        options["negative_prompt"] = " "
    return options


def _pictures(request: Request, shape: tuple[int, int]) -> dict[str, Any]:
    from PIL.Image import Resampling

    options: dict[str, Any] = {}
    if request.source is not None:
        options["image"] = request.source.convert("RGB").resize(shape, Resampling.LANCZOS)
    if request.mask is not None:
        options["mask_image"] = request.mask.convert("L").resize(shape, Resampling.NEAREST)
    return options


def _check_strength(known: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    steps = options.get("num_inference_steps", known.get("num_inference_steps"))
    if "strength" in known and "image" in options and isinstance(steps, int) and int(steps * options["strength"]) < 1:
        raise T2IError(f"a strength of {options['strength']} leaves none of {steps} steps", "increase either")
