"""Meshes with a colour at every vertex, numpy alone: the shapes that food is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray as Array

Outline = Callable[[Array], Array]
"""Distance of an edge from the middle, by angle."""
Paint = Callable[[Array, Array, Array], Array]
"""Colours by distance from the middle (0 to 1), angle, and side: 1 on top, 0 at the edge, -1 below."""
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Mesh:
    vertices: Array
    faces: Array
    colours: Array
    material: str = "soft"

    def moved(self, x: float = 0, y: float = 0, z: float = 0) -> Mesh:
        return replace(self, vertices=self.vertices + np.array([x, y, z]))

    def scaled(self, x: float, y: float | None = None, z: float | None = None) -> Mesh:
        return replace(self, vertices=self.vertices * np.array([x, x if y is None else y, x if z is None else z]))

    def turned(self, yaw: float = 0, pitch: float = 0, roll: float = 0) -> Mesh:
        """Turned about x by `roll`, then about y by `pitch`, then about z by `yaw`, in radians."""
        (cz, sz), (cy, sy), (cx, sx) = ((np.cos(t), np.sin(t)) for t in (yaw, pitch, roll))
        about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        return replace(self, vertices=self.vertices @ (about_z @ about_y @ about_x).T)

    def rough(self, amount: float, frequency: float | Point, seed: int, octaves: int = 2) -> Mesh:
        """Bumps along the direction from the middle, and a little darker in the hollows."""
        bump = noise(self.vertices * np.asarray(frequency), seed, octaves)[:, None]
        outward = self.vertices / (np.linalg.norm(self.vertices, axis=1, keepdims=True) + 1e-9)
        return replace(self, vertices=self.vertices + amount * bump * outward, colours=self.colours * (1 + 0.18 * bump))

    def mottled(self, other: Array, frequency: float | Point, seed: int, low: float = 0.0, high: float = 0.5) -> Mesh:
        """Spots of another colour where a noise is between `low` and `high` and above."""
        share = step(noise(self.vertices * np.asarray(frequency), seed, 3), low, high)
        return replace(self, colours=mix(self.colours, other, share))

    def of(self, material: str) -> Mesh:
        return replace(self, material=material)


def rgb(code: str) -> Array:
    """A colour as people write it, `c8553d`, as light."""
    srgb = np.array([int(code[at : at + 2], 16) for at in (0, 2, 4)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def mix(one: Array, other: Array, share: Array | float) -> Array:
    share = np.clip(np.asarray(share, dtype=float), 0, 1)[..., None]
    return np.asarray(one) * (1 - share) + np.asarray(other) * share


def step(value: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high` (or the other way round), smooth between."""
    t = np.clip((np.asarray(value) - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def noise(points: Array, seed: int = 0, octaves: int = 1) -> Array:
    """Smooth value noise between -1 and 1."""
    points = np.asarray(points, dtype=float) + 1000.0
    total, amplitude = np.zeros(points.shape[:-1]), 1.0
    for octave in range(octaves):
        scaled = points * 2**octave
        corner = np.floor(scaled)
        inside = scaled - corner
        inside = inside * inside * (3 - 2 * inside)
        corner = corner.astype(np.int64)
        for offset in np.ndindex(2, 2, 2):
            weight = np.where(np.array(offset) == 1, inside, 1 - inside).prod(-1)
            total += amplitude * weight * _hashed(corner + np.array(offset), seed + 17 * octave)
        amplitude *= 0.5
    return total


def _hashed(corner: Array, seed: int) -> Array:
    primes = np.array([73856093, 19349663, 83492791], dtype=np.uint64)
    mixed = np.bitwise_xor.reduce(corner.astype(np.uint64) * primes, axis=-1) ^ np.uint64(seed * 2654435761 % 2**63)
    for factor, shift in ((1274126177, 16), (2246822519, 15)):
        mixed = (mixed ^ (mixed >> np.uint64(13))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(shift)
    return (mixed & np.uint64(0xFFFFFF)).astype(float) / 0xFFFFFF * 2 - 1


def grid(rows: int, columns: int, closed_rows: bool = False, closed_columns: bool = False) -> Array:
    """Triangles of a sheet of `rows` x `columns` vertices, either way closed to a ring."""
    i = np.arange(rows if closed_rows else rows - 1)[:, None]
    j = np.arange(columns if closed_columns else columns - 1)[None]
    a, b = i * columns + j, (i + 1) % rows * columns + j
    c, d = (i + 1) % rows * columns + (j + 1) % columns, i * columns + (j + 1) % columns
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


def sheet(points: Array, colours: Array, closed_rows: bool = False, closed_columns: bool = False) -> Mesh:
    rows, columns = points.shape[:2]
    painted = np.broadcast_to(colours, points.shape).reshape(-1, 3).copy()
    return Mesh(points.reshape(-1, 3), grid(rows, columns, closed_rows, closed_columns), painted)


def blob(size: Point, colour: Array, power: tuple[float, float] = (1, 1), detail: int = 40) -> Mesh:
    """A superellipsoid: a ball with powers of 1, a rounded box with 0.25; `size` are half widths."""
    u = np.linspace(0, 2 * np.pi, 2 * detail, endpoint=False)[:, None]
    w = np.linspace(-np.pi / 2 + 1e-6, np.pi / 2 - 1e-6, detail)[None]

    def curve(value: Array, p: float) -> Array:
        return np.sign(value) * np.abs(value) ** p

    flat = curve(np.cos(w), power[0])
    points = [flat * curve(np.cos(u), power[1]), flat * curve(np.sin(u), power[1]), curve(np.sin(w), power[0]) + 0 * u]
    return sheet(np.stack(points, -1) * np.array(size), colour, closed_rows=True)


def box(size: Point, colour: Array, bevel: float = 0.02, detail: int = 28) -> Mesh:
    """A box with rounded edges and points all over its faces; `size` are half widths."""
    line = np.linspace(-1, 1, detail)
    first, second = np.meshgrid(line, line, indexing="ij")
    sheets = []
    for axis in range(3):
        for end in (-1, 1):
            flat = [first * size[(axis + 1) % 3], second * size[(axis + 2) % 3]][:: 1 if end > 0 else -1]
            order = [(axis + 1) % 3, (axis + 2) % 3][:: 1 if end > 0 else -1]
            points = np.full((detail, detail, 3), float(end * size[axis]))
            points[..., order[0]], points[..., order[1]] = flat
            if end < 0:
                points = points.transpose(1, 0, 2)
            inner = np.clip(points, -np.array(size) + bevel, np.array(size) - bevel)
            outward = points - inner
            length = np.linalg.norm(outward, axis=-1, keepdims=True) + 1e-9
            sheets.append(sheet(inner + bevel * outward / length, colour))
    return merge(sheets)


def tube(path: Array, radius: Array | float, colour: Array, sides: int = 12, caps: bool = True) -> Mesh:
    """A round strand along `path`; colours one, or one at each point of the path."""
    path = np.asarray(path, dtype=float)
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    upright = np.abs(along[:, 2]).mean() > 0.9
    side = np.cross(along, [1.0, 0, 0] if upright else [0, 0, 1.0])
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
    up = np.cross(side, along)
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)[None, :, None]
    radii = np.broadcast_to(radius, (len(path),)).copy()
    if caps:  # three points nearer the end each time draw the tube to a dome
        path, radii, side, up = _domed(path, radii, along, side, up)
    ring = np.cos(turn) * side[:, None] + np.sin(turn) * up[:, None]
    colours = np.asarray(colour)
    if colours.ndim == 2 and caps:
        colours = np.concatenate([colours[:1].repeat(4, 0), colours, colours[-1:].repeat(4, 0)])
    colours = colours[:, None] if colours.ndim == 2 else colours
    return sheet(path[:, None] + radii[:, None, None] * ring, colours, closed_columns=True)


def _domed(path: Array, radii: Array, along: Array, side: Array, up: Array) -> tuple[Array, Array, Array, Array]:
    angle = np.linspace(0.02, np.pi / 2, 5)[:-1]
    before = path[:1] - along[:1] * radii[0] * np.cos(angle)[:, None]
    after = path[-1:] + along[-1:] * radii[-1] * np.cos(angle[::-1])[:, None]
    wide = np.concatenate([radii[0] * np.sin(angle), radii, radii[-1] * np.sin(angle[::-1])])
    frames = [np.concatenate([f[:1].repeat(4, 0), f, f[-1:].repeat(4, 0)]) for f in (side, up)]
    return np.concatenate([before, path, after]), wide, frames[0], frames[1]


def revolve(profile: Sequence[tuple[float, float]], colour: Paint | Array, around: int = 96, fine: int = 64) -> Mesh:
    """A profile of (distance, height) from its first point to its last, smoothed and turned about the upright axis."""
    corners = np.array(profile, dtype=float)
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    at = np.linspace(0, length[-1], fine)
    smooth = np.stack([np.interp(at, length, corners[:, k]) for k in (0, 1)], 1)
    kernel = np.hanning(7) / np.hanning(7).sum()
    padded = np.concatenate([2 * smooth[:1] - smooth[3:0:-1], smooth, 2 * smooth[-1:] - smooth[-2:-5:-1]])
    smooth = np.stack([np.convolve(padded[:, k], kernel, "valid") for k in (0, 1)], 1)
    angle = np.linspace(0, 2 * np.pi, around, endpoint=False)[:, None]
    far, high = np.maximum(smooth[:, 0], 0)[None], smooth[:, 1][None]
    points = np.stack([far * np.cos(angle), far * np.sin(angle), high + 0 * angle], -1)
    colours = colour(at[None] / at[-1] + 0 * angle, angle + 0 * far, high + 0 * angle) if callable(colour) else colour
    return sheet(points, colours, closed_rows=True)


def slab(outline: Outline | float, height: float, colour: Paint | Array, bevel: float = 0.01, hole: float = 0) -> Mesh:
    """A slice: an outline round the middle, flat above and below, its edge rounded; with a hole, a ring."""
    angle = np.linspace(0, 2 * np.pi, 128, endpoint=False)[:, None]
    edge = outline(angle) if callable(outline) else np.full_like(angle, outline)
    top, bend, below = np.linspace(hole, 1, 26), np.linspace(np.pi / 2, -np.pi / 2, 9), np.linspace(1, hole, 7)
    share = np.concatenate([top, np.ones(9), below])[None]
    inset = bevel * np.concatenate([top, 1 - np.cos(bend), below])[None]
    wall = np.sign(bend) * (height / 2 - bevel) + bevel * np.sin(bend)
    z = np.concatenate([np.full(26, height / 2), wall, np.full(7, -height / 2)])[None]
    side = np.concatenate([np.ones(26), np.zeros(9), -np.ones(7)])[None] + 0 * angle
    far = edge * share - inset
    points = np.stack([far * np.cos(angle), far * np.sin(angle), z + 0 * angle], -1)
    colours = colour(share + 0 * angle, angle + 0 * share, side) if callable(colour) else colour
    return sheet(points, colours, closed_rows=True, closed_columns=hole > 0)


def rind(flesh: Array | Paint, skin: str, width: float = 0.06) -> Paint:
    """A paint for slices: flesh above, skin at the edge and in a thin ring within it."""

    def paint(share: Array, angle: Array, side: Array) -> Array:
        inner = flesh(share, angle, side) if callable(flesh) else np.broadcast_to(flesh, (*share.shape, 3))
        return mix(inner, rgb(skin), np.maximum(side == 0, step(share, 1 - width - 0.02, 1 - width + 0.02)))

    return paint


def flat(share: Array, angle: Array, frequency: float) -> Array:
    """Where a point of a slice lies, for a noise."""
    return np.stack([share * np.cos(angle), share * np.sin(angle), 0 * share], -1) * frequency


def polygon(corners: Sequence[tuple[float, float]], softness: int = 5) -> Outline:
    """The outline of a polygon that can be seen whole from its middle, its corners softened."""
    ends = np.array(corners, dtype=float)
    starts = np.roll(ends, 1, axis=0)

    def distance(angle: Array) -> Array:
        direction = np.stack([np.cos(angle[:, 0]), np.sin(angle[:, 0])], -1)[:, None]
        edge = (ends - starts)[None]
        cross = direction[..., 0] * edge[..., 1] - direction[..., 1] * edge[..., 0]
        cross = np.where(np.abs(cross) < 1e-9, 1e-9, cross)
        far = (starts[:, 0] * edge[..., 1] - starts[:, 1] * edge[..., 0]) / cross
        along = (starts[:, 0] * direction[..., 1] - starts[:, 1] * direction[..., 0]) / cross
        valid = (far > 0) & (along >= -1e-6) & (along <= 1 + 1e-6)
        nearest = np.where(valid, far, np.inf).min(1)
        around = np.concatenate([nearest[-softness:], nearest, nearest[:softness]])
        return np.convolve(around, np.ones(2 * softness + 1) / (2 * softness + 1), "valid")[:, None]

    return distance


def merge(parts: Iterable[Mesh]) -> Mesh:
    """One mesh of several; its material is that of the first."""
    parts = list(parts)
    before = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = np.concatenate([part.faces + start for part, start in zip(parts, before, strict=False)])
    arrays = (np.concatenate([getattr(part, name) for part in parts]) for name in ("vertices", "colours"))
    vertices, colours = arrays
    return Mesh(vertices, faces, colours, parts[0].material)
