"""Functions on the sphere and on SO(3): grids, transforms, scattering and ray casting."""
