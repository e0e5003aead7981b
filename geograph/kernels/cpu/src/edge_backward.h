// The backward pass of the edge network and of its moments: every tile is computed again and followed back.
#pragma once
#include "edge_chunks.h"

namespace gg {

// Spread the gradient of z1 onto target, source, scalars and their weight.
template <typename T> struct Spread {
  const Shape &s;
  const Args<T> &a;
  const Grads<T> &g;
  const T *plain_edge, *edge_back;
  T *grad_e;
  const long h, lh, lk;

  void operator()(const T *z1, long first, long rows, const long *node, Slot<T> &slot) {
    for (long r = 0, stop; r < rows; r = stop) {  // runs of edges of one target
      for (stop = r + 1; stop < rows && node[stop] == node[r];) ++stop;
      add_rows(g.target + node[r] * h, z1 + r * lh, lh, stop - r, h);
    }
    slot.take(z1, lh, first, rows, h);
    const T *e = a.edge_attr + first * s.scalars;
    T *to = g.edge_attr + first * s.scalars;
    if (s.scalars > kFewScalars) {
      gemm<T, Start::add, true, false>(e, s.scalars, z1, lh, s.scalars, rows, h, slot.edge, h);
      gemm<T, Start::zero, false, true>(z1, lh, edge_back, 0, rows, s.hidden, lk, grad_e, lk);
      for (long r = 0; r < rows; ++r) std::copy(grad_e + r * lk, grad_e + r * lk + s.scalars, to + r * s.scalars);
      return;
    }
    for (long k = 0; k < s.scalars; ++k) {
      add_rows(slot.edge + k * h, e + k, s.scalars, z1, lh, rows, h);
      for (long r = 0; r < rows; ++r) to[r * s.scalars + k] = dot(z1 + r * lh, plain_edge + k * h, h);
    }
  }
};

// Gradients of one tile, from its recomputed forward pass down to grad z1.
template <typename T, bool Relu>
void backward_tile(Tile<T, Relu> &t, const Grads<T> &g, Slot<T> &slot) {
  const Shape &s = t.s;
  const long h = t.h, m = t.m, p = t.p;
  for (long r = 0; r < t.whole(); ++r) {
    T *d = t.grad_m + r * t.lm;
    if (r < t.rows && g.total) std::copy(g.total + t.node[r] * m, g.total + t.node[r] * m + m, d);
    else std::fill(d, d + m, T(0));
  }
  if (g.length && s.head) {
    for (long r = 0; r < t.whole(); ++r) {
      const T factor = r < t.rows ? g.length[t.first + r] : T(0);
      T *d = t.grad_z3 + r * t.lp;
      for (long n = 0; n < p; n += L<T>)
        store(d + n, splat(factor) * load(t.w.length + n) * load(t.slope3 + r * t.lp + n));
    }
    add_rows(slot.length, g.length + t.first, 1, t.z3, t.lp, t.rows, p);
    add_rows(slot.head_bias, t.grad_z3, t.lp, t.rows, p);
    gemm<T, Start::add, true, false>(t.grad_z3, t.lp, t.gated, t.lm, s.head, t.rows, m, slot.head, m);
    gemm<T, Start::keep, false, true>(t.grad_z3, t.lp, t.w.head_back, 0, t.whole(), s.head, m, t.grad_m, t.lm);
  } else if (g.length) {
    add_rows(slot.length, g.length + t.first, 1, t.gated, t.lm, t.rows, m);
    for (long r = 0; r < t.rows; ++r) add_scaled(t.grad_m + r * t.lm, g.length[t.first + r], t.w.length, m);
  }
  T gate_bias = 0;
  for (long r = 0; r < t.rows; ++r) {
    T *d = t.grad_m + r * t.lm;
    T factor = 1, inner = 0;
    if (t.a.gate_weight) {
      factor = t.gate[r];
      inner = t.inner[r] = dot(d, t.z2 + r * t.lm, m) * factor * (1 - factor);
      gate_bias += inner;
    }
    for (long n = 0; n < m; n += L<T>) {
      V<T> x = splat(factor) * load(d + n) + splat(inner) * load(t.w.gate + n);
      store(d + n, x * load(t.slope2 + r * t.lm + n));
    }
  }
  if (t.a.gate_weight) add_rows(slot.gate, t.inner, 1, t.z2, t.lm, t.rows, m), slot.gate_bias += gate_bias;
  add_rows(slot.bias, t.grad_m, t.lm, t.rows, m);
  gemm<T, Start::add, true, false>(t.grad_m, t.lm, t.z1, t.lh, s.messages, t.rows, h, slot.weight, h);
  gemm<T, Start::zero, false, true>(t.grad_m, t.lm, t.w.backward, 0, t.whole(), s.messages, h, t.grad_z1, t.lh);
  for (long r = 0; r < t.rows; ++r)
    for (long n = 0; n < h; n += L<T>)
      store(t.grad_z1 + r * t.lh + n, load(t.grad_z1 + r * t.lh + n) * load(t.slope1 + r * t.lh + n));
}

// Call `add_tile(tile, spread, slot)` with every tile of edges, opened, and bring the sums together.
template <typename T, bool Relu, typename F>
void over_tiles(const Shape &s, const Args<T> &a, const Grads<T> &g, int threads, F &&add_tile) {
  const Packed<T> packed(s, a, true);
  const long h = padded<T>(s.hidden);
  const Plan plan(s, a.edge_source, a.ptr, h * sizeof(T), threads);
  std::vector<Slot<T>> slots(plan.slots());
  const long chunks = plan.chunks(), wave = slots.size();
#pragma omp parallel num_threads(threads)
  {
    Tile<T, Relu> tile(s, a, packed, true);
    Spread<T> spread{s, a, g, tile.plain_edge.data(), packed.edge_back, tile.grad_e, tile.h, tile.lh, tile.lk};
    for (long first = 0; first < chunks; first += wave) {
      const long last = std::min(first + wave, chunks);
#pragma omp for schedule(dynamic, 1)
      for (long c = first; c < last; ++c) {
        Slot<T> &slot = slots[c - first];
        const long end = a.ptr[plan.cut[c + 1]];
        long hint = plan.cut[c];
        if (!first) slot.open(s, a);
        slot.begin(plan, c, a.ptr, h);
        for (long e = slot.first; e < end; e += kTile) {
          hint = tile.open(e, end, hint);
          add_tile(tile, spread, slot);
        }
        if (!plan.is_private) slot.sort(end, s.nodes);
      }
      if (plan.is_private) continue;
#pragma omp for schedule(dynamic, 1)
      for (long block = 0; block < kBlocks; ++block)
        for (long k = 0; k < last - first; ++k) slots[k].give(block, g.source, h);
    }
  }
  reduce(s, slots, g, threads);
}

template <typename T, bool Relu> void backward(const Shape &s, const Args<T> &a, const Grads<T> &g, int threads) {
  over_tiles<T, Relu>(s, a, g, threads, [&g](Tile<T, Relu> &t, Spread<T> &spread, Slot<T> &slot) {
    t.forward();
    backward_tile(t, g, slot);
    spread(t.grad_z1, t.first, t.rows, t.node, slot);
  });
}

template <typename T>
void moments_backward(const Shape &s, const Args<T> &a, const T *grad_mean, const T *grad_var, const T *mean,
                      const Grads<T> &g, int threads) {
  const V<T> share = splat(T(1) / T(s.edges)), two = splat(T(2));
  over_tiles<T, true>(s, a, g, threads, [=](Tile<T, true> &t, Spread<T> &spread, Slot<T> &slot) {
    t.pair();
    for (long r = 0; r < t.rows; ++r)
      for (long n = 0; n < t.h; n += L<T>) {
        T *z = t.z1 + r * t.lh + n;
        store(z, share * (load(grad_mean + n) + two * load(grad_var + n) * (load(z) - load(mean + n))));
      }
    spread(t.z1, t.first, t.rows, t.node, slot);
  });
}

}  // namespace gg
