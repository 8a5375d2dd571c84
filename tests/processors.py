"""`make test-processors`: the numeric tests in further processes, each made to believe in another processor.

What the libraries may use is limited by variables; what this processor lacks is skipped, and that is said.
With words, they are what pytest gets in place of the tests of everything that computes.
"""

from __future__ import annotations

import os
import subprocess
import sys

import torch

TESTS = ("tests/nn", "tests/backends", "tests/ground/test_machine.py", "plugins")
HAS = torch.cpu.get_capabilities()
ONEDNN = {
    "SSE41": "sse4_1",
    "AVX2": "avx2",
    "AVX512_CORE": "avx512_bw",
    "AVX512_CORE_VNNI": "avx512_vnni",
    "AVX512_CORE_BF16": "avx512_bf16",
    "AVX512_CORE_AMX": "amx_int8",
}
"""What the processor must have for each."""
ATEN = {"default": "sse2", "avx2": "avx2", "avx512": "avx512_bw"}
THREADS = (1, 2, 4)


def settings() -> list[tuple[dict[str, str], str]]:
    """The variables of each run, and what the processor needs."""
    found = [({"ONEDNN_MAX_CPU_ISA": name}, needs) for name, needs in ONEDNN.items()]
    found += [({"ATEN_CPU_CAPABILITY": name}, needs) for name, needs in ATEN.items()]
    return found + [({"OMP_NUM_THREADS": str(count)}, "") for count in THREADS]


def main(words: list[str]) -> int:
    results: list[str] = []
    failed = 0
    for variables, needs in settings():
        name = " ".join(f"{key}={value}" for key, value in variables.items())
        if needs and not HAS.get(needs):
            results.append(f"SKIPPED  {name}: this processor has no {needs}")
            continue
        print(f"\n=== {name}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", *(words or TESTS)]
        code = subprocess.run(command, env={"OMP_NUM_THREADS": "1", **os.environ, **variables}).returncode
        failed += code != 0
        results.append(f"{'FAILED ' if code else 'passed '}  {name}")
    print("\n" + "\n".join(results))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
