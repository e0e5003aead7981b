// Vectors of the machine's width by compiler extensions: no intrinsics, so any processor is served.
#pragma once
#include <cstdint>
#include <cstring>
#include <initializer_list>

#define GG_INLINE inline __attribute__((always_inline))

namespace gg {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
constexpr int kRows = 12;  // rows of a register tile: 12 x 2 of 32 registers hold sums
#elif defined(__AVX__)
constexpr int kBytes = 32;
constexpr int kRows = 6;
#else
constexpr int kBytes = 16;
constexpr int kRows = 6;
#endif

template <typename T> struct Vec {
  typedef T type __attribute__((vector_size(kBytes)));
  static constexpr int lanes = kBytes / sizeof(T);
};
template <typename T> using V = typename Vec<T>::type;
template <typename T> constexpr int L = Vec<T>::lanes;

template <typename T> GG_INLINE V<T> load(const T *p) {
  V<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <typename T> GG_INLINE void store(T *p, V<T> v) { std::memcpy(p, &v, sizeof v); }
template <typename T> GG_INLINE V<T> splat(T x) { return x - V<T>{}; }
template <typename T> GG_INLINE T total(V<T> v) {  // pairwise, in a fixed order
  T lane[L<T>];
  std::memcpy(lane, &v, sizeof v);
  for (int n = L<T> / 2; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) lane[i] += lane[i + n];
  return lane[0];
}
template <typename T> constexpr long padded(long n) { return (n + L<T> - 1) / L<T> * L<T>; }

// exp by range reduction to |r| <= ln(2) / 2 and a Taylor polynomial below the rounding error; NaN stays NaN.
GG_INLINE V<float> exponential(V<float> x) {
  typedef int32_t I __attribute__((vector_size(kBytes)));
  const V<float> low = splat(-87.0f), high = splat(88.0f), magic = splat(12582912.0f);
  x = x < low ? low : x;
  x = x > high ? high : x;
  V<float> shifted = x * splat(1.44269504088896f) + magic;
  V<float> n = shifted - magic;
  V<float> r = x - n * splat(0.693359375f) + n * splat(2.12194440e-4f);
  V<float> p = splat(1.0f / 5040);
  for (float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) p = p * r + splat(c);
  I bits, base;
  std::memcpy(&bits, &shifted, sizeof bits);
  std::memcpy(&base, &magic, sizeof base);
  bits = (bits - base + 127) << 23;
  V<float> scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}
GG_INLINE V<double> exponential(V<double> x) {
  typedef int64_t I __attribute__((vector_size(kBytes)));
  const V<double> low = splat(-708.0), high = splat(709.0), magic = splat(6755399441055744.0);
  x = x < low ? low : x;
  x = x > high ? high : x;
  V<double> shifted = x * splat(1.4426950408889634074) + magic;
  V<double> n = shifted - magic;
  V<double> r = x - n * splat(0.693147180369123816490) - n * splat(1.90821492927058770002e-10);
  V<double> p = splat(1.0 / 87178291200.0);
  for (double c : {1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0,
                   1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0})
    p = p * r + splat(c);
  I bits, base;
  std::memcpy(&bits, &shifted, sizeof bits);
  std::memcpy(&base, &magic, sizeof base);
  bits = (bits - base + 1023) << 52;
  V<double> scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}
template <typename T> GG_INLINE V<T> sigmoid(V<T> x) { return splat(T(1)) / (splat(T(1)) + exponential(-x)); }

}  // namespace gg
