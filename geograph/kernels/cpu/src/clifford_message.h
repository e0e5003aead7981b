// Quadratic messages between nodes as one matrix for each target.
//
// The fully connected product of linear maps of [u_i, u_j] splits into a part of the target, a part of the
// source and a part that is bilinear in both: y_ij = c_i + d_j + M_i u_j. M_i is linear in u_i, with
// constants that the weights decide; it serves all edges of the target and is never kept.
#pragma once

#include "clifford_edges.h"

namespace clifford {

constexpr int kTargets = 4;  // targets that share one pass over the constants

// M[(b, k), q] = sum over a of u[a, partner(k, q)] constants[(b, k), a, q], for rows (b, k) and columns
// q = (m, j) whose blades k and j vary fastest. The same form with rows and columns swapped gives M^T.
template <class T> struct Bilinear {
    const Algebra& algebra;
    int64_t sources, rows, columns;  // channels of u, rows of M, padded columns of M
    const T* constants;

    int64_t pattern() const { return std::max<int64_t>(algebra.blades, Simd<T>::W); }
    int64_t pattern_size() const { return algebra.blades * sources * pattern(); }
    int64_t size() const { return rows * columns; }

    // u[a, partner(k, .)] for each k and a, repeated up to a whole vector.
    void spread(const T* u, T* factors) const {
        const int64_t n = algebra.blades;
        for (int64_t k = 0; k < n; ++k)
            for (int64_t a = 0; a < sources; ++a)
                for (int64_t l = 0; l < pattern(); ++l) *factors++ = u[a * n + algebra.right[k * n + l % n]];
    }

    // Undo `spread` for a gradient.
    void gather(const T* factors, T* grad_u) const {
        const int64_t n = algebra.blades;
        for (int64_t k = 0; k < n; ++k)
            for (int64_t a = 0; a < sources; ++a)
                for (int64_t l = 0; l < pattern(); ++l)
                    grad_u[a * n + algebra.right[k * n + l % n]] += *factors++;
    }

    // M of kTargets targets one after the other.
    void build(const T* factors, T* matrices) const {
        constexpr int w = Simd<T>::W;
        const int64_t period = pattern(), stride = pattern_size();
        for (int64_t row = 0; row < rows; ++row) {
            const T* of_row = factors + row % algebra.blades * sources * period;
            for (int64_t q = 0; q < columns; q += w) {
                Vec<T> sum[kTargets] = {};
                for (int64_t a = 0; a < sources; ++a) {
                    const Vec<T> constant = load<T>(constants + (row * sources + a) * columns + q);
                    for (int t = 0; t < kTargets; ++t)
                        sum[t] += constant * load<T>(of_row + t * stride + a * period + q % period);
                }
                for (int t = 0; t < kTargets; ++t)
                    store<T>(matrices + t * size() + row * columns + q, sum[t]);
            }
        }
    }

    // Adds the gradients of the factors and of the constants, from those of kTargets matrices.
    void backward(const T* factors, const T* grad, T* grad_factors, T* grad_constants) const {
        constexpr int w = Simd<T>::W;
        const int64_t period = pattern(), stride = pattern_size();
        for (int64_t row = 0; row < rows; ++row)
            for (int64_t a = 0; a < sources; ++a)
                for (int64_t phase = 0; phase < period; phase += w) {
                    const int64_t at = (row % algebra.blades * sources + a) * period + phase;
                    Vec<T> factor[kTargets], sum[kTargets] = {};
                    for (int t = 0; t < kTargets; ++t) factor[t] = load<T>(factors + t * stride + at);
                    for (int64_t q = phase; q < columns; q += period) {
                        const int64_t place = (row * sources + a) * columns + q;
                        const Vec<T> constant = load<T>(constants + place);
                        Vec<T> total = load<T>(grad_constants + place);
                        for (int t = 0; t < kTargets; ++t) {
                            const Vec<T> slope = load<T>(grad + t * size() + row * columns + q);
                            total += slope * factor[t];
                            sum[t] += slope * constant;
                        }
                        store<T>(grad_constants + place, total);
                    }
                    for (int t = 0; t < kTargets; ++t) add_to<T>(grad_factors + t * stride + at, sum[t]);
                }
    }
};

// Norm over the channels and invariants of a tile of rows [channel, blade], without the channel padding.
template <class T> struct Norms {
    const Algebra& algebra;
    const int64_t channels, blades, width;
    const T* layer;
    std::vector<T> forms, spread;  // [blade, grade and one column for their sum], [grade, blade]

    Norms(const Algebra& algebra, int64_t channels, const T* layer)
        : algebra(algebra), channels(channels), blades(algebra.blades), width(padded<T>(algebra.grades + 1)),
          layer(layer), forms(blades * width, T(0)), spread(algebra.grades * padded<T>(blades), T(0)) {
        for (int64_t j = 0; j < blades; ++j) {
            forms[j * width + algebra.grade[j]] = forms[j * width + algebra.grades] = T(algebra.square[j]);
            if (j > 0) spread[algebra.grade[j] * padded<T>(blades) + j] = T(2 * algebra.square[j]);
        }
    }

    // forms: [rows, channel, width]; inverse: 1 / (mean norm + eps) of each row; norms: [rows, channel].
    void measure(int64_t rows, const T* y, int64_t stride, T* squares, T* q, T* norms, T* inverse) const {
        const int64_t n = channels * blades;
        for (int64_t t = 0; t < rows; ++t)
            for (int64_t i = 0; i < n; ++i) squares[t * n + i] = y[t * stride + i] * y[t * stride + i];
        product<T>(rows * channels, blades, width, squares, blades, forms.data(), width, q, width, false);
        for (int64_t i = 0; i < rows * channels; ++i) norms[i] = q[i * width + algebra.grades];
        for (int64_t i = 0; i < rows * channels; i += Simd<T>::W)
            store<T>(norms + i, smooth_norm<T>(load<T>(norms + i)));
        for (int64_t t = 0; t < rows; ++t) {
            T total = 0;
            for (int64_t m = 0; m < channels; ++m) total += norms[t * channels + m];
            inverse[t] = T(1) / (total / T(channels) + T(kDivisionEpsilon));
        }
    }

    // value = layer y / mean norm; flat = invariants of the value [rows, (channel, grade)].
    void apply(int64_t rows, const T* y, int64_t stride, const T* q, const T* inverse, T* value,
               T* flat) const {
        for (int64_t t = 0; t < rows; ++t)
            for (int64_t m = 0; m < channels; ++m) {
                const T scale = layer[m] * inverse[t];
                const T *from = y + t * stride + m * blades, *form = q + (t * channels + m) * width;
                T *to = value + (t * channels + m) * blades,
                  *invariant = flat + (t * channels + m) * algebra.grades;
                for (int64_t j = 0; j < blades; ++j) to[j] = from[j] * scale;
                for (int64_t g = 1; g < algebra.grades; ++g) invariant[g] = form[g] * scale * scale;
                invariant[0] = to[0];
            }
    }

    // Gradient of y (rows of `stride`) from those of the value and of its invariants.
    void backward(int64_t rows, const T* y, int64_t stride, const T* q, const T* norms, const T* inverse,
                  const T* grad_value, const T* grad_flat, int64_t flat_stride, T* terms, T* grad,
                  T* grad_layer) const {
        const int64_t wide = padded<T>(blades);
        std::vector<T> dots(channels);
        for (int64_t t = 0; t < rows; ++t) {
            const T* slopes = grad_flat + t * flat_stride;
            product<T>(channels, algebra.grades, wide, slopes, algebra.grades, spread.data(), wide, terms,
                       wide, false);
            T total = 0;
            for (int64_t m = 0; m < channels; ++m) {
                const T *from = y + t * stride + m * blades,
                        *given = grad_value + (t * channels + m) * blades;
                const T scale = layer[m] * inverse[t];
                T *to = grad + t * stride + m * blades, dot = 0;
                for (int64_t j = 0; j < blades; ++j) to[j] = given[j] + terms[m * wide + j] * from[j] * scale;
                to[0] += slopes[m * algebra.grades];
#pragma omp simd reduction(+ : dot)
                for (int64_t j = 0; j < blades; ++j) dot += to[j] * from[j];
                grad_layer[m] += dot * inverse[t];
                total += dot * layer[m];
            }
            const T slope = -total * inverse[t] * inverse[t] / T(channels);
            for (int64_t m = 0; m < channels; ++m) {
                const T* from = y + t * stride + m * blades;
                const T norm = norms[t * channels + m], scale = layer[m] * inverse[t];
                const T inner =
                    slope * q[(t * channels + m) * width + algebra.grades] / (norm * norm * norm) / 2;
                T* to = grad + t * stride + m * blades;
                for (int64_t j = 0; j < blades; ++j)
                    to[j] = to[j] * scale + inner * 2 * T(algebra.square[j]) * from[j];
            }
        }
    }
};

}  // namespace clifford
