"""Groups and algebras: Euclidean, Minkowski and Clifford."""
