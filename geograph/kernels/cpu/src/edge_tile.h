// One tile of edges of the edge network (geograph/kernels/edge_network.py): its buffers and its forward pass.
#pragma once
#include <algorithm>
#include <vector>

#include "gemm.h"

namespace gg {

constexpr long kTile = 48;    // edges in a tile, a multiple of kRows
constexpr long kCached = 4L << 20;  // rows of sources that take more bytes are fetched ahead of their use
constexpr long kFewScalars = 8;  // up to so many edge scalars are multiplied one by one

struct Shape {
  long nodes, edges, hidden, scalars, messages, head;
};

// Pointers into the arrays of the caller; null where a part is left out. Rows of target, source, total and
// their gradients are padded to whole vectors.
template <typename T> struct Args {
  const T *target, *source, *edge_attr, *edge_weight, *weight, *bias, *gate_weight, *gate_bias, *head_weight,
      *head_bias, *length_weight;
  const int64_t *edge_source, *ptr;
};
template <typename T> struct Grads {
  const T *total, *length;
  T *target, *source, *edge_attr, *edge_weight, *weight, *bias, *gate_weight, *gate_bias, *head_weight,
      *head_bias, *length_weight;
};

template <typename T> T *aligned(std::vector<T> &keep, size_t count) {
  keep.assign(count + 64 / sizeof(T), T(0));
  auto address = reinterpret_cast<uintptr_t>(keep.data());
  return keep.data() + (64 - address % 64) % 64 / sizeof(T);
}
// Fetch a row that will be read (or, with 1, changed) soon.
template <int Change = 0, typename T> GG_INLINE void prefetch(const T *row, long width) {
  for (long n = 0; n < width; n += 64 / sizeof(T)) __builtin_prefetch(row + n, Change, 2);
}
// Rows of tile buffers are skewed, so that a column of panels does not fall into few cache sets.
template <typename T> constexpr long skewed(long n) { return padded<T>(n) + L<T>; }

// Weights in the layouts that the products want, shared by all threads.
template <typename T> struct Packed {
  std::vector<T> keep[10];
  T *edge, *edge_back, *forward, *backward, *bias, *gate, *head, *head_back, *head_bias, *length;
  Packed(const Shape &s, const Args<T> &a, bool wants_backward) {
    const long h = padded<T>(s.hidden), m = padded<T>(s.messages), p = padded<T>(s.head);
    edge = aligned(keep[0], s.scalars * h);
    pack(a.edge_weight, 1, s.scalars, s.scalars, s.hidden, edge);
    forward = aligned(keep[1], s.hidden * m);
    pack(a.weight, 1, s.hidden, s.hidden, s.messages, forward);
    backward = aligned(keep[2], wants_backward ? s.messages * h : 0);
    if (wants_backward) pack(a.weight, s.hidden, 1, s.messages, s.hidden, backward);
    bias = row(keep[3], a.bias, s.messages);
    gate = row(keep[4], a.gate_weight, s.messages);
    head = aligned(keep[5], s.messages * p);
    head_back = aligned(keep[6], wants_backward ? s.head * m : 0);
    if (s.head) pack(a.head_weight, 1, s.messages, s.messages, s.head, head);
    if (s.head && wants_backward) pack(a.head_weight, s.messages, 1, s.head, s.messages, head_back);
    head_bias = row(keep[7], a.head_bias, s.head);
    length = row(keep[8], a.length_weight, s.head ? s.head : s.messages);
    edge_back = aligned(keep[9], wants_backward ? s.hidden * padded<T>(s.scalars) : 0);
    if (wants_backward) pack(a.edge_weight, s.scalars, 1, s.hidden, s.scalars, edge_back);
  }
  static T *row(std::vector<T> &keep, const T *from, long count) {
    T *to = aligned(keep, padded<T>(count) + 2 * L<T>);
    if (from) std::copy(from, from + count, to);
    return to;
  }
};

// Activation in place; with a second buffer its derivative too.
template <typename T, bool Relu> inline void activate(T *z, T *slope, long rows, long width, long ld) {
  const V<T> one = splat(T(1)), none = V<T>{};
  for (long r = 0; r < rows; ++r)
    for (long n = 0; n < width; n += L<T>) {
      V<T> x = load(z + r * ld + n);
      if constexpr (Relu) {
        store(z + r * ld + n, x < none ? none : x);
        if (slope) store(slope + r * ld + n, x > none ? one : none);
      } else {
        V<T> s = sigmoid<T>(x), y = x * s;
        store(z + r * ld + n, y);
        if (slope) store(slope + r * ld + n, s + y * (one - s));
      }
    }
}
template <typename T> GG_INLINE T dot(const T *a, const T *b, long width) {
  V<T> sum{};
  for (long n = 0; n < width; n += L<T>) sum += load(a + n) * load(b + n);
  return gg::total<T>(sum);
}
template <typename T> GG_INLINE void add_scaled(T *to, T factor, const T *from, long width) {
  const V<T> f = splat(factor);
  for (long n = 0; n < width; n += L<T>) store(to + n, load(to + n) + f * load(from + n));
}
template <typename T> GG_INLINE void add(T *to, const T *from, long width) {
  for (long n = 0; n < width; n += L<T>) store(to + n, load(to + n) + load(from + n));
}

// to += sum over rows of factor[r * step] * from[r], the sum on its own first, as with Start::add.
template <typename T>
inline void add_rows(T *to, const T *factor, long step, const T *from, long ld, long rows, long width) {
  for (long n = 0; n < width; n += L<T>) {
    V<T> sum{};
    for (long r = 0; r < rows; ++r) sum += splat(factor[r * step]) * load(from + r * ld + n);
    store(to + n, load(to + n) + sum);
  }
}
template <typename T> inline void add_rows(T *to, const T *from, long ld, long rows, long width) {
  for (long n = 0; n < width; n += L<T>) {
    V<T> sum{};
    for (long r = 0; r < rows; ++r) sum += load(from + r * ld + n);
    store(to + n, load(to + n) + sum);
  }
}

// One tile: its edges, buffers and forward pass.
template <typename T, bool Relu> struct Tile {
  const Shape &s;
  const Args<T> &a;
  const Packed<T> &w;
  const long h, m, p, lh, lm, lp, lk;
  const bool is_far;
  std::vector<T> keep;
  std::vector<T> plain_edge;  // edge weights as rows, where they are multiplied one by one
  T *z1, *slope1, *z2, *slope2, *gated, *z3, *slope3, *grad_m, *grad_z1, *grad_z3, *grad_e;
  T gate[kTile], inner[kTile];
  long node[kTile], from[kTile], first = 0, rows = 0;

  Tile(const Shape &s, const Args<T> &a, const Packed<T> &w, bool wants_backward)
      : s(s), a(a), w(w), h(padded<T>(s.hidden)), m(padded<T>(s.messages)), p(padded<T>(s.head)),
        lh(skewed<T>(s.hidden)), lm(skewed<T>(s.messages)), lp(skewed<T>(s.head)), lk(padded<T>(s.scalars)),
        is_far(s.nodes * h * long(sizeof(T)) > kCached) {
    const long wide = wants_backward ? kTile : 0;
    T *at = aligned(keep, kTile * (lh + lm + lp) + wide * (2 * lh + 3 * lm + 2 * lp + lk));
    auto take = [&](long count) { T *here = at; at += count; return here; };
    z1 = take(kTile * lh), z2 = take(kTile * lm), z3 = take(kTile * lp);
    slope1 = wide ? take(kTile * lh) : nullptr;
    slope2 = wide ? take(kTile * lm) : nullptr;
    gated = wide ? take(kTile * lm) : z2;
    grad_m = wide ? take(kTile * lm) : nullptr;
    grad_z1 = wide ? take(kTile * lh) : nullptr;
    grad_e = wide ? take(kTile * lk) : nullptr;
    slope3 = wide ? take(kTile * lp) : nullptr;
    grad_z3 = wide ? take(kTile * lp) : nullptr;
    if (s.scalars <= kFewScalars) {
      plain_edge.assign(s.scalars * h, T(0));
      for (long k = 0; k < s.scalars; ++k)
        for (long n = 0; n < s.hidden; ++n) plain_edge[k * h + n] = a.edge_weight[n * s.scalars + k];
    }
  }

  // Choose the edges [begin, end) at most kTile of them; `hint` is a node at or before the first target.
  long open(long begin, long end, long hint) {
    first = begin, rows = std::min(kTile, end - begin);
    for (long r = 0; r < rows; ++r) {
      while (begin + r >= a.ptr[hint + 1]) ++hint;
      node[r] = hint, from[r] = a.edge_source[begin + r];
    }
    return hint;
  }
  // Rows up to a whole register tile are computed; those beyond the edges are zero.
  long whole() const { return (rows + kRows - 1) / kRows * kRows; }

  void pair() {  // z1 = target_i + source_j + W_e e
    for (long r = 0; r < rows; ++r) {
      const T *t = a.target + node[r] * h, *f = a.source + from[r] * h;
      T *z = z1 + r * lh;
      if (is_far && first + r + kTile < s.edges) prefetch(a.source + a.edge_source[first + r + kTile] * h, h);
      if (s.scalars > kFewScalars) {
        for (long n = 0; n < h; n += L<T>) store(z + n, load(t + n) + load(f + n));
        continue;
      }
      const T *e = a.edge_attr + (first + r) * s.scalars;
      for (long n = 0; n < h; n += L<T>) {
        V<T> x = load(t + n) + load(f + n);
        for (long k = 0; k < s.scalars; ++k) x += splat(e[k]) * load(plain_edge.data() + k * h + n);
        store(z + n, x);
      }
    }
    for (long r = rows; r < whole(); ++r) std::fill(z1 + r * lh, z1 + r * lh + h, T(0));
    if (s.scalars > kFewScalars)
      gemm<T, Start::keep, false, true>(a.edge_attr + first * s.scalars, s.scalars, w.edge, 0, rows, s.scalars, h,
                                        z1, lh);
  }
  void forward() {
    pair();
    activate<T, Relu>(z1, slope1, whole(), h, lh);
    gemm<T, Start::bias, false, true>(z1, lh, w.forward, 0, whole(), s.hidden, m, z2, lm, w.bias);
    activate<T, Relu>(z2, slope2, whole(), m, lm);
    if (a.gate_weight) {
      for (long r = 0; r < rows; ++r) {
        const V<T> g = sigmoid<T>(splat(dot(z2 + r * lm, w.gate, m) + a.gate_bias[0]));
        gate[r] = g[0];
        for (long n = 0; n < m; n += L<T>) store(gated + r * lm + n, g * load(z2 + r * lm + n));
      }
    } else if (gated != z2) {
      for (long r = 0; r < rows; ++r) std::copy(z2 + r * lm, z2 + r * lm + m, gated + r * lm);
    }
    if (gated != z2)
      for (long r = rows; r < whole(); ++r) std::fill(gated + r * lm, gated + r * lm + m, T(0));
    if (!a.length_weight || !s.head) return;
    gemm<T, Start::bias, false, true>(gated, lm, w.head, 0, whole(), s.messages, p, z3, lp, w.head_bias);
    activate<T, Relu>(z3, slope3, whole(), p, lp);
  }
  T length(long r) const { return s.head ? dot(z3 + r * lp, w.length, p) : dot(gated + r * lm, w.length, m); }
};

}  // namespace gg
