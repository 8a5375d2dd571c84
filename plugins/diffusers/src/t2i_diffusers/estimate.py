"""The memory that training a LoRA takes: a step is run on tensors that have a shape and no numbers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from t2i_diffusers import Settings, autoencoder, folder, lora, memory
from t2i_diffusers.families import family
from t2i_diffusers.folder import Component, PipelineFolder
from t2i_diffusers.libraries import quiet
from t2i_diffusers.live import Live, plain
from t2i_diffusers.load import DAMAGED, DTYPES, component_class, default_dtype_kept, first_line, pipeline_class
from t2icli.contract.recipes import Estimate
from t2icli.ground.errors import T2IError
from t2icli.nn import devices

if TYPE_CHECKING:
    from t2i_diffusers import LoraRecipeSettings

WEIGHTS, ADAPTER, ACTIVATIONS = "weights", "LoRA, gradients and optimizer", "activations"
FEW = 2
BORROWED = ("_pack_latents", "_prepare_latent_ids", "_prepare_text_ids")
"""What the losses call of a pipeline's class; none of it needs a pipeline."""


def estimate(settings: LoraRecipeSettings) -> Estimate:
    """What training takes on the device that it would run on."""
    device = devices.pick_device("auto")
    precision = devices.pick_precision(settings.base_precision, device)
    repository = folder.open_repository(settings.base.folder)
    text_encoders = _text_encoders(repository, settings.quantize, precision)
    with quiet(), default_dtype_kept():
        try:
            return Shadow(repository, settings, precision).estimate(text_encoders, all_at_once=device.type == "cpu")
        except DAMAGED as error:
            raise T2IError(f"'{repository.folder}' cannot be loaded: {first_line(error)}", code=1) from error


def check(settings: LoraRecipeSettings, device: torch.device) -> None:
    """Refuse what cannot fit, with flags that would make it fit."""
    there = memory.free(device)
    if there is None or settings.base.size < memory.SMALL:
        return
    needed = _sum(settings)
    if needed <= there:
        return
    where = "the GPU" if device.type == "cuda" else "this machine"
    less = ((flag, _sum(changed)) for flag, changed in smaller(settings))
    flags = [f"{flag} ({memory.size(count)})" for flag, count in islice((each for each in less if each[1] < needed), 3)]
    raise T2IError(
        f"training needs {memory.size(needed)} and {where} has {memory.size(there)} of memory left",
        f"use one or several of: {', '.join([*flags, 'a smaller base'])}",
        code=1,
    )


def smaller(settings: LoraRecipeSettings) -> Iterator[tuple[str, LoraRecipeSettings]]:
    """Flags that make it smaller, with the settings then."""
    change = partial(msgspec.structs.replace, settings)
    loop = settings.loop
    if settings.quantize == "none":
        yield "-o quantize=int8 -o checkpointing=true", change(quantize="int8", checkpointing=True)
    if not settings.checkpointing:
        yield "-o checkpointing=true", change(checkpointing=True)
    if loop.batch_size > loop.grad_accum:
        split = msgspec.structs.replace(loop, grad_accum=loop.batch_size)
        yield f"--grad-accum {loop.batch_size}", change(loop=split)
    for name, least in (("pixels", 512), ("pixels", 256), ("rank", 8), ("rank", 4), ("text_length", 128)):
        if getattr(settings, name) > least:
            yield f"-o {name}={least}", change(**{name: least})


def _sum(settings: LoraRecipeSettings) -> int:
    return sum(estimate(settings).memory.values())


def _text_encoders(repository: PipelineFolder, quantize: str, precision: str) -> int:
    """Bytes, by the headers of their files."""
    held = memory.need(repository, Settings(quantize=quantize), precision).held()  # type: ignore[arg-type]
    return round(sum(size for name, size in held.items() if name.startswith("text_encoder")))


class Shadow:
    """Denoiser and autoencoder of a pipeline, of the true classes; their tensors are fake.

    Of blocks that repeat, the denoiser has a few. What one more takes is measured, and multiplied; the first of them is
    no measure, for no gradient leaves it.
    """

    def __init__(self, repository: PipelineFolder, settings: LoraRecipeSettings, precision: str) -> None:
        self.settings, self.fake = settings, FakeTensorMode(allow_non_fake_inputs=True)
        parts = {component.name: component for component in repository.components}
        self.name = "unet" if "unet" in parts else "transformer"
        self.vae = self._network(parts["vae"], DTYPES[precision])
        self.denoiser = self._network(parts[self.name], DTYPES[precision])
        self.stacks = stacks(self.denoiser)
        for stack in self.stacks:
            stack.cut(FEW + 1)
        self.family = family(self._pipeline(repository, parts), pipeline_class(repository).__name__)
        self._adapt()

    def _network(self, component: Component, dtype: torch.dtype) -> Any:
        torch.set_default_dtype(dtype)
        with self.fake:
            network = component_class(component).from_config(folder.read_json(component.folder / "config.json"))
        torch.set_default_dtype(torch.float32)
        return network.requires_grad_(False).eval()

    def _pipeline(self, repository: PipelineFolder, parts: dict[str, Component]) -> Any:
        """As much of a pipeline as its family's loss looks at."""
        kind = pipeline_class(repository)
        borrowed = {name: getattr(kind, name) for name in BORROWED if hasattr(kind, name)}
        schedule = folder.read_json(parts["scheduler"].folder / "scheduler_config.json")
        networks = {self.name: self.denoiser, "vae": self.vae}
        second = repository.folder / "text_encoder_2/config.json"
        if self.name == "unet" and second.is_file():
            config = folder.read_json(second)
            networks["text_encoder_2"] = SimpleNamespace(config=SimpleNamespace(**config))
        scale = 2 ** (len(self.vae.config.get("block_out_channels", "xxxx")) - 1)
        scheduler = component_class(parts["scheduler"]).from_config(schedule)
        return SimpleNamespace(scheduler=scheduler, vae_scale_factor=scale, **networks, **borrowed)

    def _adapt(self) -> None:
        if self.settings.quantize == "int8":
            from torchao.quantization import Int8WeightOnlyConfig, quantize_

            with self.fake:
                quantize_(self.denoiser, Int8WeightOnlyConfig())
        lora.adapt(self.denoiser, self.settings.rank, self.settings.targets or self.family.targets)
        if self.settings.checkpointing:
            self.denoiser.enable_gradient_checkpointing()
        with self.fake:
            for module in self.denoiser.modules():
                for name, parameter in module._parameters.items():
                    if parameter is not None and parameter.requires_grad:
                        module._parameters[name] = nn.Parameter(torch.empty(parameter.shape))

    def estimate(self, text_encoders: int, *, all_at_once: bool) -> Estimate:
        """The largest of three: texts and pictures are encoded, a step is made, a preview is drawn."""
        encoding, latents = self.encoding()
        trained, denoiser, step = self.full(latents)
        vae, adapter = _bytes(self.vae), 4 * trained
        copies = 4 + bool(self.settings.loop.ema)  # in fp32: itself, its gradient, two averages of Adam
        phases = [
            (vae + text_encoders + all_at_once * denoiser, all_at_once * adapter, encoding),
            (vae + denoiser, copies * adapter, step),
            (vae + denoiser, (copies - 1) * adapter, self.drawing(latents)),
        ]
        most = max(phases, key=sum)
        return Estimate(trained, dict(zip((WEIGHTS, ADAPTER, ACTIVATIONS), most, strict=True)), lora.WITHOUT_CAPTION)

    def full(self, latents: tuple[int, ...]) -> tuple[int, int, int]:
        """Of the denoiser with all of its blocks: numbers that are trained, bytes of the others, bytes of a step.

        What the forward pass leaves grows with every block, what the backward pass adds does not.
        """
        for stack in self.stacks:
            stack.cut(FEW)
        few, most = self._measured(latents)
        found = few.clone()
        for stack in self.stacks:
            stack.cut(FEW + 1)
            more, on_top = self._measured(latents)
            stack.cut(FEW)
            found += (stack.length - FEW) * (more - few)
            most = max(most, on_top)
        trained, held, forward = found.tolist()
        return trained, held, forward + most

    def _measured(self, latents: tuple[int, ...]) -> tuple[Tensor, int]:
        trained = sum(parameter.numel() for parameter in self.trained())
        forward, on_top = self.step(latents)
        return torch.tensor([trained, _bytes(self.denoiser) - 4 * trained, forward]), on_top

    def trained(self) -> Iterator[nn.Parameter]:
        return (parameter for parameter in self.denoiser.parameters() if parameter.requires_grad)

    def encoding(self) -> tuple[int, tuple[int, ...]]:
        """Bytes of activations while one picture is encoded, and the shape of its latents."""
        side = self.settings.pixels
        with self.fake, torch.no_grad():
            images = torch.empty(1, 3, side, side)
            live = self._live(images)
            with live:
                latents = self.family.encode_images(images)
        return live.peak, tuple(latents.shape[1:])

    def step(self, latents: tuple[int, ...]) -> tuple[int, int]:
        """Bytes of activations of the samples computed at once: after the forward pass, and what backward adds."""
        loop = self.settings.loop
        samples = max(1, loop.batch_size // loop.grad_accum)
        with self.fake:
            shapes = latents, self.family.text_shape(self.settings.text_length)
            inputs = [torch.empty(samples, *shape) for shape in shapes]
            for parameter in self.trained():
                parameter.grad = torch.empty_like(parameter)
            grads = [parameter.grad for parameter in self.trained() if parameter.grad is not None]
            live = self._live(*inputs, *grads)
            with live:
                loss = self.family.loss(*inputs)
                forward = live.bytes
                loss.backward()
        return forward, live.peak - forward

    def drawing(self, latents: tuple[int, ...]) -> int:
        """Bytes of activations while a preview is decoded."""
        with self.fake, torch.no_grad():
            drawn = torch.empty(1, *latents)
            live = self._live(drawn)
            with live:
                autoencoder.decode(self.vae, drawn)
        return live.peak

    def _live(self, *inputs: Tensor) -> Live:
        return Live([*inputs, *_tensors(self.denoiser), *_tensors(self.vae)])


class Stack:
    """Lists of blocks of one class and length, to be cut all alike."""

    def __init__(self, lists: list[nn.ModuleList]) -> None:
        self.lists, self.length = lists, len(lists[0])
        self.blocks = [list(each) for each in lists]

    def cut(self, length: int) -> None:
        for each, blocks in zip(self.lists, self.blocks, strict=True):
            del each[:]
            each.extend(blocks[:length])


def stacks(network: nn.Module) -> list[Stack]:
    """Where blocks repeat so often that they are worth cutting."""
    found: dict[tuple[type, int], list[nn.ModuleList]] = {}
    for module in network.modules():
        if isinstance(module, nn.ModuleList) and len(module) > 3 and len({type(block) for block in module}) == 1:
            found.setdefault((type(module[0]), len(module)), []).append(module)
    return [Stack(lists) for lists in found.values()]


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()


def _bytes(network: nn.Module) -> int:
    return sum(part.nbytes for tensor in _tensors(network) for part in plain(tensor))
