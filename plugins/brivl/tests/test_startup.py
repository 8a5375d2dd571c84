"""What a command waits for before a small BriVL says anything."""

from __future__ import annotations

import subprocess
import sys

MAKE = """
import sys
from t2i_brivl import embed
from t2i_brivl.model import Brivl
from t2i_brivl.shape import BrivlShape
Brivl(BrivlShape())
print(sorted({"timm", "transformers", "torchvision"} & sys.modules.keys()))
"""


def test_a_small_one_waits_for_no_library_of_large_towers() -> None:
    ended = subprocess.run([sys.executable, "-c", MAKE], capture_output=True, text=True, timeout=100)
    assert ended.stdout.strip() == "[]", ended.stdout + ended.stderr
