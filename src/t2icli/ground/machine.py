"""What this machine has, and what of it decides a result."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
"""Variables that keep torch's libraries from using all that a processor has."""
EXTENSIONS = ("avx_vnni", "avx512_vnni", "avx512_bf16", "amx_tile")
"""Instructions that change what torch's libraries compute, beside the set that torch itself is compiled for."""


def cores() -> int:
    """Those that this process may use, where the system reports it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decisive() -> dict[str, str | int]:
    """What decides a result's last bits beside the device, the precision and the settings, for comparison.

    The last three only where torch computes: they are missing as long as nothing has imported it.
    """
    facts: dict[str, str | int] = {"processor": processor(), "t2icli": version("t2icli")}
    torch = sys.modules.get("torch")
    if torch is not None:
        facts |= {
            "instruction_set": instruction_set(),
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
        }
    return facts


@cache
def processor() -> str:
    """Its name, and what distinguishes two that virtual machines give the same name."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(re.findall(r"^(.+?)\s*: (.*)$", first, re.MULTILINE))
    name = fields.get("model name", platform.machine())
    kind = [f"{key} {fields[key]}" for key in ("cpu family", "model", "stepping") if key in fields]
    return f"{name} ({', '.join(kind)})" if kind else name


def instruction_set() -> str:
    """The set that torch uses, further ones that its libraries look for, and the variables that limit either."""
    import torch

    has: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    words = [torch.backends.cpu.get_cpu_capability(), *(name for name in EXTENSIONS if has.get(name))]
    return " ".join([*words, *(f"{name}={os.environ[name]}" for name in LIMITS if os.environ.get(name))])


def limits_again(then: str, now: str) -> list[str]:
    """The words for `env` that give a command the limits of another `instruction_set()`; none if they are the same."""
    before, after = (dict(word.split("=", 1) for word in text.split() if "=" in word) for text in (then, now))
    unset = [f"-u {name}" for name in LIMITS if name in after and name not in before]
    changed = [
        f"{name}={shlex.quote(before[name])}" for name in LIMITS if before.get(name, after.get(name)) != after.get(name)
    ]
    return ["env", *unset, *changed] if unset or changed else []
