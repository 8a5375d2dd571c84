"""Distilled models whose steps and guidance are not those of their pipeline's class, which their folders do not say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from t2i_diffusers import Settings

DISTILLED: dict[str, dict[str, Any]] = {
    "z-image-turbo": {"steps": 8, "cfg_scale": 0.0},
    "flux.2-klein-4b": {"steps": 4, "cfg_scale": 1.0},
    "flux.2-klein-9b": {"steps": 4, "cfg_scale": 1.0},
    "qwen-image-2.1-turbo": {"steps": 8},
    "ernie-image-turbo": {"steps": 8, "cfg_scale": 1.0},
    "sdxl-turbo": {"steps": 1, "cfg_scale": 0.0},
    "sd-turbo": {"steps": 1, "cfg_scale": 0.0},
}
"""By the repository's name in lower case, as the models' own pages have them."""


def filled(settings: Settings) -> Settings:
    """The settings with those of a distilled model where none were chosen."""
    usual = DISTILLED.get(_name(settings), {})
    free = {name: value for name, value in usual.items() if getattr(settings, name) is None}
    return msgspec.structs.replace(settings, **free)


def _name(settings: Settings) -> str:
    """`z-image-turbo` of `hf:Tongyi-MAI/Z-Image-Turbo@1234`, or of a folder of that name."""
    if settings.model is not None:
        source = settings.model.card.source or settings.model.name
    else:
        source = str(settings.source.absolute()) if settings.source is not None else ""
    return source.partition("@")[0].replace("\\", "/").rpartition("/")[2].lower()
