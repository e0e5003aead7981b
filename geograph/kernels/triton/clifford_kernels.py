"""Kernels of the geometric products; see `geograph.kernels.triton.clifford` for the notation."""

from __future__ import annotations

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def _pairs(left, right, partner, item, is_item, k, j, CHANNELS: tl.constexpr, BLADES: tl.constexpr,
           ACC: tl.constexpr):  # fmt: skip
    """Products x_(n,i) y_(n,p(i,j)) of a tile of items, for flat k = (n, i) and one out blade j."""
    is_pair = k < CHANNELS * BLADES
    pick = tl.load(partner + (k % BLADES) * BLADES + j, mask=is_pair, other=0)
    inside = is_item[:, None] & is_pair[None, :]
    row = item[:, None] * (CHANNELS * BLADES)
    x = tl.load(left + row + k[None, :], mask=inside, other=0.0).to(ACC)
    y = tl.load(right + row + (k - k % BLADES + pick)[None, :], mask=inside, other=0.0).to(ACC)
    return x * y


@triton.jit
@no_type_check
def _outputs(grad, item, is_item, output, j, OUTPUTS: tl.constexpr, BLADES: tl.constexpr, ACC: tl.constexpr):
    """Values of one blade j of some output channels, for a tile of items."""
    inside = is_item[:, None] & (output < OUTPUTS)[None, :]
    place = grad + item[:, None] * (OUTPUTS * BLADES) + output[None, :] * BLADES + j
    return tl.load(place, mask=inside, other=0.0).to(ACC)


@triton.jit
@no_type_check
def dense(left, right, mix, partner, result, items, CHANNELS: tl.constexpr, BLADES: tl.constexpr,
          OUTPUTS: tl.constexpr, ITEMS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr,
          ACC: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Fully connected product: one tile of items, some output channels and one out blade."""
    item = tl.program_id(0).to(tl.int64) * ITEMS + tl.arange(0, ITEMS)
    output = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    j = tl.program_id(2)
    is_item = item < items
    total = tl.zeros((ITEMS, COLUMNS), ACC)
    for start in range(0, CHANNELS * BLADES, STEP):
        k = start + tl.arange(0, STEP)
        pairs = _pairs(left, right, partner, item, is_item, k, j, CHANNELS, BLADES, ACC)
        inside = (k < CHANNELS * BLADES)[:, None] & (output < OUTPUTS)[None, :]
        place = mix + (j * CHANNELS * BLADES + k[:, None]) * OUTPUTS + output[None, :]
        factor = tl.load(place, mask=inside, other=0.0).to(DOT)
        total = tl.dot(pairs.to(DOT), factor, total, input_precision=PRECISION, out_dtype=ACC)
    place = result + item[:, None] * (OUTPUTS * BLADES) + output[None, :] * BLADES + j
    inside = is_item[:, None] & (output < OUTPUTS)[None, :]
    tl.store(place, total.to(result.dtype.element_ty), mask=inside)


@triton.jit
@no_type_check
def dense_factor(other, mix, grad, partner, result, items, PICK: tl.constexpr, CHANNELS: tl.constexpr,
                 BLADES: tl.constexpr, OUTPUTS: tl.constexpr, ITEMS: tl.constexpr, COLUMNS: tl.constexpr,
                 STEP: tl.constexpr, ACC: tl.constexpr, DOT: tl.constexpr,
                 PRECISION: tl.constexpr):  # fmt: skip
    """Gradient of one factor from the other one: a tile of items and some (channel, blade) columns.

    PICK is set for the right factor: its rows of mix are those of the left blade that goes with it.
    """
    item = tl.program_id(0).to(tl.int64) * ITEMS + tl.arange(0, ITEMS)
    k = tl.program_id(1) * STEP + tl.arange(0, STEP)
    is_item, is_pair = item < items, k < CHANNELS * BLADES
    inside = is_item[:, None] & is_pair[None, :]
    row = item[:, None] * (CHANNELS * BLADES)
    total = tl.zeros((ITEMS, STEP), ACC)
    for j in range(BLADES):
        pick = k - k % BLADES + tl.load(partner + (k % BLADES) * BLADES + j, mask=is_pair, other=0)
        mix_row = j * CHANNELS * BLADES + k
        if PICK:
            mix_row = j * CHANNELS * BLADES + pick
        spread = tl.zeros((ITEMS, STEP), ACC)
        for start in range(0, OUTPUTS, COLUMNS):
            output = start + tl.arange(0, COLUMNS)
            values = _outputs(grad, item, is_item, output, j, OUTPUTS, BLADES, ACC)
            mask = (output < OUTPUTS)[:, None] & is_pair[None, :]
            factor = tl.load(mix + mix_row[None, :] * OUTPUTS + output[:, None], mask=mask, other=0.0).to(DOT)
            spread = tl.dot(values.to(DOT), factor, spread, input_precision=PRECISION, out_dtype=ACC)
        total += spread * tl.load(other + row + pick[None, :], mask=inside, other=0.0).to(ACC)
    tl.store(result + row + k[None, :], total.to(result.dtype.element_ty), mask=inside)


@triton.jit
@no_type_check
def dense_mix(left, right, grad, partner, partial, items, each, CHANNELS: tl.constexpr, BLADES: tl.constexpr,
              OUTPUTS: tl.constexpr, ITEMS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr,
              ACC: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Part of the gradient of mix for one out blade, from `each` consecutive tiles of items."""
    part, j = tl.program_id(0).to(tl.int64), tl.program_id(2)
    blocks = (OUTPUTS + COLUMNS - 1) // COLUMNS
    k = (tl.program_id(1) // blocks) * STEP + tl.arange(0, STEP)
    output = (tl.program_id(1) % blocks) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((STEP, COLUMNS), ACC)
    for number in range(each):
        item = (part * each + number) * ITEMS + tl.arange(0, ITEMS)
        is_item = item < items
        pairs = _pairs(left, right, partner, item, is_item, k, j, CHANNELS, BLADES, ACC)
        values = _outputs(grad, item, is_item, output, j, OUTPUTS, BLADES, ACC)
        total = tl.dot(
            tl.trans(pairs.to(DOT)), values.to(DOT), total, input_precision=PRECISION, out_dtype=ACC
        )
    inside = (k < CHANNELS * BLADES)[:, None] & (output < OUTPUTS)[None, :]
    row = (part * BLADES + j) * CHANNELS * BLADES + k[:, None]
    tl.store(partial + row * OUTPUTS + output[None, :], total, mask=inside)


@triton.jit
@no_type_check
def single(left, right, mix, partner, result, items, PICK: tl.constexpr, CHANNELS: tl.constexpr,
           BLADES: tl.constexpr, ITEMS: tl.constexpr, WIDTH: tl.constexpr, ACC: tl.constexpr,
           DOT: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Product of one channel for a tile of items, or with PICK the gradient of a factor.

    The sum runs over the blade i of `left` for each j, or with PICK over the out blade of the gradient, which
    takes the place of `left`, for each blade of the factor.
    """
    item = tl.program_id(0).to(tl.int64) * ITEMS + tl.arange(0, ITEMS)
    channel = tl.program_id(1)
    j = tl.arange(0, WIDTH)
    is_item, is_blade = item < items, j < BLADES
    inside = is_item[:, None] & is_blade[None, :]
    row = (item * CHANNELS + channel) * BLADES
    total = tl.zeros((ITEMS, WIDTH), ACC)
    for i in range(BLADES):
        pair = i * BLADES + j
        if PICK:
            pair = j * BLADES + i
        pick = tl.load(partner + pair, mask=is_blade, other=0)
        factor = tl.load(mix + channel * (BLADES * BLADES) + pair, mask=is_blade, other=0.0).to(ACC)
        x = tl.load(left + row + i, mask=is_item, other=0.0).to(ACC)
        y = tl.load(right + row[:, None] + pick[None, :], mask=inside, other=0.0).to(ACC)
        total += x[:, None] * y * factor[None, :]
    tl.store(result + row[:, None] + j[None, :], total.to(result.dtype.element_ty), mask=inside)


@triton.jit
@no_type_check
def single_mix(left, right, grad, partner, partial, items, each, CHANNELS: tl.constexpr,
               BLADES: tl.constexpr, ITEMS: tl.constexpr, WIDTH: tl.constexpr, ACC: tl.constexpr,
               DOT: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Part of the gradient of mix of one channel, from `each` consecutive tiles of items."""
    part, channel = tl.program_id(0).to(tl.int64), tl.program_id(1)
    blade = tl.arange(0, WIDTH)
    is_blade = blade < BLADES
    pair = blade[:, None] * BLADES + blade[None, :]
    is_pair = is_blade[:, None] & is_blade[None, :]
    pick = tl.load(partner + pair, mask=is_pair, other=0)
    total = tl.zeros((WIDTH, WIDTH), ACC)
    for number in range(each):
        item = (part * each + number) * ITEMS + tl.arange(0, ITEMS)
        is_item = item < items
        row = (item * CHANNELS + channel) * BLADES
        inside = is_item[:, None] & is_blade[None, :]
        x = tl.load(left + row[:, None] + blade[None, :], mask=inside, other=0.0).to(ACC)
        g = tl.load(grad + row[:, None] + blade[None, :], mask=inside, other=0.0).to(ACC)
        mask = is_item[:, None, None] & is_pair[None, :, :]
        y = tl.load(right + row[:, None, None] + pick[None, :, :], mask=mask, other=0.0).to(ACC)
        total += tl.sum(x[:, :, None] * y * g[:, None, :], axis=0)
    place = partial + (part * CHANNELS + channel) * (BLADES * BLADES) + pair
    tl.store(place, total, mask=is_pair)
