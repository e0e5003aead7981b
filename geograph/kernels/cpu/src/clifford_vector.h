// Vectors of one register, register-tiled matrix products and chunks of work for the Clifford kernels.
//
// Every result is the same for any number of threads: work is cut into chunks whose number depends on the
// problem only, each with its own partial sums, which are added in the order of the chunks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace clifford {

#ifdef __AVX512F__
constexpr int kBytes = 64, kAccumulators = 24;
#else
constexpr int kBytes = 32, kAccumulators = 12;
#endif

constexpr int64_t kPart = 48;  // length of a sum in one go
constexpr double kNormEpsilon = 1e-16, kDivisionEpsilon = 1e-6;

template <class T> struct Simd;
template <> struct Simd<float> {
    typedef float V __attribute__((vector_size(kBytes)));
    typedef int32_t I __attribute__((vector_size(kBytes)));
    static constexpr int W = kBytes / 4, kDegree = 7, kMantissa = 23, kBias = 127;
    static constexpr float kRound = 12582912.0f, kLow = -87.0f;  // 1.5 * 2^23
    static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
};
template <> struct Simd<double> {
    typedef double V __attribute__((vector_size(kBytes)));
    typedef int64_t I __attribute__((vector_size(kBytes)));
    static constexpr int W = kBytes / 8, kDegree = 13, kMantissa = 52, kBias = 1023;
    static constexpr double kRound = 6755399441055744.0, kLow = -708.0;  // 1.5 * 2^52
    static constexpr double kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;
};

template <class T> using Vec = typename Simd<T>::V;

template <class T> inline Vec<T> load(const T* p) {
    Vec<T> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <class T> inline void store(T* p, Vec<T> v) { std::memcpy(p, &v, sizeof v); }
template <class T> inline void add_to(T* p, Vec<T> v) { store<T>(p, load<T>(p) + v); }

template <class T> inline Vec<T> square_root(Vec<T> x) {
    T lanes[Simd<T>::W];
    store<T>(lanes, x);
    for (int l = 0; l < Simd<T>::W; ++l) lanes[l] = std::sqrt(lanes[l]);
    return load<T>(lanes);
}

template <class T> inline T lane_sum(Vec<T> x) {
    T lanes[Simd<T>::W];
    store<T>(lanes, x);
    for (int half = Simd<T>::W / 2; half > 0; half /= 2)
        for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    return lanes[0];
}

// exp(x) for x in [kLow, 0]: 2^n times the Taylor polynomial of the rest, which is at most ln 2 / 2.
template <class T> inline Vec<T> exp_negative(Vec<T> x) {
    using S = Simd<T>;
    const Vec<T> low = Vec<T>{} + S::kLow;
    x = x < low ? low : x;
    const Vec<T> shifted = x * T(1.4426950408889634) + S::kRound, n = shifted - S::kRound;
    const Vec<T> rest = (x - n * S::kLn2High) - n * S::kLn2Low;
    Vec<T> sum = Vec<T>{} + T(1);
    for (int k = S::kDegree; k >= 1; --k) sum = T(1) + sum * rest * (T(1) / T(k));
    const typename S::I power = (__builtin_convertvector(n, typename S::I) + S::kBias) << S::kMantissa;
    Vec<T> scale;
    std::memcpy(&scale, &power, sizeof scale);
    return sum * scale;
}

template <class T> inline Vec<T> sigmoid(Vec<T> x) {
    const Vec<T> small = exp_negative<T>(x < 0 ? x : -x), one = Vec<T>{} + T(1);
    return (x < 0 ? small : one) / (one + small);
}

// (q^2 + 1e-16)^(1/4), the square root of the absolute value of a quadratic form.
template <class T> inline Vec<T> smooth_norm(Vec<T> q) {
    return square_root<T>(square_root<T>(q * q + T(kNormEpsilon)));
}

template <class T> inline int64_t padded(int64_t n) {
    constexpr int64_t w = Simd<T>::W;
    return (n + w - 1) / w * w;
}

// ---- C[rows, n] (+)= A[rows, k] B[k, n], where n is nv vectors wide

template <class T, int R, int NV> inline void product_tile(int64_t k, const T* a, int64_t lda, const T* b,
                                                           int64_t ldb, T* c, int64_t ldc, bool add) {
    constexpr int w = Simd<T>::W;
    Vec<T> sum[R][NV];
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < NV; ++v) sum[r][v] = Vec<T>{};
    for (int64_t i = 0; i < k; ++i) {
        Vec<T> row[NV];
        for (int v = 0; v < NV; ++v) row[v] = load<T>(b + i * ldb + v * w);
        for (int r = 0; r < R; ++r) {
            const T scale = a[r * lda + i];
            for (int v = 0; v < NV; ++v) sum[r][v] += scale * row[v];
        }
    }
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < NV; ++v) {
            T* place = c + r * ldc + v * w;
            store<T>(place, add ? load<T>(place) + sum[r][v] : sum[r][v]);
        }
}

template <class T, int R, int NV> inline void product_rows(int64_t& row, int64_t rows, int64_t k, const T* a,
                                                           int64_t lda, const T* b, int64_t ldb, T* c,
                                                           int64_t ldc, bool add) {
    for (; row + R <= rows; row += R)
        product_tile<T, R, NV>(k, a + row * lda, lda, b, ldb, c + row * ldc, ldc, add);
}

template <class T, int NV> void product_columns(int64_t rows, int64_t k, const T* a, int64_t lda, const T* b,
                                                int64_t ldb, T* c, int64_t ldc, bool add) {
    int64_t row = 0;
    constexpr int most = NV == 1 ? kAccumulators / 2 : kAccumulators / NV;
    product_rows<T, most, NV>(row, rows, k, a, lda, b, ldb, c, ldc, add);
    if constexpr (most > 4) product_rows<T, 4, NV>(row, rows, k, a, lda, b, ldb, c, ldc, add);
    if constexpr (most > 2) product_rows<T, 2, NV>(row, rows, k, a, lda, b, ldb, c, ldc, add);
    product_rows<T, 1, NV>(row, rows, k, a, lda, b, ldb, c, ldc, add);
}

template <class T> void product_panel(int64_t rows, int64_t k, int64_t n, const T* a, int64_t lda, const T* b,
                                      int64_t ldb, T* c, int64_t ldc, bool add) {
    constexpr int w = Simd<T>::W;
    int64_t v = 0, nv = n / w;
    for (; nv - v >= 4 && nv - v != 5; v += 4)
        product_columns<T, 4>(rows, k, a, lda, b + v * w, ldb, c + v * w, ldc, add);
    for (; nv - v >= 3; v += 3) product_columns<T, 3>(rows, k, a, lda, b + v * w, ldb, c + v * w, ldc, add);
    for (; nv - v >= 2; v += 2) product_columns<T, 2>(rows, k, a, lda, b + v * w, ldb, c + v * w, ldc, add);
    for (; nv - v >= 1; v += 1) product_columns<T, 1>(rows, k, a, lda, b + v * w, ldb, c + v * w, ldc, add);
}

// Long sums are cut, so that rounding grows with the length of a part and not of the whole.
template <class T> void product(int64_t rows, int64_t k, int64_t n, const T* a, int64_t lda, const T* b,
                                int64_t ldb, T* c, int64_t ldc, bool add) {
    const int64_t parts = std::max<int64_t>((k + kPart / 2) / kPart, 1);
    for (int64_t part = 0; part < parts; ++part) {
        const int64_t first = k * part / parts, last = k * (part + 1) / parts;
        product_panel<T>(rows, last - first, n, a + first, lda, b + first * ldb, ldb, c, ldc,
                         add || part > 0);
    }
}

// ---- C[k, n] += A[rows, k]^T B[rows, n]

template <class T, int R, int NV>
inline void outer_tile(int64_t rows, const T* a, int64_t lda, const T* b, int64_t ldb, T* c, int64_t ldc) {
    constexpr int w = Simd<T>::W;
    Vec<T> sum[R][NV];
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < NV; ++v) sum[r][v] = Vec<T>{};
    for (int64_t t = 0; t < rows; ++t) {
        Vec<T> row[NV];
        for (int v = 0; v < NV; ++v) row[v] = load<T>(b + t * ldb + v * w);
        for (int r = 0; r < R; ++r) {
            const T scale = a[t * lda + r];
            for (int v = 0; v < NV; ++v) sum[r][v] += scale * row[v];
        }
    }
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < NV; ++v) add_to<T>(c + r * ldc + v * w, sum[r][v]);
}

template <class T, int NV> void outer_columns(int64_t rows, int64_t k, const T* a, int64_t lda, const T* b,
                                              int64_t ldb, T* c, int64_t ldc) {
    constexpr int most = NV == 1 ? kAccumulators / 2 : kAccumulators / NV;
    int64_t r = 0;
    for (; r + most <= k; r += most) outer_tile<T, most, NV>(rows, a + r, lda, b, ldb, c + r * ldc, ldc);
    if constexpr (most > 2)
        for (; r + 2 <= k; r += 2) outer_tile<T, 2, NV>(rows, a + r, lda, b, ldb, c + r * ldc, ldc);
    for (; r < k; ++r) outer_tile<T, 1, NV>(rows, a + r, lda, b, ldb, c + r * ldc, ldc);
}

template <class T> void outer(int64_t rows, int64_t k, int64_t n, const T* a, int64_t lda, const T* b,
                              int64_t ldb, T* c, int64_t ldc) {
    constexpr int w = Simd<T>::W;
    int64_t v = 0, nv = n / w;
    for (; nv - v >= 4 && nv - v != 5; v += 4)
        outer_columns<T, 4>(rows, k, a, lda, b + v * w, ldb, c + v * w, ldc);
    for (; nv - v >= 3; v += 3) outer_columns<T, 3>(rows, k, a, lda, b + v * w, ldb, c + v * w, ldc);
    for (; nv - v >= 2; v += 2) outer_columns<T, 2>(rows, k, a, lda, b + v * w, ldb, c + v * w, ldc);
    for (; nv - v >= 1; v += 1) outer_columns<T, 1>(rows, k, a, lda, b + v * w, ldb, c + v * w, ldc);
}

// ---- work

// Sum of `count` partial results of length n, in order.
template <class T> void reduce_chunks(const T* partial, int64_t count, int64_t n, T* total) {
    std::fill(total, total + n, T(0));
    for (int64_t chunk = 0; chunk < count; ++chunk)
        for (int64_t i = 0; i < n; ++i) total[i] += partial[chunk * n + i];
}

// Chunks of so many items: enough to share, few enough for a partial sum each.
inline int64_t chunk_count(int64_t items, int64_t least) { return std::clamp<int64_t>(items / least, 1, 16); }

// Calls body(chunk, first item, last item + 1).
template <class Body> void for_each_chunk(int64_t items, int64_t chunks, int64_t threads, Body body) {
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(dynamic, 1)
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
        body(chunk, items * chunk / chunks, items * (chunk + 1) / chunks);
}

// Numbers of an algebra that the kernels need; blades are ordered by grade.
struct Algebra {
    int64_t blades, grades, paths;
    const int64_t *grade, *right, *path;  // [blades], [left, out], [left, out]
    const double *sign, *square;          // [left, out], [blades]
};

}  // namespace clifford
