"""A pipeline as a generator."""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch
from PIL.Image import Image

from t2i_diffusers import calls, known, latents, schedulers, steps
from t2i_diffusers.libraries import quiet
from t2i_diffusers.load import first_line, load_pipeline
from t2i_diffusers.lora import Loras, with_base
from t2icli.contract.requests import Abilities, Request, numbered
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch, unwatched
from t2icli.nn import devices
from t2icli.nn.blocks import fill, in_groups
from t2icli.nn.devices import pick_device
from t2icli.nn.embedding import report_prompt

if TYPE_CHECKING:
    from t2i_diffusers import Settings

REFUSALS = (ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError)
"""What pipelines raise where arguments or configurations do not suit them."""


class Diffusers:
    """Draws with any pipeline.

    Pictures are drawn in batches of one size, filled up by repeats: kernels round differently for other sizes. On a
    CPU the size is 1, which keeps it busy.
    """

    def __init__(
        self, pipeline: Any, settings: Settings, device: torch.device, precision: str, always: tuple[str, ...] = ()
    ) -> None:
        self.settings, self.device, self.precision = known.filled(settings), device, precision
        self.own_scheduler = pipeline.scheduler
        self.own_guidance = getattr(calls.guider(pipeline), "guidance_scale", None)
        self.pipelines: dict[type, Any] = {type(pipeline): pipeline}
        self.kind = type(pipeline)
        alone = device.type == "cpu" or "num_images_per_prompt" not in calls.parameters(self.kind)
        self.batch = 1 if alone else settings.batch
        self.loras = Loras(pipeline, always)
        self.reported: set[str] = set()
        self.lock = threading.Lock()
        """A pipeline keeps its scheduler and its bar in itself, so only one call at a time can use it."""
        conditions = {name for name in calls.SIBLINGS if calls.sibling(self.kind, name) is not None}
        own = () if settings.size is None else (calls.size(pipeline, Request("", 0), settings.size),)
        self.abilities = Abilities(frozenset(conditions), tuple(dict.fromkeys((*own, *calls.sizes(pipeline)))))
        self.loras.use(settings.lora)  # a LoRA that does not fit is refused before anything is drawn

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        return self.draw(numbered(Request(prompt, seed), n))

    def draw(self, requests: Iterable[Request], watch: Watch = unwatched) -> Iterator[Image]:
        return in_groups(requests, _kind, partial(self._draw_group, watch=watch), self.batch)

    def _draw_group(self, group: Mapping[int, Request], batch: int, watch: Watch) -> list[Image]:
        """Pictures of one prompt with the same settings and conditions, by their index in the whole call."""
        first = next(iter(group.values()))
        chosen = msgspec.structs.replace(self.settings, **first.settings)
        pipeline = self._pipeline(first)
        shape = calls.size(pipeline, first, chosen.size)
        self._report_cut(pipeline, first.prompt)
        options = calls.call(pipeline, first, chosen, shape, batch)
        seeds = fill([request.seed for request in group.values()], batch)
        with self.lock, quiet(), torch.random.fork_rng(self._devices()):
            self.loras.use(chosen.lora)
            torch.manual_seed(seeds[0])  # for a pipeline that would draw from the global generator after all
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
            if (guider := calls.guider(pipeline)) is not None:
                guider.guidance_scale = self.own_guidance if chosen.cfg_scale is None else chosen.cfg_scale
            self._follow(pipeline, chosen.scheduler, watch, list(group), shape, generators)
            try:
                with np.errstate(invalid="raise"):  # NaN pixels would otherwise turn black
                    drawn = pipeline(generator=generators, **options)
            except FloatingPointError as error:
                raise T2IError(
                    f"{type(pipeline).__name__} produced values that are not numbers",
                    "set more steps, or precision=fp32",
                    code=1,
                ) from error
            except REFUSALS as error:
                raise T2IError(f"{type(pipeline).__name__} cannot draw this: {first_line(error)}") from error
        return _images(drawn, type(pipeline), len(group))

    def _report_cut(self, pipeline: Any, prompt: str) -> None:
        if prompt not in self.reported and (lengths := calls.cut(pipeline, prompt)) is not None:
            report_prompt(prompt, *lengths)
        self.reported = {prompt}  # its other pictures follow

    def _follow(
        self,
        pipeline: Any,
        scheduler: str,
        watch: Watch,
        indices: list[int],
        shape: tuple[int, int],
        generators: list[torch.Generator],
    ) -> None:
        pipeline.scheduler = schedulers.new(self.own_scheduler, scheduler)
        pipeline.progress_bar = partial(steps.Bar, watch)
        # Decoding half way would bring an offloaded VAE to the GPU in place of the denoiser.
        paints = self.settings.offload == "none" and hasattr(pipeline, "vae") and watch is not unwatched
        paint = partial(_paint, pipeline, shape) if paints else None
        steps.follow(pipeline.scheduler, watch, indices, paint, generators)

    def _pipeline(self, request: Request) -> Any:
        """The pipeline for a request's conditions; all of them share their networks."""
        condition = "mask" if request.mask is not None else "source" if request.source is not None else None
        if condition is None and calls.needs_picture(self.kind):
            raise T2IError(f"{self.kind.__name__} edits pictures", "give it one: --from IMAGE")
        kind = self.kind if condition is None else calls.sibling(self.kind, condition)
        if kind is None:
            raise T2IError(f"{self.kind.__name__} draws only from prompts", "omit --from and --mask")
        if kind not in self.pipelines:
            self.pipelines[kind] = _sharing(kind, self.pipelines[self.kind])
        return self.pipelines[kind]

    def _devices(self) -> list[torch.device]:
        return [self.device] if self.device.type == "cuda" else []


def _kind(request: Request) -> Hashable:
    """The same for what can be drawn in one batch."""
    return request.prompt, request.own_settings, id(request.source), id(request.mask)


def _paint(pipeline: Any, shape: tuple[int, int], row: torch.Tensor) -> Image:
    return latents.paint(pipeline, row, shape)


def _sharing(kind: type, pipeline: Any) -> Any:
    """A pipeline of another class over the same networks."""
    given = {**pipeline.config, **pipeline.components}
    names = inspect.signature(kind).parameters.keys() & given.keys()
    return kind(**{name: given[name] for name in names})


def _images(drawn: Any, kind: type, n: int) -> list[Image]:
    images = getattr(drawn, "images", None)
    if images is None:
        raise T2IError(
            f"{kind.__name__} returned {type(drawn).__name__} instead of pictures", "see: t2i models list", code=1
        )
    if count := sum(map(bool, (getattr(drawn, "nsfw_content_detected", None) or [])[:n])):
        warnings.warn(f"{count} pictures were blackened by the pipeline's safety checker", UserWarning, stacklevel=2)
    return list(images[:n])


def load(settings: Settings) -> Diffusers:
    device = pick_device(settings.device)
    precision = devices.pick_precision(settings.precision, device)
    opened, always = with_base(settings)
    return Diffusers(load_pipeline(opened, device, precision), opened, device, precision, always)
