"""Schedulers by short names. Each batch gets a new one, so that none remembers the batch before."""

from __future__ import annotations

from typing import Any

from t2i_diffusers.libraries import diffusers
from t2icli.ground.errors import T2IError

DIFFUSION: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {}),
    "dpm++-karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}
"""For networks that predict noise, velocity or the picture."""
FLOW: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "lcm": ("FlowMatchLCMScheduler", {}),
}
"""For networks of flow matching."""


def is_flow(scheduler: Any) -> bool:
    config = scheduler.config
    return (
        "FlowMatch" in type(scheduler).__name__
        or bool(config.get("use_flow_sigmas"))
        or config.get("prediction_type") == "flow_prediction"
    )


def new(own: Any, name: str) -> Any:
    """A scheduler of this name with the configuration of the pipeline's own."""
    if name == "auto":
        return type(own).from_config(own.config)
    known = FLOW if is_flow(own) else DIFFUSION
    if name not in known:
        raise T2IError(f"this pipeline cannot use the scheduler {name!r}", f"it takes: auto, {', '.join(known)}")
    kind, options = known[name]
    if "flow_shift" in own.config:
        options = {**options, "shift": own.config["flow_shift"]}
    return getattr(diffusers, kind).from_config(own.config, **options)
