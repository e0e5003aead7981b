"""Published data sets that can be fetched: where they lie, who made them, and under which licence.

No checksum stands here: it is asked from the archive's own record, or written down at the first download.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Base addresses that the table below refers to by name; `fetch` takes replacements, for instance a mirror.
HOSTS = {
    "zenodo": "https://zenodo.org",
    "figshare_api": "https://api.figshare.com/v2",
    "figshare": "https://ndownloader.figshare.com",
    "springer_figshare": "https://springernature.figshare.com/ndownloader",
    "quantum_machine": "http://quantum-machine.org",
    "quantum_machine_www": "http://www.quantum-machine.org",
    "princeton_3dvision": "http://3dvision.princeton.edu",
    "princeton_vision": "http://vision.princeton.edu",
}


@dataclass(frozen=True)
class ReferenceFile:
    """One file of a data set.

    Attributes
    ----------
    name
        Name in the archive and on disk.
    urls
        Where it can be fetched, in the order in which to try; ``{name}`` stands for an entry of `HOSTS`.
    """

    name: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class ReferenceSet:
    """A published data set.

    Attributes
    ----------
    title, citation, doi, licence
        What to cite and what is allowed; `doi` is empty where none was given.
    reader
        Module of `geograph.readers` that reads it.
    files
        Its files.
    archive
        Kind of archive that keeps a record with checksums; "none" if there is no such record.
    record
        Number of that record.
    """

    title: str
    citation: str
    doi: str
    licence: str
    reader: str
    files: tuple[ReferenceFile, ...]
    archive: Literal["zenodo", "figshare_collection", "none"] = "none"
    record: str = ""


REFERENCE_SETS = {
    "top_tagging": ReferenceSet(
        title="Top Quark Tagging Reference Dataset",
        citation="Kasieczka, Plehn, Thompson, Russell (2019); Kasieczka et al., SciPost Phys. 7, 014 (2019)",
        doi="10.5281/zenodo.2603256",
        licence="CC-BY-4.0",
        reader="top_tagging",
        files=(
            ReferenceFile("train.h5", ("{zenodo}/records/2603256/files/train.h5?download=1",)),
            ReferenceFile("val.h5", ("{zenodo}/records/2603256/files/val.h5?download=1",)),
            ReferenceFile("test.h5", ("{zenodo}/records/2603256/files/test.h5?download=1",)),
        ),
        archive="zenodo",
        record="2603256",
    ),
    "qm9": ReferenceSet(
        title="Quantum chemistry structures and properties of 134 kilo molecules",
        citation="Ramakrishnan, Dral, Rupp, von Lilienfeld, Sci. Data 1, 140022 (2014)",
        doi="10.6084/m9.figshare.c.978904",
        licence="CC0",
        reader="qm9",
        files=(
            ReferenceFile(
                "dsgdb9nsd.xyz.tar.bz2", ("{figshare}/files/3195389", "{springer_figshare}/files/3195389")
            ),
            ReferenceFile(
                "uncharacterized.txt", ("{figshare}/files/3195404", "{springer_figshare}/files/3195404")
            ),
        ),
        archive="figshare_collection",
        record="978904",
    ),
    "qm7": ReferenceSet(
        title="QM7: atomization energies of 7165 organic molecules",
        citation="Blum, Reymond, J. Am. Chem. Soc. 131, 8732 (2009); "
        "Rupp et al., Phys. Rev. Lett. 108, 058301 (2012)",
        doi="",
        licence="no licence given by the authors",
        reader="qm7",
        files=(
            ReferenceFile(
                "qm7.mat", ("{quantum_machine}/data/qm7.mat", "{quantum_machine_www}/data/qm7.mat")
            ),
        ),
    ),
    "modelnet10": ReferenceSet(
        title="ModelNet10: 4899 CAD models of 10 categories, not watertight",
        citation="Wu et al., 3D ShapeNets, CVPR 2015, arXiv:1406.5670",
        doi="",
        licence="academic use",
        reader="meshes",
        files=(
            ReferenceFile(
                "ModelNet10.zip",
                (
                    "{princeton_3dvision}/projects/2014/3DShapeNets/ModelNet10.zip",
                    "{princeton_vision}/projects/2014/3DShapeNets/ModelNet10.zip",
                ),
            ),
        ),
    ),
}
