// Mixed Clebsch-Gordan products of the fragments of a signal, and their gradients.
//
// Columns are taken in blocks of a few vectors, for which input, output and the products of one pair of
// fragments stay in the innermost cache. Coupling coefficients are lists of their nonzero entries: by
// component of the result on the way forward, by pair of components on the way back, so that every sum is
// gathered.
#include <algorithm>
#include <vector>

#include "vec.h"

namespace gg {
namespace {

constexpr int kVectors = 2;

template <typename T> struct Wide {
  V<T> v[kVectors];
};
template <typename T> constexpr long kColumns = kVectors * L<T>;

template <typename T> GG_INLINE void fma(Wide<T> &sum, const Wide<T> &x, const Wide<T> &y) {
  for (int k = 0; k < kVectors; ++k) sum.v[k] += x.v[k] * y.v[k];
}
template <typename T> GG_INLINE void fma(Wide<T> &sum, T x, const Wide<T> &y) {
  const V<T> s = splat(x);
  for (int k = 0; k < kVectors; ++k) sum.v[k] += s * y.v[k];
}
template <typename T> GG_INLINE T total_of(const Wide<T> &x) {
  V<T> sum = x.v[0];
  for (int k = 1; k < kVectors; ++k) sum += x.v[k];
  return total<T>(sum);
}

// The tables of geograph/kernels/cpu/fragment_products.py, which builds them.
struct Pair {
  long left, left_size, left_tau, right, right_size, right_tau, target_begin, target_end, back_begin;
};
struct Target {
  long row, size, tau, weight, weight_stride, product, line_begin;
};
template <typename T> struct Tables {
  const Pair *pairs;
  const Target *targets;
  const int *line_ptr, *line_product;
  const T *line_value;
  const int *back_ptr, *back_line;
  const T *back_value;
  long num_pairs, rows_in, rows_out, num_weights, num_products, most_products, most_lines, most_tau;
};

template <typename T> void read(const T *from, long rows, long columns, long start, Wide<T> *to) {
  const long count = std::min(kColumns<T>, columns - start);
  for (long r = 0; r < rows; ++r) {
    T *row = reinterpret_cast<T *>(to + r);
    std::memcpy(row, from + r * columns + start, count * sizeof(T));
    std::fill(row + count, row + kColumns<T>, T(0));
  }
}
template <typename T> void write(const Wide<T> *from, long rows, long columns, long start, T *to) {
  const long count = std::min(kColumns<T>, columns - start);
  for (long r = 0; r < rows; ++r) std::memcpy(to + r * columns + start, from + r, count * sizeof(T));
}

template <typename T>
GG_INLINE void multiply(const Pair &p, const Wide<T> *left, const Wide<T> *right, Wide<T> *products) {
  for (long i = 0; i < p.left_size; ++i)
    for (long j = 0; j < p.right_size; ++j)
      for (int k = 0; k < kVectors; ++k)
        products[i * p.right_size + j].v[k] = left[i * p.left_tau].v[k] * right[j * p.right_tau].v[k];
}
template <typename T>
GG_INLINE Wide<T> gather(const int *index, const T *value, int begin, int end, const Wide<T> *from) {
  Wide<T> sum{};
  for (int e = begin; e < end; ++e) fma(sum, value[e], from[index[e]]);
  return sum;
}

template <typename T>
void forward_block(const Tables<T> &t, const Wide<T> *x, const T *weight, Wide<T> *y, Wide<T> *products,
                   T *squares) {
  for (long n = 0; n < t.num_pairs; ++n) {
    const Pair &p = t.pairs[n];
    for (long slot = 0; slot < p.left_tau * p.right_tau; ++slot) {
      multiply(p, x + p.left + slot / p.right_tau, x + p.right + slot % p.right_tau, products);
      for (long g = p.target_begin; g < p.target_end; ++g) {
        const Target &target = t.targets[g];
        const T *w = weight + target.weight + slot;
        Wide<T> square{};
        for (long m = 0; m < target.size; ++m) {
          const int *line = t.line_ptr + target.line_begin + m;
          const Wide<T> sum = gather(t.line_product, t.line_value, line[0], line[1], products);
          fma(square, sum, sum);
          Wide<T> *out = y + target.row + m * target.tau;
          for (long k = 0; k < target.tau; ++k) fma(out[k], w[k * target.weight_stride], sum);
        }
        if (squares) squares[target.product + slot] += total_of(square);
      }
    }
  }
}

template <typename T> struct Scratch {
  std::vector<Wide<T>> products, lines, sums;
  explicit Scratch(const Tables<T> &t) : products(t.most_products), lines(t.most_lines), sums(t.most_tau) {}
};

template <typename T>
void backward_block(const Tables<T> &t, const Wide<T> *x, const T *weight, const Wide<T> *dy, Wide<T> *dx,
                    T *dweight, Scratch<T> &s) {
  for (long n = 0; n < t.num_pairs; ++n) {
    const Pair &p = t.pairs[n];
    for (long slot = 0; slot < p.left_tau * p.right_tau; ++slot) {
      const long tl = p.left + slot / p.right_tau, tr = p.right + slot % p.right_tau;
      multiply(p, x + tl, x + tr, s.products.data());
      long row = 0;
      for (long g = p.target_begin; g < p.target_end; ++g) {
        const Target &target = t.targets[g];
        const long base = target.weight + slot;
        std::fill(s.sums.begin(), s.sums.begin() + target.tau, Wide<T>{});
        for (long m = 0; m < target.size; ++m) {
          const int *line = t.line_ptr + target.line_begin + m;
          const Wide<T> sum = gather(t.line_product, t.line_value, line[0], line[1], s.products.data());
          const Wide<T> *above = dy + target.row + m * target.tau;
          Wide<T> below{};
          for (long k = 0; k < target.tau; ++k) {
            fma(below, weight[base + k * target.weight_stride], above[k]);
            fma(s.sums[k], sum, above[k]);
          }
          s.lines[row++] = below;
        }
        for (long k = 0; k < target.tau; ++k) dweight[base + k * target.weight_stride] += total_of(s.sums[k]);
      }
      const int *back = t.back_ptr + p.back_begin;
      for (long i = 0; i < p.left_size; ++i) {
        Wide<T> dleft{};
        const Wide<T> left = x[tl + i * p.left_tau];
        for (long j = 0; j < p.right_size; ++j, ++back) {
          const Wide<T> d = gather(t.back_line, t.back_value, back[0], back[1], s.lines.data());
          fma(dleft, d, x[tr + j * p.right_tau]);
          fma(dx[tr + j * p.right_tau], d, left);
        }
        for (int k = 0; k < kVectors; ++k) dx[tl + i * p.left_tau].v[k] += dleft.v[k];
      }
    }
  }
}

// Sum the private results of the threads, in their order: the same bits for the same number of threads.
template <typename T> void reduce(const std::vector<std::vector<T>> &parts, T *to) {
  for (const auto &part : parts)
    for (size_t i = 0; i < part.size(); ++i) to[i] += part[i];
}

template <typename T>
void forward(const Tables<T> &t, const T *x, const T *weight, long columns, T *y, T *squares, int threads) {
  const long blocks = (columns + kColumns<T> - 1) / kColumns<T>;
  std::vector<std::vector<T>> parts(threads, std::vector<T>(squares ? t.num_products : 0));
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long part = 0; part < threads; ++part) {
    std::vector<Wide<T>> in(t.rows_in), out(t.rows_out), products(t.most_products);
    T *own = squares ? parts[part].data() : nullptr;
    for (long b = blocks * part / threads; b < blocks * (part + 1) / threads; ++b) {
      read(x, t.rows_in, columns, b * kColumns<T>, in.data());
      std::fill(out.begin(), out.end(), Wide<T>{});
      forward_block(t, in.data(), weight, out.data(), products.data(), own);
      write(out.data(), t.rows_out, columns, b * kColumns<T>, y);
    }
  }
  if (squares) reduce(parts, squares);
}

template <typename T>
void backward(const Tables<T> &t, const T *x, const T *weight, const T *dy, long columns, T *dx, T *dweight,
              int threads) {
  const long blocks = (columns + kColumns<T> - 1) / kColumns<T>;
  std::vector<std::vector<T>> parts(threads, std::vector<T>(t.num_weights));
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long part = 0; part < threads; ++part) {
    std::vector<Wide<T>> in(t.rows_in), above(t.rows_out), below(t.rows_in);
    Scratch<T> scratch(t);
    for (long b = blocks * part / threads; b < blocks * (part + 1) / threads; ++b) {
      read(x, t.rows_in, columns, b * kColumns<T>, in.data());
      read(dy, t.rows_out, columns, b * kColumns<T>, above.data());
      std::fill(below.begin(), below.end(), Wide<T>{});
      backward_block(t, in.data(), weight, above.data(), below.data(), parts[part].data(), scratch);
      write(below.data(), t.rows_in, columns, b * kColumns<T>, dx);
    }
  }
  reduce(parts, dweight);
}

}  // namespace
}  // namespace gg

#define GG_FRAGMENT_PRODUCTS(SUFFIX, T)                                                                    \
  extern "C" void gg_fragment_products_forward_##SUFFIX(const gg::Tables<T> *t, const T *x, const T *weight, \
                                                        long columns, T *y, T *squares, int threads) {     \
    gg::forward<T>(*t, x, weight, columns, y, squares, threads);                                           \
  }                                                                                                        \
  extern "C" void gg_fragment_products_backward_##SUFFIX(const gg::Tables<T> *t, const T *x,               \
                                                         const T *weight, const T *dy, long columns,       \
                                                         T *dx, T *dweight, int threads) {                 \
    gg::backward<T>(*t, x, weight, dy, columns, dx, dweight, threads);                                     \
  }
GG_FRAGMENT_PRODUCTS(f32, float)
GG_FRAGMENT_PRODUCTS(f64, double)
