"""Prompts that the starter knows, in Chinese and English, to calibrate its generators with.

    python recipes/starter/prompts.py 300 > prompts.txt

They are names of plates of another seed than the one trained on; no picture is drawn.
"""

from __future__ import annotations

import sys

from t2i_starter import Settings
from t2i_starter.source import Plates

SEED = 1

if __name__ == "__main__":
    plates = Plates(Settings(seed=SEED, look="photo"))
    for at in range(int(sys.argv[1])):
        print(plates.invented(at).captions[at % 2])
