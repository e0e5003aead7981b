"""Functions that kernels call: activations, and the tile of pair inputs z_ij = t_i + s_j + W_e e_ij.

All row numbers are int64, so that offsets into arrays of more than 2^31 elements do not overflow. The type
annotations of Triton are not for type checkers: every function here is marked so.
"""

from __future__ import annotations

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def sigmoid(x):
    """Logistic function that never overflows."""
    decay = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, decay) / (1.0 + decay)


@triton.jit
@no_type_check
def activate(x, RELU: tl.constexpr):
    """ReLU or SiLU."""
    if RELU:  # noqa: SIM108
        result = tl.where(x > 0, x, 0.0)
    else:
        result = x * sigmoid(x)
    return result


@triton.jit
@no_type_check
def slope(x, RELU: tl.constexpr):
    """Differentiate `activate`."""
    if RELU:
        result = tl.where(x > 0, 1.0, 0.0).to(x.dtype)
    else:
        logistic = sigmoid(x)
        result = logistic * (1.0 + x * (1.0 - logistic))
    return result


@triton.jit
@no_type_check
def ends(edge, is_edge, edge_source, edge_target):
    """Target and source of each edge of a tile."""
    node = tl.load(edge_target + edge, mask=is_edge, other=0)
    sender = tl.load(edge_source + edge, mask=is_edge, other=0)
    return node, sender


@triton.jit
@no_type_check
def rows(array, row, is_row, column, WIDTH: tl.constexpr, ACC: tl.constexpr):
    """Rows of a matrix of WIDTH columns, zero outside of it."""
    inside = is_row[:, None] & (column < WIDTH)[None, :]
    return tl.load(array + row[:, None] * WIDTH + column[None, :], mask=inside, other=0.0).to(ACC)


@triton.jit
@no_type_check
def put_rows(array, row, is_row, column, tile, WIDTH: tl.constexpr):
    """Store rows of a matrix of WIDTH columns, in its own type."""
    inside = is_row[:, None] & (column < WIDTH)[None, :]
    place = array + row[:, None] * WIDTH + column[None, :]
    tl.store(place, tile.to(array.dtype.element_ty), mask=inside)


@triton.jit
@no_type_check
def vector(array, column, WIDTH: tl.constexpr, ACC: tl.constexpr):
    """Vector of WIDTH entries, zero outside of it."""
    return tl.load(array + column, mask=column < WIDTH, other=0.0).to(ACC)


@triton.jit
@no_type_check
def pair_tile(
    target, source, edge_attr, edge_weight, edge, node, sender, is_edge, column,
    SCALARS: tl.constexpr, HIDDEN: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute some columns of z for a tile of edges; zero outside of the array."""
    z = rows(target, node, is_edge, column, HIDDEN, ACC)
    z += rows(source, sender, is_edge, column, HIDDEN, ACC)
    for k in range(SCALARS):
        scalar = tl.load(edge_attr + edge * SCALARS + k, mask=is_edge, other=0.0).to(ACC)
        factor = tl.load(edge_weight + column * SCALARS + k, mask=column < HIDDEN, other=0.0).to(ACC)
        z += scalar[:, None] * factor[None, :]
    return z


@triton.jit
@no_type_check
def block(matrix, row, column, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DOT: tl.constexpr):
    """Block of a matrix [ROWS, COLUMNS] with `row` along the first axis, zero outside of it."""
    inside = (row < ROWS)[:, None] & (column < COLUMNS)[None, :]
    return tl.load(matrix + row[:, None] * COLUMNS + column[None, :], mask=inside, other=0.0).to(DOT)


@triton.jit
@no_type_check
def block_t(matrix, row, column, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DOT: tl.constexpr):
    """Transposed block of a matrix [ROWS, COLUMNS]: `column` along the first axis."""
    inside = (column < COLUMNS)[:, None] & (row < ROWS)[None, :]
    return tl.load(matrix + row[None, :] * COLUMNS + column[:, None], mask=inside, other=0.0).to(DOT)


@triton.jit
@no_type_check
def linear_tile(
    target, source, edge_attr, edge_weight, weight, bias, edge, node, sender, is_edge, column,
    SCALARS: tl.constexpr, HIDDEN: tl.constexpr, MESSAGES: tl.constexpr, RELU: tl.constexpr,
    STEP: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr,
    ACC: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Tile of V act(z) + c, a few columns of z at a time."""
    y = tl.zeros((BLOCK, WIDTH), ACC) + vector(bias, column, MESSAGES, ACC)[None, :]
    for start in range(0, HIDDEN, STEP):
        h = start + tl.arange(0, STEP)
        z = pair_tile(
            target, source, edge_attr, edge_weight, edge, node, sender, is_edge, h, SCALARS, HIDDEN, ACC
        )
        factor = block_t(weight, column, h, MESSAGES, HIDDEN, DOT)
        y = tl.dot(activate(z, RELU).to(DOT), factor, y, input_precision=PRECISION, out_dtype=ACC)
    return y
