"""Reproducible geometric deep learning across sciences: molecules, particle jets and meshes."""

__version__ = "0.1.0"
