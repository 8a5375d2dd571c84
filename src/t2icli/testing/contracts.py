"""The promises of every kind, as checks that any plugin's tests can call.

Each takes an `Entry` and, by name, the settings to try it with; tiny ones make quick tests:

    check_generator(entry, size=8)
"""

from __future__ import annotations

import contextlib
import copy
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from PIL import Image

from t2icli.contract.entries import Entry
from t2icli.contract.kinds import AudioClip, AudioEmbedder, Codec, LatentCodec, lacking
from t2icli.contract.requests import CONDITIONS, BatchGenerator, EmbeddingGenerator, Request, drawing, numbered
from t2icli.ground.errors import T2IError
from t2icli.ground.watch import Watch
from t2icli.registry import configure, settings
from t2icli.store import models

if TYPE_CHECKING:
    from torch import Tensor, nn

    from t2icli.contract.recipes import Frozen, Turn
    from t2icli.data.dataset import PreparedDataset

PROMPT = "红烧牛肉面 with an egg"
TEXTS = ("a red apple", "红烧牛肉面")


def check_tokenizer(entry: Entry[Any], /, *, texts: Sequence[str] = TEXTS, **options: Any) -> None:
    """Ids in range, padded to length, back to the same text but for case and spaces; a cut is reported.

    `texts` are two or more that its vocabulary can spell.
    """
    tokenizer, length = _load("tokenizer", entry, options), 64
    assert 0 <= tokenizer.padding < tokenizer.vocabulary, "padding must be one of the ids"
    tokens = tokenizer.encode(texts, length)
    _is_ids(tokens, (len(texts), length), tokenizer.vocabulary, "encode(texts, length)")
    assert bool((tokens[:, -1] == tokenizer.padding).all()), "a short text must be padded at its end"
    _same(tokenizer.encode(texts[1:2], length), tokens[1:2], "a text's ids must not depend on its neighbours")
    for text, back in zip(texts, tokenizer.decode(tokens), strict=True):
        assert _letters(back) == _letters(text), f"decode(encode({text!r})) gave {back!r}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tokenizer.encode([" ".join(texts) * 64], 8)
    assert any(issubclass(w.category, UserWarning) for w in caught), "a text that had to be cut must be warned of"


def check_embedder(entry: Entry[Any], /, **options: Any) -> None:
    """Unit vectors of `width` numbers; each depends on its own text or image alone."""
    embedder, images = _load("embedder", entry, options), pictures()
    for what, one, embed in (("text", TEXTS, embedder.embed_texts), ("image", images, embedder.embed_images)):
        vectors = embed(one)
        shape = (len(one), embedder.width)
        assert tuple(vectors.shape) == shape, f"{what} embeddings must be {shape}, not {tuple(vectors.shape)}"
        norms = vectors.norm(dim=1).tolist()
        assert np.allclose(norms, 1, atol=1e-3), f"{what} embeddings must have length 1, not {norms}"
        claim = f"a {what}'s embedding must not depend on its neighbours, nor on its place"
        _same(embed(one[::-1]).flip(0), vectors, claim)
        for i in range(len(one)):
            _same(embed(one[i : i + 1]), vectors[i : i + 1], claim)


def check_audio_embedder(entry: Entry[Any], /, **options: Any) -> None:
    """All of `check_embedder`; and sounds as unit vectors in the same space, each by itself, of any length and rate."""
    assert entry.embeds_audio, "an entry whose embedder has embed_audio is announced with embeds_audio=True"
    check_embedder(entry, **options)
    embedder, clips = _load("embedder", entry, options), sounds()
    assert isinstance(embedder, AudioEmbedder) and embedder.space, "it needs embed_audio and the name of its space"
    vectors = embedder.embed_audio(clips)
    assert tuple(vectors.shape) == (len(clips), embedder.width), f"sounds became {tuple(vectors.shape)}"
    assert np.allclose(vectors.norm(dim=1).tolist(), 1, atol=1e-3), "embeddings of sounds must have length 1"
    claim = "a sound's embedding must not depend on its neighbours, nor on its place"
    _same(embedder.embed_audio(clips[::-1]).flip(0), vectors, claim)
    for i in range(len(clips)):
        _same(embedder.embed_audio(clips[i : i + 1]), vectors[i : i + 1], claim)


def sounds() -> list[AudioClip]:
    """Short and long ones, of two rates."""
    random = np.random.default_rng(0)
    lengths = ((16_000, 1.0), (16_000, 0.1), (44_100, 2.5))
    noises = [random.uniform(-0.5, 0.5, int(rate * seconds)).astype(np.float32) for rate, seconds in lengths]
    return [AudioClip(noise, rate) for noise, (rate, _) in zip(noises, lengths, strict=True)]


def check_codec(entry: Entry[Any], /, **options: Any) -> None:
    """Codes in range, rows x columns of them, or latents; and images in [0, 1] of the size that went in."""
    codec = _load("codec", entry, options)
    if isinstance(codec, Codec):
        _check_codes(codec)
    if isinstance(codec, LatentCodec):
        _check_latents(codec)


def _check_codes(codec: Codec) -> None:
    import torch

    (rows, columns), n = codec.grid, math.prod(codec.grid)
    expected = torch.randint(codec.codes, (2, n), generator=torch.Generator().manual_seed(0))
    images = codec.decode(expected)
    _is_pixels(images, 2, "decode(codes)")
    size = tuple(images.shape[2:])
    assert tuple(codec.size) == size, f"size must be the height and width of its images, {size}, not {codec.size}"
    codes = codec.encode(images)
    _is_ids(codes, (2, n), codec.codes, f"encode(images) with a grid of {rows} x {columns}")
    back = codec.decode(codes)
    _is_pixels(back, 2, "decode(encode(images))")
    assert back.shape == images.shape, f"decode(encode(x)) must be {tuple(images.shape)}, not {tuple(back.shape)}"
    _same(codec.encode(images[1:]), codes[1:], "an image's codes must not depend on its neighbours")
    _same(codec.decode(codes[1:]), back[1:], "a decoded image must not depend on its neighbours")
    _same(codec.decode(codes.flip(0)).flip(0), back, "a decoded image must not depend on its place")


def _check_latents(codec: LatentCodec) -> None:
    import torch

    given = torch.rand(2, 3, *codec.size, generator=torch.Generator().manual_seed(0))
    latents = codec.encode_latents(given)
    shape = (2, *codec.latent_shape)
    assert latents.dtype == torch.float32, f"latents must be float32, not {latents.dtype}"
    assert tuple(latents.shape) == shape, f"encode_latents(images) must be {shape}, not {tuple(latents.shape)}"
    assert bool(latents.isfinite().all()), "latents must be finite"
    back = codec.decode_latents(latents)
    _is_pixels(back, 2, "decode_latents(latents)")
    assert back.shape == given.shape, f"decode_latents must give {tuple(given.shape)}, not {tuple(back.shape)}"
    _same(codec.encode_latents(given[1:]), latents[1:], "an image's latents must not depend on its neighbours")
    _same(codec.decode_latents(latents.flip(0)).flip(0), back, "a decoded image must not depend on its place")


def check_generator(entry: Entry[Any], /, *, tolerance: int = 0, **options: Any) -> None:
    """Exactly n images; image i depends on prompt, settings and seed + i, not on n or the batch size.

    `tolerance` is how far a pixel may be off, of 255, for what cannot promise that another batch rounds alike.
    """
    generator = _load("generator", entry, options)
    images = list(generator.generate(PROMPT, 3, seed=7))
    assert len(images) == 3, f"asked for 3 images, it gave {len(images)}"
    for image in images:
        assert isinstance(image, Image.Image), f"images must be PIL images, not {type(image).__name__}"
    assert _same_pictures(images, list(generator.generate(PROMPT, 3, seed=7)), 0), "the same seed must give the same"
    assert not list(generator.generate(PROMPT, 0, seed=7)), "asked for no image, it gave some"
    alone = [image for i in range(3) for image in generator.generate(PROMPT, 1, seed=7 + i)]
    assert _same_pictures(images, alone, tolerance), "image i of n must be the image of seed + i, whatever n is"
    names = {"batch", "batch_size"} & set(entry.settings.__struct_fields__)  # type: ignore[attr-defined]
    for name in names:
        for batch in (1, 2):
            again = _load("generator", entry, {**options, name: batch}).generate(PROMPT, 3, seed=7)
            assert _same_pictures(images, list(again), tolerance), f"images must not depend on {name}"
    _check_requests(drawing(generator), entry, options, images, tolerance)
    by_two = _load("generator", entry, {**options, **dict.fromkeys(names, 2)})
    first = next(iter(drawing(by_two).draw(_endless(Request(PROMPT, 7)))))
    assert _same_pictures([first], images[:1], tolerance), "an image must not depend on how many requests there are"


def _check_requests(
    generator: BatchGenerator, entry: Entry[Any], options: dict[str, Any], images: Sequence[Image.Image], tolerance: int
) -> None:
    """Requests in mixed batches, with every condition that it declares, cancelled and all the same afterwards."""
    abilities = generator.abilities
    unknown = set(abilities.conditions) - set(CONDITIONS)
    assert not unknown, f"conditions must be among {', '.join(CONDITIONS)}, not {unknown}"
    undeclared = abilities.conditions - set(entry.conditions)
    assert not undeclared, f"Entry.conditions must name {', '.join(sorted(undeclared))}, which the generator takes"
    for image in images:
        assert not abilities.sizes or image.size in abilities.sizes, f"{image.size} is not among abilities.sizes"
    mixed = [Request(prompt, seed) for seed in (7, 8) for prompt in (PROMPT, TEXTS[0])] + _conditioned(generator)
    alone = [image for request in mixed for image in generator.draw([request])]
    drawn = list(generator.draw(iter(mixed)))
    assert len(drawn) == len(mixed), f"{len(mixed)} requests must give as many images, not {len(drawn)}"
    assert _same_pictures(drawn, alone, tolerance), "an image must not depend on the requests it is drawn with"
    assert _same_pictures(drawn[:1], images[:1], tolerance), "draw and generate must give the same image"
    _check_watch(generator, mixed, drawn)
    _check_settings(generator, entry, options, mixed[0], tolerance)


def _conditioned(generator: BatchGenerator) -> list[Request]:
    """A request with each condition that is declared; `mask` goes with `source`."""
    one, other = pictures()[:2]
    listens = isinstance(generator, EmbeddingGenerator)
    is_declared = "embedding" in generator.abilities.conditions
    assert listens == is_declared, "a generator of embeddings has embedder and space, and 'embedding' as a condition"
    requests = {
        "like": Request(PROMPT, 7, like=one),
        "source": Request(PROMPT, 7, source=one),
        "mask": Request(PROMPT, 7, source=one, mask=other),
    }
    if isinstance(generator, EmbeddingGenerator):
        requests["embedding"] = Request(PROMPT, 7, embedding=generator.embedder.embed_texts(TEXTS)[1])
    return [requests[name] for name in sorted(generator.abilities.conditions)]


def _endless(request: Request) -> Iterator[Request]:
    yield from numbered(request, 10_000)
    raise AssertionError("requests must be read as they are needed")


class _Cancelled(Exception):
    """Raised by the watch of a check."""


class _Cancelling(Watch):
    """Cancels at the given call of a step or a preview; looks at ever fewer of the previews."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.calls, self.previews = at, 0, 0

    def step(self, done: int, of: int) -> None:
        assert 0 <= done <= of, f"step({done}, {of}) must count up to the number of steps"
        self._count()

    def preview(self, index: int, picture: Callable[[], Image.Image]) -> None:
        if self.previews & (self.previews - 1) == 0:  # each may cost as much as the picture itself
            image = picture()
            assert isinstance(image, Image.Image), f"previews must be PIL images, not {type(image).__name__}"
        self.previews += 1
        self._count()

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise _Cancelled


def _check_watch(generator: BatchGenerator, requests: Sequence[Request], expected: Sequence[Image.Image]) -> None:
    """Watching changes nothing, and after a call that was cancelled at any point all is as before."""
    watch = _Cancelling()
    assert _same_pictures(list(generator.draw(requests, watch)), expected, 0), "a watch must not change the images"
    assert watch.calls, "a watch must be called with the steps"
    for at in sorted({1, 2, watch.calls // 2, watch.calls} - {0}):
        try:
            list(generator.draw(requests, _Cancelling(at)))
        except _Cancelled:
            pass
        else:
            raise AssertionError("what a watch raises must end the call")
        again = list(generator.draw(requests))
        assert _same_pictures(again, expected, 0), "after a cancelled call the generator must be as good as new"


def _check_settings(
    generator: BatchGenerator, entry: Entry[Any], options: dict[str, Any], request: Request, tolerance: int
) -> None:
    """Settings of one picture do what they do for all, and leave its neighbours alone."""
    chosen, changed = configure.configure_entry("generator", entry, options), dict[str, Any]()
    for name in sorted(settings.per_picture(entry.settings)):
        for word in ("2", "0.5", "1"):
            with contextlib.suppress(T2IError):
                value = settings.for_one_picture(entry.settings, {name: word}, entry.name)
                if value[name] != getattr(chosen, name):
                    changed |= value
                    break
    if not changed:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of settings that do not suit the weights
        expected = _load("generator", entry, {**options, **changed}).draw([request])
        requests = [request, replace(request, settings=changed), request]
        before, own, after = generator.draw(requests)
        (plain,) = generator.draw([request])
    claim = f"the settings {', '.join(changed)} of one request must do what they do for all"
    assert _same_pictures([own], list(expected), tolerance), claim
    assert _same_pictures([before, after], [plain, plain], tolerance), "settings must not touch other requests"


def check_ranker(entry: Entry[Any], /, **options: Any) -> None:
    """One finite number for each image, whatever the order and the company."""
    ranker, images = _load("ranker", entry, options), pictures()
    before = [image.tobytes() for image in images]
    scores = ranker.score(PROMPT, images)
    assert len(scores) == len(images), f"{len(images)} images must have as many scores, not {len(scores)}"
    assert all(isinstance(score, float) for score in scores), f"scores must be plain floats: {scores}"
    assert np.isfinite(scores).all(), f"scores must be finite: {scores}"
    backwards = ranker.score(PROMPT, images[::-1])[::-1]
    assert scores == backwards, "scores must not depend on the images' order"
    alone = [score for image in images for score in ranker.score(PROMPT, [image])]
    assert scores == alone, "an image's score must not depend on the others"
    assert ranker.score(PROMPT, []) == [], "no images must have no scores"
    # Not compared within the assertion: where CI is set, pytest would spell out how thousands of bytes differ.
    untouched = before == [image.tobytes() for image in images]
    assert untouched, "scoring must leave the images as they are"


def check_captioner(entry: Entry[Any], /, **options: Any) -> None:
    """Exactly n captions of one line for each image, and the same ones for the same seed."""
    captioner, images = _load("captioner", entry, options), pictures()[:2]
    captions = captioner.caption(images, 2, seed=7)
    assert len(captions) == len(images), f"{len(images)} images must have as many lists, not {len(captions)}"
    for of_one in captions:
        assert len(of_one) == 2, f"asked for 2 captions of each image, it gave {len(of_one)}"
        for caption in of_one:
            assert isinstance(caption, str), f"captions must be text, not {type(caption).__name__}"
            assert len(caption.splitlines()) <= 1, f"captions must be one line: {caption!r}"
    assert captioner.caption(images, 2, seed=7) == captions, "the same seed must give the same captions"
    alone = [caption for i in range(len(images)) for caption in captioner.caption(images[i : i + 1], 2, seed=7 + i)]
    assert alone == captions, "image i must have the captions of seed + i, whatever its neighbours"
    assert captioner.caption([], 2, seed=7) == [], "no images must have no captions"


def check_metric(entry: Entry[Any], /, **options: Any) -> None:
    """One finite number for each pair: none where they are equal, more where they differ more."""
    import torch

    metric = _load("metric", entry, options)
    random = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 64, 64, generator=random)
    noise = torch.randn(images.shape, generator=random)
    near, far = images + 0.02 * noise, images + 0.2 * noise
    distances = metric.distance(images, far)
    assert tuple(distances.shape) == (2,), f"distances must be (2,), not {tuple(distances.shape)}"
    assert bool(distances.isfinite().all()), f"distances must be finite: {distances}"
    assert bool((metric.distance(images, images).abs() < 1e-5).all()), "equal pictures must have distance 0"
    assert bool((metric.distance(images, near) < distances).all()), "more noise must be a greater distance"
    _near(metric.distance(images[1:], far[1:]), distances[1:], "a distance must not depend on the other pairs")
    far.requires_grad_(True)
    metric.distance(images, far).sum().backward()
    assert far.grad is not None and bool(far.grad.any()), "a distance must be differentiable"


def check_dataset(entry: Entry[Any], source: Path, /, **options: Any) -> None:
    """Rows from `source`, none sharing a key; read again they are the same."""
    from t2icli.data.dataset import SourceRow

    preparer = _load("dataset", entry, options)
    rows = list(preparer.rows(source))
    assert rows, f"there must be rows in {source}"
    for row in rows:
        assert isinstance(row, SourceRow), f"rows must be SourceRow, not {type(row).__name__}"
        assert isinstance(row.key, str), f"a key must be text, empty where the address is enough: {row!r}"
        assert not isinstance(row.captions, str), f"captions must be several texts, not one: {row!r}"
    keys = [row.key for row in rows if row.key]
    assert len(set(keys)) == len(keys), "every row must have a key of its own"
    assert list(preparer.rows(source)) == rows, "reading again must give the same rows"


def check_recipe(entry: Entry[Any], data: PreparedDataset, folder: Path, /, **options: Any) -> None:
    """Trains on `data`: finite losses that reach each turn's parameters, and a model in `folder` that opens."""
    from t2icli.contract.recipes import Captioned

    recipe = _load("recipe", entry, options)
    samples = recipe.dataset(data, "train", {part.name: _run_once(part, data) for part in recipe.frozen()})
    n = len(samples)
    if isinstance(samples, Captioned):
        known = {data.captions(i) for i in range(len(data))}
        for i in range(n):
            assert tuple(samples.captions_of(i)) in known, f"sample {i} must tell its captions as the data has them"
    batch = _batch(samples, range(min(2, n)))
    turns = recipe.turns()
    assert turns, "a recipe must have a turn"
    assert len({turn.name for turn in turns}) == len(turns), "every turn must have a name of its own"
    for turn in turns:
        _check_turn(turn, batch)
    for image in recipe.preview(batch, seed=7):
        assert isinstance(image, Image.Image), f"previews must be PIL images, not {type(image).__name__}"
    recipe.save(folder)
    models.open_model(folder).file()
    _check_recomputed(recipe.model, turns, batch)


def _run_once(part: Frozen, data: PreparedDataset) -> Tensor:
    """What the training loop would cache of a part that is not trained."""
    import torch

    views = []
    for _ in range(part.views):
        samples: Any = part.samples(data)
        results = part.run(_batch(samples, range(len(samples))))
        assert len(results) == len(samples), f"part {part.name!r} must give one result for each sample"
        views.append(results)
    return torch.stack(views) if part.views > 1 else views[0]


def _batch(samples: Any, which: Iterable[int]) -> Any:
    from torch.utils.data import default_collate

    return default_collate([samples[i] for i in which])


def _check_turn(turn: Turn, batch: Any) -> None:
    loss, figures = turn.loss(batch, 0)
    assert loss.ndim == 0 and math.isfinite(loss.detach()), f"the loss of turn {turn.name!r} must be one finite number"
    assert all(math.isfinite(figure) for figure in figures.values()), f"figures must be finite: {figures}"
    loss.backward()
    reached = [p.grad for group in turn.groups for p in group.parameters if p.grad is not None]
    assert reached, f"the loss of turn {turn.name!r} must reach its parameters"
    assert all(bool(grad.isfinite().all()) for grad in reached), f"gradients of turn {turn.name!r} must be finite"


def _check_recomputed(model: nn.Module, turns: Sequence[Turn], batch: Any) -> None:
    """`--grad-checkpointing` changes no loss and no gradient."""
    from t2icli.training.recompute import blocks, recompute

    if not any(True for _ in blocks(model)):
        return
    model.train()
    state = copy.deepcopy(model.state_dict())
    expected = [_differentiated(turn, batch) for turn in turns]
    model.load_state_dict(state)
    recompute(model)
    for turn, (loss, gradients) in zip(turns, expected, strict=True):
        again, others = _differentiated(turn, batch)
        same = loss.equal(again) and all(a.equal(b) for a, b in zip(gradients, others, strict=True))
        assert same, f"turn {turn.name!r} must have the same loss and gradients with --grad-checkpointing"


def _differentiated(turn: Turn, batch: Any) -> tuple[Tensor, list[Tensor]]:
    import torch

    from t2icli.training.order import seed_all

    parameters = [p for group in turn.groups for p in group.parameters]
    for parameter in parameters:
        parameter.grad = None
    seed_all(0, turn.name)
    loss, _ = turn.loss(batch, 0)
    loss.backward()
    return loss.detach(), [torch.zeros(()) if p.grad is None else p.grad.clone() for p in parameters]


def pictures() -> list[Image.Image]:
    """Five small RGB images that look different and are of different sizes."""
    ramp = np.linspace(0, 255, 32, dtype=np.uint8)
    across, down = np.meshgrid(ramp, ramp[:24])
    checks = ((across // 64 + down // 64) % 2 * 255).astype(np.uint8)
    stacked = [(across, down, down * 0), (checks, checks, checks), (down, 255 - down, across)]
    drawn = [Image.fromarray(np.stack(layers, axis=-1).astype(np.uint8), "RGB") for layers in stacked]
    return [*drawn, Image.new("RGB", (40, 40), (200, 30, 40)), Image.new("RGB", (17, 31), (10, 60, 200))]


def _load(kind: str, entry: Entry[Any], options: dict[str, Any]) -> Any:
    """The entry's thing, after what is announced about it has been checked."""
    assert isinstance(entry, Entry), f"expected an Entry, not {type(entry).__name__}"
    assert entry.about and len(entry.about.splitlines()) == 1, f"{entry.name!r} must be described in one line"
    for field in settings.describe(entry.settings):
        assert field.about, f"setting {field.name!r} of {entry.name!r} needs a line of help: Meta(description=...)"
    chosen = configure.configure_entry(kind, entry, options)
    assert isinstance(chosen, msgspec.Struct) and chosen.__struct_config__.frozen, "settings must be frozen"
    thing = entry.load(chosen)
    missing = lacking(kind, thing)
    assert not missing, f"{kind} {entry.name!r} lacks {missing}: see t2icli.contract.kinds"
    return thing


def _is_ids(tensor: Tensor, shape: tuple[int, ...], limit: int, what: str) -> None:
    import torch

    assert tensor.dtype == torch.int64, f"{what} must be int64, not {tensor.dtype}"
    assert tuple(tensor.shape) == shape, f"{what} must be {shape}, not {tuple(tensor.shape)}"
    assert 0 <= int(tensor.min()) and int(tensor.max()) < limit, f"{what} must lie in [0, {limit})"


def _is_pixels(tensor: Tensor, b: int, what: str) -> None:
    import torch

    assert tensor.dtype == torch.float32, f"{what} must be float32, not {tensor.dtype}"
    assert tensor.ndim == 4 and tensor.shape[:2] == (b, 3), f"{what} must be ({b}, 3, h, w), not {tuple(tensor.shape)}"
    assert 0 <= float(tensor.min()) and float(tensor.max()) <= 1, f"{what} must lie in [0, 1]"


def _same(actual: Tensor, expected: Tensor, claim: str) -> None:
    assert actual.shape == expected.shape and bool((actual == expected).all()), claim


def _near(actual: Tensor, expected: Tensor, claim: str) -> None:
    assert actual.shape == expected.shape and bool((actual - expected).abs().max() < 1e-4), claim


def _same_pictures(actual: Sequence[Image.Image], expected: Sequence[Image.Image], tolerance: int) -> bool:
    def off(a: Image.Image, b: Image.Image) -> int:
        return int(np.abs(np.asarray(a.convert("RGBA"), int) - np.asarray(b.convert("RGBA"), int)).max())

    pairs = list(zip(actual, expected, strict=False))
    same_form = len(actual) == len(expected) and all(a.size == b.size and a.mode == b.mode for a, b in pairs)
    return same_form and all(off(a, b) <= tolerance for a, b in pairs)


def _letters(text: str) -> str:
    return "".join(text.split()).casefold()
