// The edge network of geograph/kernels/edge_network.py on tiles of edges that stay in cache, forward and
// backward. Chunks of whole segments go to the threads; how many there are depends on the problem alone, and
// what they share is summed in their order, so the result does not depend on the number of threads.
#include "edge_tile.h"

namespace gg {

// Chunks of whole segments with about equal numbers of edges: nodes [cut[c], cut[c + 1]).
inline std::vector<long> cuts(const Shape &s, const int64_t *ptr) {
  const long most = s.edges < (1L << 18) ? 16 : 64;
  const long count = std::max(1L, std::min(most, s.edges / 1024));
  std::vector<long> cut{0};
  for (long c = 1; c < count; ++c) {
    const long wanted = s.edges * c / count;
    const long node = std::lower_bound(ptr, ptr + s.nodes + 1, wanted) - ptr;
    if (node > cut.back() && node < s.nodes) cut.push_back(node);
  }
  cut.push_back(s.nodes);
  return cut;
}

// Sums that a chunk makes of its own: weights, and source rows of the range that its edges come from.
template <typename T> struct Partial {
  long low = 0, high = 0;
  std::vector<T> keep[8];
  T *source, *edge, *weight, *bias, *gate, *head, *head_bias, *length, gate_bias = 0;
  void open(const Shape &s, const int64_t *edge_source, long begin, long end) {
    low = s.nodes, high = 0;
    for (long e = begin; e < end; ++e) {
      low = std::min<long>(low, edge_source[e]);
      high = std::max<long>(high, edge_source[e] + 1);
    }
    if (high < low) low = high = 0;
    const long h = padded<T>(s.hidden), m = padded<T>(s.messages), p = padded<T>(s.head);
    source = aligned(keep[0], (high - low) * h);
    edge = aligned(keep[1], s.scalars * h);
    weight = aligned(keep[2], s.messages * h);
    bias = aligned(keep[3], m);
    gate = aligned(keep[4], m);
    head = aligned(keep[5], s.head * m);
    head_bias = aligned(keep[6], p);
    length = aligned(keep[7], std::max(m, p));
  }
};

// Spread the gradient of z1 onto target, source, scalars and their weight.
template <typename T> struct Spread {
  const Shape &s;
  const Args<T> &a;
  const Grads<T> &g;
  const T *plain_edge, *edge_back;
  T *grad_e;
  const long h, lh, lk;

  void operator()(const T *z1, long first, long rows, const long *node, const long *from, Partial<T> &part) {
    for (long r = 0, stop; r < rows; r = stop) {  // runs of edges of one target
      for (stop = r + 1; stop < rows && node[stop] == node[r];) ++stop;
      add_rows(g.target + node[r] * h, z1 + r * lh, lh, stop - r, h);
    }
    for (long r = 0; r < rows; ++r) add(part.source + (from[r] - part.low) * h, z1 + r * lh, h);
    const T *e = a.edge_attr + first * s.scalars;
    T *to = g.edge_attr + first * s.scalars;
    if (s.scalars > kFewScalars) {
      gemm<T, Start::add, true, false>(e, s.scalars, z1, lh, s.scalars, rows, h, part.edge, h);
      gemm<T, Start::zero, false, true>(z1, lh, edge_back, 0, rows, s.hidden, lk, grad_e, lk);
      for (long r = 0; r < rows; ++r) std::copy(grad_e + r * lk, grad_e + r * lk + s.scalars, to + r * s.scalars);
      return;
    }
    for (long k = 0; k < s.scalars; ++k) {
      add_rows(part.edge + k * h, e + k, s.scalars, z1, lh, rows, h);
      for (long r = 0; r < rows; ++r) to[r * s.scalars + k] = dot(z1 + r * lh, plain_edge + k * h, h);
    }
  }
};

// Gradients of one tile, from its recomputed forward pass down to grad z1.
template <typename T, bool Relu>
void backward_tile(Tile<T, Relu> &t, const Grads<T> &g, Partial<T> &part) {
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
    add_rows(part.length, g.length + t.first, 1, t.z3, t.lp, t.rows, p);
    add_rows(part.head_bias, t.grad_z3, t.lp, t.rows, p);
    gemm<T, Start::add, true, false>(t.grad_z3, t.lp, t.gated, t.lm, s.head, t.rows, m, part.head, m);
    gemm<T, Start::keep, false, true>(t.grad_z3, t.lp, t.w.head_back, 0, t.whole(), s.head, m, t.grad_m, t.lm);
  } else if (g.length) {
    add_rows(part.length, g.length + t.first, 1, t.gated, t.lm, t.rows, m);
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
  if (t.a.gate_weight) add_rows(part.gate, t.inner, 1, t.z2, t.lm, t.rows, m), part.gate_bias += gate_bias;
  add_rows(part.bias, t.grad_m, t.lm, t.rows, m);
  gemm<T, Start::add, true, false>(t.grad_m, t.lm, t.z1, t.lh, s.messages, t.rows, h, part.weight, h);
  gemm<T, Start::zero, false, true>(t.grad_m, t.lm, t.w.backward, 0, t.whole(), s.messages, h, t.grad_z1, t.lh);
  for (long r = 0; r < t.rows; ++r)
    for (long n = 0; n < h; n += L<T>)
      store(t.grad_z1 + r * t.lh + n, load(t.grad_z1 + r * t.lh + n) * load(t.slope1 + r * t.lh + n));
}

template <typename T, bool Relu>
void forward(const Shape &s, const Args<T> &a, T *total, T *length, int threads) {
  const Packed<T> packed(s, a, false);
  const std::vector<long> cut = cuts(s, a.ptr);
  const long chunks = cut.size() - 1;
#pragma omp parallel num_threads(threads)
  {
    Tile<T, Relu> tile(s, a, packed, false);
#pragma omp for schedule(dynamic, 1)
    for (long c = 0; c < chunks; ++c) {
      const long end = a.ptr[cut[c + 1]];
      long hint = cut[c];
      for (long e = a.ptr[cut[c]]; e < end; e += kTile) {
        hint = tile.open(e, end, hint);
        tile.forward();
        for (long r = 0, stop; total && r < tile.rows; r = stop) {  // runs of edges of one target
          for (stop = r + 1; stop < tile.rows && tile.node[stop] == tile.node[r];) ++stop;
          add_rows(total + tile.node[r] * tile.m, tile.gated + r * tile.lm, tile.lm, stop - r, tile.m);
        }
        for (long r = 0; length && r < tile.rows; ++r) length[e + r] = tile.length(r);
      }
    }
  }
}

// Sum what the chunks have made, in their order.
template <typename T>
void reduce(const Shape &s, const std::vector<Partial<T>> &parts, const Grads<T> &g, int threads) {
  const long h = padded<T>(s.hidden), m = padded<T>(s.messages), p = padded<T>(s.head);
  constexpr long block = 64;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long start = 0; start < s.nodes; start += block)
    for (const Partial<T> &part : parts) {
      const long low = std::max(start, part.low), high = std::min({start + block, s.nodes, part.high});
      if (low < high) add(g.source + low * h, part.source + (low - part.low) * h, (high - low) * h);
    }
  if (g.weight) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < s.messages; ++row)
      for (const Partial<T> &part : parts) add(g.weight + row * h, part.weight + row * h, h);
  }
  for (const Partial<T> &part : parts) {
    add(g.edge_weight, part.edge, s.scalars * h);
    if (!g.weight) continue;
    add(g.bias, part.bias, m);
    if (g.gate_weight) add(g.gate_weight, part.gate, m), g.gate_bias[0] += part.gate_bias;
    if (g.head_weight) add(g.head_weight, part.head, s.head * m), add(g.head_bias, part.head_bias, p);
    if (g.length_weight) add(g.length_weight, part.length, s.head ? p : m);
  }
}

template <typename T, bool Relu> void backward(const Shape &s, const Args<T> &a, const Grads<T> &g, int threads) {
  const Packed<T> packed(s, a, true);
  const std::vector<long> cut = cuts(s, a.ptr);
  const long chunks = cut.size() - 1;
  std::vector<Partial<T>> parts(chunks);
#pragma omp parallel num_threads(threads)
  {
    Tile<T, Relu> tile(s, a, packed, true);
    Spread<T> spread{s, a, g, tile.plain_edge.data(), packed.edge_back, tile.grad_e, tile.h, tile.lh, tile.lk};
#pragma omp for schedule(dynamic, 1)
    for (long c = 0; c < chunks; ++c) {
      const long begin = a.ptr[cut[c]], end = a.ptr[cut[c + 1]];
      long hint = cut[c];
      parts[c].open(s, a.edge_source, begin, end);
      for (long e = begin; e < end; e += kTile) {
        hint = tile.open(e, end, hint);
        tile.forward();
        backward_tile(tile, g, parts[c]);
        spread(tile.grad_z1, e, tile.rows, tile.node, tile.from, parts[c]);
      }
    }
  }
  reduce(s, parts, g, threads);
}

// Call `add_tile(sums of the chunk, tile)` with z of every tile; the chunks' sums are left in order.
template <typename T, typename F>
void over_pairs(const Shape &s, const Args<T> &a, int threads, std::vector<std::vector<T>> &sums, F &&add_tile) {
  const Packed<T> packed(s, a, false);
  const std::vector<long> cut = cuts(s, a.ptr);
  const long chunks = cut.size() - 1;
  sums.assign(chunks, std::vector<T>(padded<T>(s.hidden), T(0)));
#pragma omp parallel num_threads(threads)
  {
    Tile<T, true> tile(s, a, packed, false);
#pragma omp for schedule(dynamic, 1)
    for (long c = 0; c < chunks; ++c) {
      const long end = a.ptr[cut[c + 1]];
      long hint = cut[c];
      for (long e = a.ptr[cut[c]]; e < end; e += kTile) {
        hint = tile.open(e, end, hint);
        tile.pair();
        add_tile(sums[c].data(), tile);
      }
    }
  }
}

template <typename T> void moments(const Shape &s, const Args<T> &a, T *mean, T *var, int threads) {
  const long h = padded<T>(s.hidden);
  std::vector<std::vector<T>> sums;
  over_pairs<T>(s, a, threads, sums, [h](T *to, auto &t) { add_rows(to, t.z1, t.lh, t.rows, h); });
  for (const auto &sum : sums) add(mean, sum.data(), h);
  for (long n = 0; n < h; ++n) mean[n] /= T(s.edges);
  over_pairs<T>(s, a, threads, sums, [h, mean](T *to, auto &t) {
    for (long n = 0; n < h; n += L<T>) {
      V<T> sum{};
      for (long r = 0; r < t.rows; ++r) {
        const V<T> d = load(t.z1 + r * t.lh + n) - load(mean + n);
        sum += d * d;
      }
      store(to + n, load(to + n) + sum);
    }
  });
  for (const auto &sum : sums) add(var, sum.data(), h);
  for (long n = 0; n < h; ++n) var[n] /= T(s.edges);
}

template <typename T>
void moments_backward(const Shape &s, const Args<T> &a, const T *grad_mean, const T *grad_var, const T *mean,
                      const Grads<T> &g, int threads) {
  const Packed<T> packed(s, a, true);
  const std::vector<long> cut = cuts(s, a.ptr);
  const long chunks = cut.size() - 1;
  std::vector<Partial<T>> parts(chunks);
  const V<T> share = splat(T(1) / T(s.edges)), two = splat(T(2));
#pragma omp parallel num_threads(threads)
  {
    Tile<T, true> t(s, a, packed, true);
    Spread<T> spread{s, a, g, t.plain_edge.data(), packed.edge_back, t.grad_e, t.h, t.lh, t.lk};
#pragma omp for schedule(dynamic, 1)
    for (long c = 0; c < chunks; ++c) {
      const long begin = a.ptr[cut[c]], end = a.ptr[cut[c + 1]];
      long hint = cut[c];
      parts[c].open(s, a.edge_source, begin, end);
      for (long e = begin; e < end; e += kTile) {
        hint = t.open(e, end, hint);
        t.pair();
        for (long r = 0; r < t.rows; ++r)
          for (long n = 0; n < t.h; n += L<T>) {
            T *z = t.z1 + r * t.lh + n;
            store(z, share * (load(grad_mean + n) + two * load(grad_var + n) * (load(z) - load(mean + n))));
          }
        spread(t.z1, e, t.rows, t.node, t.from, parts[c]);
      }
    }
  }
  reduce(s, parts, g, threads);
}

}  // namespace gg

extern "C" long gg_vector_bytes() { return gg::kBytes; }

// Number of the first edge whose source is no node or whose target is not the segment it stands in; -1: none.
extern "C" long gg_first_bad_edge(const int64_t *source, const int64_t *target, const int64_t *ptr, long nodes) {
  for (long i = 0; i < nodes; ++i)
    for (long e = ptr[i]; e < ptr[i + 1]; ++e)
      if (target[e] != i || source[e] < 0 || source[e] >= nodes) return e;
  return -1;
}

#define GG_EXPORT(T, SUFFIX)                                                                                   \
  extern "C" void gg_messages_forward_##SUFFIX(const gg::Shape *s, const gg::Args<T> *a, T *total, T *length,  \
                                               int relu, int threads) {                                        \
    relu ? gg::forward<T, true>(*s, *a, total, length, threads)                                                \
         : gg::forward<T, false>(*s, *a, total, length, threads);                                              \
  }                                                                                                            \
  extern "C" void gg_messages_backward_##SUFFIX(const gg::Shape *s, const gg::Args<T> *a,                      \
                                                const gg::Grads<T> *g, int relu, int threads) {                \
    relu ? gg::backward<T, true>(*s, *a, *g, threads) : gg::backward<T, false>(*s, *a, *g, threads);           \
  }                                                                                                            \
  extern "C" void gg_moments_forward_##SUFFIX(const gg::Shape *s, const gg::Args<T> *a, T *mean, T *var,       \
                                              int threads) {                                                   \
    gg::moments<T>(*s, *a, mean, var, threads);                                                                \
  }                                                                                                            \
  extern "C" void gg_moments_backward_##SUFFIX(const gg::Shape *s, const gg::Args<T> *a, const T *grad_mean,   \
                                               const T *grad_var, const T *mean, const gg::Grads<T> *g,        \
                                               int threads) {                                                  \
    gg::moments_backward<T>(*s, *a, grad_mean, grad_var, mean, *g, threads);                                   \
  }
GG_EXPORT(float, f32)
GG_EXPORT(double, f64)
