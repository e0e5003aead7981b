// The edge network of geograph/kernels/edge_network.py on tiles of edges that stay in cache: the forward pass,
// the moments of z, and the functions that Python calls.
#include "edge_backward.h"

namespace gg {

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
