"""Store rendered layers as the package ships them: WebP with a clear ground.

python store.py FOLDER PACKAGE_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

QUALITY = 88
FULL = 240
"""Pixels of a whole picture; smaller layers end within it."""


def store(rendered: Path, stored: Path) -> None:
    image = Image.open(rendered)
    if rendered.stem.startswith("table-"):
        image = image.convert("RGB")
    elif image.width < FULL:
        image = _faded(np.asarray(image.convert("RGBA")))
    image.save(stored / f"{rendered.stem}.webp", quality=QUALITY, alpha_quality=90, method=6)


def _faded(pixels: np.ndarray) -> Image.Image:
    """Its shadow ends softly within the last sixth of the layer, where it would end in a line."""
    height, width, _ = pixels.shape
    y, x = np.mgrid[0:height, 0:width]
    inside = np.minimum.reduce([x, y, width - 1 - x, height - 1 - y]) / (width / 6)
    alpha = pixels[..., 3].astype(float)
    shadow = (pixels[..., :3].max(-1) < 40) & (alpha < 220)
    alpha = np.where(shadow, alpha * np.clip(inside, 0, 1), alpha)
    alpha[alpha < 3] = 0
    return Image.fromarray(np.dstack([pixels[..., :3], alpha.round()]).astype(np.uint8), "RGBA")


def main(folder: Path, package: Path) -> None:
    package.mkdir(parents=True, exist_ok=True)
    for rendered in sorted(folder.glob("*.png")):
        if not rendered.stem.endswith(".part"):
            store(rendered, package)
    size = sum(path.stat().st_size for path in package.glob("*.webp"))
    print(f"{len(list(package.glob('*.webp')))} layers, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
