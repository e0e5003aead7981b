"""The part of `params.yaml` that describes data: where records come from, how they are split and joined."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Part = Literal["train", "val", "test"]


class Strict(BaseModel):
    """Unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


# --- where records come from ---------------------------------------------------------------------------


class FilesSource(Strict):
    """Files that the user has; a relative path is looked up in $GEOGRAPH_DATA, then in data/downloads."""

    kind: Literal["files"]
    format: Literal["qm7", "qm9", "atoms", "top_tagging", "jetclass", "meshes", "nbody"]
    path: str
    exclude: str | None = None  # list of records to leave out (QM9: uncharacterized.txt)
    has_beam_frame: bool = True  # False where every jet was transformed on its own
    limit: Positive | None = None  # read only the first records
    max_rejected: Count = 0


class ReferenceSource(Strict):
    """A published data set, fetched by its DOI."""

    kind: Literal["reference"]
    name: str
    has_beam_frame: bool = True
    limit: Positive | None = None
    max_rejected: Count = 0


class GeneratedMolecules(Strict):
    """Random organic molecules at their GFN2-xTB minimum."""

    kind: Literal["generated"]
    num_molecules: Positive
    fmax_ev_per_angstrom: PositiveFloat = 0.05
    seed: int


class GeneratedJets(Strict):
    """Pythia events through a Delphes-like detector."""

    kind: Literal["generated"]
    num_background: Positive
    num_signal: Positive
    pt_hat_min_gev: PositiveFloat = 450.0
    pt_hat_max_gev: PositiveFloat = 800.0
    chunk_size: Positive = 1000
    seed: int

    @model_validator(mode="after")
    def _window(self) -> GeneratedJets:
        if self.pt_hat_max_gev <= self.pt_hat_min_gev:
            raise ValueError(f"pt_hat_max_gev must exceed pt_hat_min_gev ({self.pt_hat_min_gev})")
        return self


class GeneratedMeshes(Strict):
    """Fifteen classes of watertight shapes."""

    kind: Literal["generated"]
    num_per_class: Positive
    anisotropy: Annotated[float, Field(ge=0, lt=1)] = 0.45
    deformation: Annotated[float, Field(ge=0, lt=1)] = 0.15
    upright: bool = False  # all in the pose in which they are built, not rotated at random
    seed: int


class GeneratedNBody(Strict):
    """Charged particles, the published protocol."""

    kind: Literal["generated"]
    num_train: Positive
    num_val: Positive
    num_test: Positive
    protocol: Literal["egnn", "softened"] = "egnn"
    seed: int


class GeneratedCMB(Strict):
    """Gaussian temperature maps, and non-Gaussian ones of the same power spectrum."""

    kind: Literal["cmb"]
    num_per_class: Positive
    bandlimit: Positive
    strength: PositiveFloat  # of the non-Gaussianity
    spectrum: str = "planck"  # or `camb`, or a text file of C_l
    # how spectra are matched: on separate maps, or by a closed form that has no scatter
    transfer: Literal["ensemble", "expectation"] = "ensemble"
    num_transfer_maps: Positive = 256
    seed: int


class GeneratedDigits(Strict):
    """The handwritten digits of scikit-learn on the sphere."""

    kind: Literal["digits"]
    bandlimit: Positive
    limit: Positive | None = None  # digits in all
    centre: Literal["pole", "equator"] = "pole"  # where the images stand
    seed: int


class MapFiles(Strict):
    """A folder with one sub-folder of maps for each class: HEALPix (.fits) or equiangular (.npy)."""

    kind: Literal["files"]
    path: str
    bandlimit: Positive
    grid: Literal["gl", "dh", "soft", "mw"] = "dh"  # of .npy maps
    order: Literal["ring", "nested"] | None = None  # of HEALPix files that do not say it
    max_rejected: Count = 0
    limit: Positive | None = None


class Split(Strict):
    """How records are divided.

    `provided` takes what the source says (n-body generator, mesh folders `train` and `test`, QM7 folds).
    """

    kind: Literal["seeded", "provided", "qm7-folds", "qm9-edm"] = "seeded"
    val: Fraction = 0.1
    test: Fraction = 0.1
    test_fold: Annotated[int, Field(ge=0, le=4)] | None = None
    seed: int = 1

    @model_validator(mode="after")
    def _leave_a_train_part(self) -> Split:
        if self.val + self.test >= 1:
            raise ValueError("val + test must leave a share for train")
        if self.kind == "qm7-folds" and self.test_fold is None:
            raise ValueError("test_fold is required with kind qm7-folds")
        return self


# --- graphs --------------------------------------------------------------------------------------------


class MoleculeGraph(Strict):
    """Edges and targets of molecular graphs."""

    edges: Literal["complete", "radius", "knn"] = "complete"
    radius_angstrom: PositiveFloat | None = None
    k: Positive | None = None
    targets: list[str] = []


class JetGraph(Strict):
    """Edges and beams of jet graphs."""

    edges: Literal["complete", "knn"] = "complete"
    k: Positive | None = None
    use_beams: bool = True
    max_constituents: Positive | None = None


class MeshGraph(Strict):
    """Edges of mesh graphs: the sides of the triangles, or vertices that are near in space."""

    edges: Literal["mesh", "radius", "knn"] = "mesh"
    radius: PositiveFloat | None = None  # the largest radius of a mesh is one
    k: Positive | None = None


class NBodyGraph(Strict):
    """Particles form complete graphs."""


class MoleculeData(Strict):
    """A data set of molecules."""

    domain: Literal["molecules"]
    source: Annotated[GeneratedMolecules | FilesSource | ReferenceSource, Field(discriminator="kind")]
    split: Split = Split()
    graph: MoleculeGraph = MoleculeGraph()


class JetData(Strict):
    """A data set of jets."""

    domain: Literal["jets"]
    source: Annotated[GeneratedJets | FilesSource | ReferenceSource, Field(discriminator="kind")]
    split: Split = Split()
    graph: JetGraph = JetGraph()


class MeshData(Strict):
    """A data set of meshes."""

    domain: Literal["meshes"]
    source: Annotated[GeneratedMeshes | FilesSource | ReferenceSource, Field(discriminator="kind")]
    split: Split = Split()
    graph: MeshGraph = MeshGraph()


class NBodyData(Strict):
    """A data set of particle systems."""

    domain: Literal["nbody"]
    source: Annotated[GeneratedNBody | FilesSource, Field(discriminator="kind")]
    split: Split = Split(kind="provided")
    graph: NBodyGraph = NBodyGraph()


class MapData(Strict):
    """A data set of functions on spheres; it has no graphs, only projections."""

    domain: Literal["maps"]
    source: Annotated[GeneratedCMB | GeneratedDigits | MapFiles, Field(discriminator="kind")]
    split: Split = Split()


Dataset = Annotated[MoleculeData | JetData | MeshData | NBodyData | MapData, Field(discriminator="domain")]
