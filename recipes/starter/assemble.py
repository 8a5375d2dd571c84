"""Trained runs to the models that plugins/starter ships: half as large, and no part twice.

    python recipes/starter/assemble.py runs/starter plugins/starter/src/t2i_starter/models [--keep]

The run vqgan-sharper, where there is one, takes the place of the run vqgan everywhere. With --keep the models that ship
stay where there is no run of them, so that one can be trained anew on the others:

    cp -r plugins/starter/src/t2i_starter/models/vqgan runs/starter/vqgan/best
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file, save_file

import t2i_starter
from t2i_starter import SHIPPED, STAND_IN
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.store import models
from t2icli.store.models import Model

MOST = 38_000_000
"""Bytes, all models together with the layers that dishes are composed of."""
LAYERS = Path(t2i_starter.__file__).parent / "layers"
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "dalle": {"cfg_scale": 1.5, "temperature": 0.75},
    "clipgen": {"temperature": 0.9, "cfg_scale": 1.5},
    "clipcap": {"temperature": 0.7, "candidates": 16},
    "dalle2": {"steps": [10], "prior_steps": 10, "cfg_scale": 4.0},
}
"""Defaults of the backends' settings that suit these models: benchmarks/starter.py tune tells which."""
SHARPER = "vqgan-sharper"
"""The run that went on from vqgan with its decoder alone. Its last model is taken: with an adversary, which the loss on
held-out pictures leaves out, that loss would choose the first."""
RECIPES: Mapping[str, str] = {"dalle2": "dalle2-decoder"}
"""By run, where the recipe is not called like it."""
IN_8_BITS = ("vqgan", "dalle", "brivl", "clipgen", "clipcap", "flow", "dalle2", "dalle2-prior", "clip")
"""Backends whose matrices are kept in 8 bits with a scale for each row, all else in 16."""
OF_THE_DECODER = ("decoder.", "post_quant_conv.")


def assemble(runs: Path, folder: Path, *, keep: bool = False) -> dict[str, int]:
    """Make `folder` anew from every run there is, or keep what it has of others; returns the bytes that each adds."""
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    here = [run for run in (*SHIPPED, SHARPER) if is_trained(runs / run)]
    if not here:
        raise T2IError(f"there are no runs in '{runs}'", "train them: make starter")
    sharper = models.open_model(runs / SHARPER / "model") if SHARPER in here else None
    instead = _instead(of_run(runs / "vqgan"), sharper) if sharper else {}
    kept = [models.open_model(path) for path in sorted(folder.iterdir()) if path.name not in here] if keep else []
    for model in kept:
        models.copy(model, draft / model.folder.name)
    finished = {model.sha256 for model in kept}
    for backend in SHIPPED.keys() & here:
        shrink(of_run(runs / backend), draft / backend, instead, finished=finished)
        name(draft / backend, backend, SHARPER if backend == "vqgan" and instead else RECIPES.get(backend, backend))
    share(draft)
    sizes = {path.name: _bytes(path) for path in sorted(draft.iterdir())}
    together = sum(sizes.values()) + _bytes(LAYERS)
    if together > MOST:
        raise T2IError(f"{together} bytes are more than {MOST}", f"look into {draft}")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    return sizes


def is_trained(run: Path) -> bool:
    return (run / "model" / models.CARD).is_file()


def of_run(run: Path) -> Model:
    """The best of a run; the last where nothing was held out to tell."""
    best = run / "best"
    return models.open_model(best if (best / models.CARD).is_file() else run / "model")


def _instead(codec: Model, sharper: Model) -> dict[str, Model]:
    """`sharper` by the hash of the codec whose place it can take, after seeing that it has the same codes."""
    before, after = (load_file(model.file()) for model in (codec, sharper))
    changed = [key for key in before.keys() | after.keys() if not _is_same(before.get(key), after.get(key))]
    if wrong := [key for key in changed if not key.startswith(OF_THE_DECODER)]:
        raise T2IError(f"{sharper.name!r} has other codes than {codec.name!r}: {wrong[0]!r} differs")
    return {codec.sha256: sharper}


def _is_same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)


def shrink(
    model: Model,
    folder: Path,
    instead: Mapping[str, Model],
    known: Mapping[str, str] | None = None,
    finished: Collection[str] = (),
) -> Model:
    """The same model in numbers of 16 bits or fewer, parts included; `known` are the new hashes of those beside it.

    Those with the hashes `finished` are that already.
    """
    model = instead.get(model.sha256, model)
    if model.sha256 in finished:
        models.copy(model, folder)
        return model
    folder.mkdir(parents=True)
    shorten = weights.to_int8 if model.card.backend in IN_8_BITS else dict
    for file in model.card.files:
        if file.endswith(".safetensors"):
            save_file(shorten(_halved(load_file(model.file(file)))), folder / file)
        else:
            shutil.copyfile(model.file(file), folder / file)
    before = {part: model.part(part) for part in model.card.parts}
    hashes = dict(known or {})
    for name, part in sorted(before.items(), key=lambda each: _names(each[1], before.values())):
        hashes[part.sha256] = shrink(part, folder / name, instead, hashes, finished).sha256
    # A config may name the model it was made with by its hash.
    config = json.loads(_replaced(json.dumps(model.card.config), hashes))
    return models.seal(folder, msgspec.structs.replace(model.card, config=config, links={}))


def _names(model: Model, others: Iterable[Model]) -> bool:
    """Whether a model's config names another by its hash, so that this must have its new one first."""
    config = json.dumps(model.card.config)
    return any(other.sha256 in config for other in others)


def _halved(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: _half(tensor) for key, tensor in tensors.items()}


def _half(tensor: torch.Tensor) -> torch.Tensor:
    """Left as it is where a number is too large for 16 bits."""
    half = tensor.half() if tensor.is_floating_point() else tensor
    return half if torch.equal(half.isfinite(), tensor.isfinite()) else tensor


def _replaced(text: str, words: Mapping[str, str]) -> str:
    for old, new in words.items():
        text = text.replace(old, new)
    return text


def name(folder: Path, backend: str, run: str) -> None:
    """Say in a model's card what it is, and how it came to be."""
    card = models.open_model(folder).card
    told = {"about": SHIPPED[backend], "licence": "MIT", "stand_in": STAND_IN}
    own = {**card.settings, **SETTINGS.get(backend, {})}
    source = f"recipes/starter/{run}.toml, {card.source}"
    models.write_card(folder, msgspec.structs.replace(card, **told, source=source, settings=own))


def share(folder: Path) -> None:
    """Replace each part that is one of the models by a link to it."""
    shipped = {models.open_model(path).sha256: path.name for path in sorted(folder.iterdir())}
    for path in folder.iterdir():
        card = models.open_model(path).card
        links = {part: f"../{shipped[sha256]}" for part, sha256 in card.parts.items() if sha256 in shipped}
        for part in links:
            shutil.rmtree(path / part)
        models.seal(path, msgspec.structs.replace(card, links=links))


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    runs, folder = map(Path, sys.argv[1:3])
    added = assemble(runs, folder, keep="--keep" in sys.argv)
    for backend, size in added.items():
        links = models.open_model(folder / backend).card.links
        print(f"{backend:8} {size / 1e6:6.2f} MB ", *(f"{part} of {place}" for part, place in links.items()))
    print(f"{'all':8} {sum(added.values()) / 1e6:6.2f} MB, and {_bytes(LAYERS) / 1e6:.2f} MB of layers")
