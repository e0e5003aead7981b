"""What each named array of a record or graph means: level, dtype, unit and transformation law."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """What one row of a field belongs to."""

    NODE = "node"
    EDGE = "edge"
    FACE = "face"
    GRAPH = "graph"


class Representation(StrEnum):
    """How a field transforms under the symmetry group of its domain."""

    SCALAR = "scalar"  #: invariant
    POSITION = "position"  #: point of R^3: rotates, reflects and translates
    VECTOR = "vector"  #: polar vector of R^3: rotates and reflects, does not translate
    PSEUDOVECTOR = "pseudovector"  #: axial vector of R^3: rotates, keeps its sign under inversion
    FOUR_VECTOR = "four_vector"  #: (E, px, py, pz) under O(1, 3)
    MULTIVECTOR = "multivector"  #: element of a Clifford algebra, short-lex blade order by grade
    HARMONIC = "harmonic"  #: real spherical-harmonic coefficients along the last axis, under SO(3)
    INDEX = "index"  #: node number, shifted when graphs are batched


@dataclass(frozen=True)
class Field:
    """Contract of one named array.

    Attributes
    ----------
    level
        What one row belongs to.
    dtype
        NumPy dtype name on disk.
    shape
        Shape of one row; -1 stands for any length.
    unit
        Unit of the values; "1" where there is none.
    representation
        Transformation law.
    """

    level: Level
    dtype: str
    shape: tuple[int, ...]
    unit: str
    representation: Representation = Representation.SCALAR


_N, _G, _S = Level.NODE, Level.GRAPH, Representation.SCALAR

#: Every field that a graph data set may hold. `y` is described by its data set's manifest instead,
#: because its meaning and unit belong to the task.
FIELDS: dict[str, Field] = {
    "z": Field(_N, "int64", (), "1"),
    "pos": Field(_N, "float32", (3,), "angstrom", Representation.POSITION),
    "vel": Field(_N, "float32", (3,), "1", Representation.VECTOR),
    "charge": Field(_N, "float32", (), "1"),
    "normal": Field(_N, "float32", (3,), "1", Representation.VECTOR),  # outward, so polar
    "area": Field(_N, "float32", (), "1"),
    "p4": Field(_N, "float32", (4,), "GeV", Representation.FOUR_VECTOR),
    "is_beam": Field(_N, "int64", (), "1"),
    "pos_target": Field(_N, "float32", (3,), "1", Representation.POSITION),
    "harmonic": Field(_N, "float32", (-1, -1), "per manifest", Representation.HARMONIC),  # channels, L^2
    "edge_index": Field(Level.EDGE, "int32", (2,), "1", Representation.INDEX),
    "edge_attr": Field(Level.EDGE, "float32", (-1,), "1"),
    "face": Field(Level.FACE, "int32", (3,), "1", Representation.INDEX),
    "y": Field(_G, "float32", (-1,), "per manifest"),
}
