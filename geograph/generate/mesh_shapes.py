"""The 15 shape classes of the generated meshes: each builder draws one solid with random proportions.

A builder takes a random generator and the most faces, and returns a manifold3d solid of size about one.
Boolean operations of closed solids are closed, so that every shape is watertight by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from geograph.generate.mesh_surfaces import manifold3d, solid_tube, superquadric

Builder = Callable[[np.random.Generator, int], Any]

_ROUND = 20  # corners of a large circle
_THIN = 8  # corners of a leg or a bar
_BISECTIONS = 7
_FULL = 0.9  # share of the faces that is enough


def _box(low: Sequence[float | int], high: Sequence[float | int]) -> Any:
    size = [b - a for a, b in zip(low, high, strict=True)]
    return manifold3d().Manifold.cube(size).translate(list(low))


def _cylinder(height: float, radius: float, segments: int, top: float | None = None) -> Any:
    return manifold3d().Manifold.cylinder(height, radius, radius if top is None else top, segments)


def _extrude(corners: Float[np.ndarray, "n 2"], height: float, *holes: Float[np.ndarray, "m 2"]) -> Any:
    module = manifold3d()
    section = module.CrossSection([corners, *holes], module.FillRule.EvenOdd)
    return module.Manifold.extrude(section, height)


def _union(parts: list[Any]) -> Any:
    module = manifold3d()
    return module.Manifold.batch_boolean(parts, module.OpType.Add)


def _ellipsoid(rng: np.random.Generator, max_faces: int) -> Any:
    return superquadric(1.0, rng.uniform(0.5, 1.0, 3), max_faces)


def _superbox(rng: np.random.Generator, max_faces: int) -> Any:
    return superquadric(rng.uniform(0.1, 0.35), rng.uniform(0.5, 1.0, 3), max_faces)


def _octa(rng: np.random.Generator, max_faces: int) -> Any:
    return superquadric(rng.uniform(1.7, 2.5), rng.uniform(0.6, 1.0, 3), max_faces)


def _torus(rng: np.random.Generator, max_faces: int) -> Any:
    angle = np.linspace(0, 2 * np.pi, 256, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=1)
    return solid_tube(ring, rng.uniform(0.2, 0.45), max_faces, closed=True)


def _cone(rng: np.random.Generator, max_faces: int) -> Any:
    return _cylinder(rng.uniform(1.0, 2.2), rng.uniform(0.6, 1.0), _ROUND, rng.uniform(0.02, 0.2))


def _pipe(rng: np.random.Generator, max_faces: int) -> Any:
    height, inner = rng.uniform(1.2, 3.0), rng.uniform(0.5, 0.8)
    bore = _cylinder(2 * height, inner, _ROUND).translate([0, 0, -height / 2])
    return _cylinder(height, 1.0, _ROUND) - bore


def _spring(rng: np.random.Generator, max_faces: int) -> Any:
    turns, radius = rng.uniform(2.0, 4.0), rng.uniform(0.12, 0.2)
    pitch = rng.uniform(3.0, 5.0) * radius
    angle = np.linspace(0, 2 * np.pi * turns, 512)
    curve = np.stack([np.cos(angle), np.sin(angle), pitch * angle / (2 * np.pi)], axis=1)
    return solid_tube(curve, radius, max_faces, closed=False)


def _knot(rng: np.random.Generator, max_faces: int) -> Any:
    p, q = ((2, 3), (3, 2), (2, 5))[rng.integers(3)]
    angle = np.linspace(0, 2 * np.pi, 768, endpoint=False)
    tilt = rng.uniform(0.35, 0.45)
    reach = 1 + tilt * np.cos(q * angle)
    curve = np.stack(
        [reach * np.cos(p * angle), reach * np.sin(p * angle), -tilt * np.sin(q * angle)], axis=1
    )
    return solid_tube(curve, rng.uniform(0.12, 0.16), max_faces, closed=True)


def _gear(rng: np.random.Generator, max_faces: int) -> Any:
    teeth, depth = int(rng.integers(7, 13)), rng.uniform(0.15, 0.3)
    step = 2 * np.pi / teeth
    angle = (np.arange(teeth)[:, None] * step + step * np.array([0.0, 0.1, 0.45, 0.55])).ravel()
    radius = np.tile([1 - depth, 1.0, 1.0, 1 - depth], teeth)
    outline = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    hole = rng.uniform(0.2, 0.45) * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return _extrude(outline, rng.uniform(0.25, 0.6), hole)


def _profile(rng: np.random.Generator, max_faces: int) -> Any:
    width, height, wall = rng.uniform(0.8, 1.2), rng.uniform(0.8, 1.2), rng.uniform(0.18, 0.3)
    length = rng.uniform(1.5, 3.0)
    foot = _box([0, 0, 0], [width, wall, length])
    kind = ("L", "T", "U")[rng.integers(3)]
    at = {"L": [0.0], "T": [(width - wall) / 2], "U": [0.0, width - wall]}[kind]
    return _union([foot, *(_box([x, 0, 0], [x + wall, height, length]) for x in at)])


def _legs(
    rng: np.random.Generator, half_x: float, half_y: float, height: float, thickness: float
) -> list[Any]:
    """Return four legs that reach from -height a little into the slab above z = 0."""
    is_round = rng.random() < 0.5
    inset = 1 - rng.uniform(0.02, 0.15)
    legs = []
    for sign_x, sign_y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        x = sign_x * (half_x * inset - thickness)
        y = sign_y * (half_y * inset - thickness)
        if is_round:
            leg = _cylinder(height + 0.05, thickness, _THIN)
        else:
            leg = _box([-thickness, -thickness, 0], [thickness, thickness, height + 0.05])
        legs.append(leg.translate([x, y, -height]))
    return legs


def _table(rng: np.random.Generator, max_faces: int) -> Any:
    half_x, half_y = rng.uniform(0.8, 1.2), rng.uniform(0.6, 0.9)
    plate, height = rng.uniform(0.08, 0.16), rng.uniform(0.8, 1.2)
    legs = _legs(rng, half_x, half_y, height, rng.uniform(0.06, 0.1))
    return _union([_box([-half_x, -half_y, 0], [half_x, half_y, plate]), *legs])


def _chair(rng: np.random.Generator, max_faces: int) -> Any:
    half, plate, wall = rng.uniform(0.5, 0.65), rng.uniform(0.08, 0.14), rng.uniform(0.07, 0.12)
    legs = _legs(rng, half, half, rng.uniform(0.7, 1.0), rng.uniform(0.06, 0.09))
    tall = rng.uniform(0.9, 1.4)
    back = _box([-half, half - wall, 0], [half, half, tall])
    if rng.random() < 0.5:
        margin = 0.25 * half
        back -= _box([-half + margin, 0, 0.3 * tall], [half - margin, 1, tall - margin])
    return _union([_box([-half, -half, 0], [half, half, plate]), back, *legs])


def _mug(rng: np.random.Generator, max_faces: int) -> Any:
    radius, height, wall = rng.uniform(0.55, 0.75), rng.uniform(1.1, 1.7), rng.uniform(0.08, 0.14)
    thick, reach = rng.uniform(0.08, 0.12), rng.uniform(0.35, 0.55)
    angle = np.linspace(-np.pi / 2, np.pi / 2, 64)
    span = rng.uniform(0.28, 0.36) * height
    x = radius - 0.04 + reach * np.cos(angle)
    curve = np.stack([x, np.zeros_like(angle), height / 2 + span * np.sin(angle)], axis=1)
    handle = solid_tube(curve, thick, max_faces // 5, closed=False)
    hollow = _cylinder(height, radius - wall, _ROUND).translate([0, 0, wall])
    return (_cylinder(height, radius, _ROUND) + handle) - hollow


def _dumbbell(rng: np.random.Generator, max_faces: int) -> Any:
    half, bar = rng.uniform(0.7, 1.1), rng.uniform(0.1, 0.2)
    is_round, parts = rng.random() < 0.5, [_cylinder(2 * half, bar, _THIN).translate([0, 0, -half])]
    radius = rng.uniform(0.35, 0.55)
    for sign in (-1, 1):
        size = radius * rng.uniform(0.9, 1.1)
        if is_round:
            weight = superquadric(1.0, np.full(3, size), max_faces // 3)
        else:
            thick = rng.uniform(0.25, 0.45)
            weight = _cylinder(thick, size, _ROUND).translate([0, 0, -thick / 2])
        parts.append(weight.translate([0, 0, sign * half]))
    return _union(parts)


def _plane(rng: np.random.Generator, max_faces: int) -> Any:
    body = rng.uniform(0.11, 0.17)
    fuselage = superquadric(1.0, np.array([1.0, body, body]), max_faces // 3)
    span, chord, sweep = rng.uniform(0.8, 1.1), rng.uniform(0.28, 0.4), rng.uniform(0.0, 0.4)
    tail, fin = rng.uniform(0.3, 0.45), rng.uniform(0.3, 0.45)
    thick = 0.6 * body

    def wing(half_span: float, root: float, back: float) -> Any:
        tip, lead = 0.5 * root, back + 0.3 * root
        corners = [[root / 2, 0], [tip / 2 - lead, half_span], [-tip / 2 - lead, half_span], [-root / 2, 0]]
        mirrored = [[x, -y] for x, y in corners[2:0:-1]]
        return _extrude(np.array([*corners, *mirrored]), thick).translate([0, 0, -thick / 2])

    upright = np.array([[0.12, 0], [-0.12, 0], [-0.22, fin], [-0.06, fin]])
    rudder = _extrude(upright, thick).translate([0, 0, -thick / 2]).rotate([90, 0, 0])
    return _union(
        [
            fuselage,
            wing(span, chord, sweep).translate([0.15, 0, 0]),
            wing(tail, 0.6 * chord, 0.1).translate([-0.8, 0, 0]),
            rudder.translate([-0.8, 0, 0]),
        ]
    )


#: Builder of each class; the position in this table is the label.
BUILDERS: dict[str, Builder] = {
    "ellipsoid": _ellipsoid,
    "superbox": _superbox,
    "octa": _octa,
    "torus": _torus,
    "cone": _cone,
    "pipe": _pipe,
    "spring": _spring,
    "knot": _knot,
    "gear": _gear,
    "profile": _profile,
    "table": _table,
    "chair": _chair,
    "mug": _mug,
    "dumbbell": _dumbbell,
    "plane": _plane,
}


def fit_faces(solid: Any, max_faces: int) -> Any:
    """Return the solid with as many compact faces as `max_faces` allows.

    Slivers are merged away first; a surface that is too fine is simplified, one that is coarse has its long
    edges split. Both keep it closed.
    """
    extent = max(b - a for a, b in zip(solid.bounding_box()[:3], solid.bounding_box()[3:], strict=True))
    tolerance = 2e-3 * extent
    solid = solid.simplify(tolerance)
    while solid.num_tri() > max_faces:
        tolerance *= 1.5
        solid = solid.simplify(tolerance)
    best, short, long = solid, 0.02 * extent, extent
    for _ in range(_BISECTIONS):
        if best.num_tri() > _FULL * max_faces:
            break
        middle = float(np.sqrt(short * long))
        finer = solid.refine_to_length(middle)
        if finer.num_tri() > max_faces:
            short = middle
        else:
            long = middle
            best = max(best, finer, key=lambda s: s.num_tri())
    return best


def build_shape(
    name: str, rng: np.random.Generator, max_faces: int
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Return vertices and outward faces of one random shape of a class of `BUILDERS`."""
    mesh = fit_faces(BUILDERS[name](rng, max_faces), max_faces).to_mesh64()
    return np.asarray(mesh.vert_properties)[:, :3].astype(np.float64), np.asarray(mesh.tri_verts).astype(
        np.int64
    )
