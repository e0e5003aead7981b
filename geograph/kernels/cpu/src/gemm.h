// Small matrix products on tiles that lie in cache: C (+)= A B, with C in registers.
#pragma once
#include "vec.h"

namespace gg {

// What a product begins with: nothing, C, a row for all; `add` sums from nothing and adds the sum to C, which
// keeps the rounding of a long chain of products small.
enum class Start { zero, keep, bias, add };

// R rows x N vectors of C. A is read at a[r * ar + k * ak], B at b[k * ldb + column].
template <typename T, int R, int N, Start S>
GG_INLINE void block(const T *__restrict a, long ar, long ak, const T *__restrict b, long ldb, long depth,
                     T *__restrict c, long ldc, const T *__restrict bias) {
  V<T> sum[R][N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      if constexpr (S == Start::zero || S == Start::add) sum[r][n] = V<T>{};
      else if constexpr (S == Start::keep) sum[r][n] = load(c + r * ldc + n * L<T>);
      else sum[r][n] = load(bias + n * L<T>);
    }
  for (long k = 0; k < depth; ++k) {
    V<T> right[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) right[n] = load(b + k * ldb + n * L<T>);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      V<T> left = splat(a[r * ar + k * ak]);
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[r][n] += left * right[n];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      T *to = c + r * ldc + n * L<T>;
      if constexpr (S == Start::add) store(to, load(to) + sum[r][n]);
      else store(to, sum[r][n]);
    }
}

// All rows of one panel of N vectors; TA: A is stored with its rows along k.
template <typename T, int N, Start S, bool TA>
inline void panel(const T *a, long lda, const T *b, long ldb, long rows, long depth, T *c, long ldc,
                  const T *bias) {
  const long ar = TA ? 1 : lda, ak = TA ? lda : 1;
  long r = 0;
  for (; r + kRows <= rows; r += kRows)
    block<T, kRows, N, S>(a + r * ar, TA ? 1 : lda, TA ? lda : 1, b, ldb, depth, c + r * ldc, ldc, bias);
  for (; r + 4 <= rows; r += 4) block<T, 4, N, S>(a + r * ar, ar, ak, b, ldb, depth, c + r * ldc, ldc, bias);
  for (; r < rows; ++r) block<T, 1, N, S>(a + r * ar, ar, ak, b, ldb, depth, c + r * ldc, ldc, bias);
}

// C[rows, width] (+)= A B with the columns of B in panels of two vectors and a last one of one.
// `step` is how far apart panels of B begin, `ldb` the distance of its rows inside a panel; both depend on
// the layout: packed (below) or plain rows (step = 2 L, ldb = row length).
template <typename T, Start S, bool TA, bool Packed>
inline void gemm(const T *a, long lda, const T *b, long ldb, long rows, long depth, long width, T *c, long ldc,
                 const T *bias = nullptr) {
  constexpr long two = 2 * L<T>;
  long n = 0;
  for (; n + two <= width; n += two)
    panel<T, 2, S, TA>(a, lda, Packed ? b + n * depth : b + n, Packed ? two : ldb, rows, depth, c + n, ldc,
                       bias ? bias + n : nullptr);
  if (n < width)
    panel<T, 1, S, TA>(a, lda, Packed ? b + n * depth : b + n, Packed ? long(L<T>) : ldb, rows, depth, c + n,
                       ldc, bias ? bias + n : nullptr);
}

// Pack B[k][n] = w[k * sk + n * sn], n < columns, into the panels above; columns beyond are zero.
template <typename T>
inline void pack(const T *w, long sk, long sn, long depth, long columns, T *out) {
  const long width = padded<T>(columns);
  constexpr long two = 2 * L<T>;
  for (long n = 0; n < width; n += two) {
    const long cols = width - n < two ? width - n : two;
    T *to = out + n * depth;
    for (long k = 0; k < depth; ++k)
      for (long m = 0; m < cols; ++m) to[k * cols + m] = n + m < columns ? w[k * sk + (n + m) * sn] : T(0);
  }
}

}  // namespace gg
