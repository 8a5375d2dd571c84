from __future__ import annotations

import os
import subprocess
import sys

import torch

from t2icli.ground import machine

SHOW = "import torch, t2icli.ground.machine as m; print(m.decisive()['instruction_set'])"


def test_what_decides_a_result_is_named() -> None:
    facts = machine.decisive()
    assert set(facts) == {"processor", "t2icli", "instruction_set", "threads", "torch"}
    assert facts["threads"] == torch.get_num_threads()
    assert facts["torch"] == torch.__version__
    assert all(facts.values())


def test_limits_of_the_instruction_set_are_part_of_it() -> None:
    limits = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    run = subprocess.run(
        [sys.executable, "-c", SHOW], env={**os.environ, **limits}, capture_output=True, text=True, check=True
    )
    words = run.stdout.split()
    assert words[0] in ("DEFAULT", "NO")  # "NO AVX" in some builds
    assert {f"{name}={value}" for name, value in limits.items()} <= set(words)


def test_without_torch_it_is_not_imported() -> None:
    code = "import sys, t2icli.ground.machine as m; print(sorted(m.decisive()), 'torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['processor', 't2icli'] False"
