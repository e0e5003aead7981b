// Layers on a tile of multivectors, stored [blade][item][channel] with the channels padded to whole vectors.
//
// The padding of every value and weight is zero, so that it stays zero and adds nothing to any sum.
#pragma once

#include "clifford_vector.h"

namespace clifford {

// A stack of `items` rows of `width` channels for each blade.
struct Tile {
    int64_t items, width;
    int64_t at(int64_t blade, int64_t item) const { return (blade * items + item) * width; }
    int64_t plane() const { return items * width; }
};

template <class T> void read_tile(const T* from, const Algebra& algebra, int64_t channels, Tile tile, T* to) {
    for (int64_t item = 0; item < tile.items; ++item)
        for (int64_t blade = 0; blade < algebra.blades; ++blade) {
            T* row = to + tile.at(blade, item);
            std::copy_n(from + (item * algebra.blades + blade) * channels, channels, row);
            std::fill(row + channels, row + tile.width, T(0));
        }
}

template <class T>
void write_tile(const T* from, const Algebra& algebra, int64_t channels, Tile tile, T* to) {
    for (int64_t item = 0; item < tile.items; ++item)
        for (int64_t blade = 0; blade < algebra.blades; ++blade)
            std::copy_n(from + tile.at(blade, item), channels,
                        to + (item * algebra.blades + blade) * channels);
}

// First blade of each grade, and the end.
inline std::vector<int64_t> grade_starts(const Algebra& algebra) {
    std::vector<int64_t> starts(algebra.grades + 1, algebra.blades);
    for (int64_t blade = algebra.blades; blade-- > 0;) starts[algebra.grade[blade]] = blade;
    return starts;
}

// y (+)= W_g x for each grade g; weights [grade][in][out].
template <class T> void linear(const Algebra& algebra, int64_t in, const T* x, Tile from, const T* weight,
                               T* y, Tile to, bool add) {
    const auto starts = grade_starts(algebra);
    for (int64_t g = 0; g < algebra.grades; ++g)
        product<T>((starts[g + 1] - starts[g]) * from.items, in, to.width, x + from.at(starts[g], 0),
                   from.width, weight + g * in * to.width, to.width, y + to.at(starts[g], 0), to.width, add);
}

template <class T> void linear_weight_gradient(const Algebra& algebra, int64_t in, const T* x, Tile from,
                                               const T* grad, Tile to, T* grad_weight) {
    const auto starts = grade_starts(algebra);
    for (int64_t g = 0; g < algebra.grades; ++g)
        outer<T>((starts[g + 1] - starts[g]) * from.items, in, to.width, x + from.at(starts[g], 0),
                 from.width, grad + to.at(starts[g], 0), to.width, grad_weight + g * in * to.width, to.width);
}

// Sum over items of one plane.
template <class T> void sum_items(const T* plane, Tile tile, T* total) {
    for (int64_t item = 0; item < tile.items; ++item)
        for (int64_t c = 0; c < tile.width; c += Simd<T>::W)
            add_to<T>(total + c, load<T>(plane + item * tile.width + c));
}

// Calls body(offset, channel, grade, first blade, last blade + 1) for each vector of channels and grade.
template <class T, class Body> void for_each_grade(const Algebra& algebra, Tile tile, Body body) {
    const auto starts = grade_starts(algebra);
    for (int64_t item = 0; item < tile.items; ++item)
        for (int64_t c = 0; c < tile.width; c += Simd<T>::W)
            for (int64_t g = 0; g < algebra.grades; ++g)
                body(item * tile.width + c, c, g, starts[g], starts[g + 1]);
}

// Quadratic form of blades `first` to `last` at one place.
template <class T>
inline Vec<T> quadratic(const Algebra& algebra, const T* x, int64_t plane, int64_t first, int64_t last) {
    Vec<T> q = {};
    for (int64_t j = first; j < last; ++j) {
        const Vec<T> value = load<T>(x + j * plane);
        q += T(algebra.square[j]) * (value * value);
    }
    return q;
}

// x_g = z_g sigmoid(a_g I_g + b_g), with I_0 the scalar part and I_g the quadratic form of grade g.
template <class T> void gate(const Algebra& algebra, Tile tile, const T* z, const T* a, const T* b, T* x) {
    const int64_t plane = tile.plane();
    for_each_grade<T>(algebra, tile, [&](int64_t at, int64_t c, int64_t g, int64_t first, int64_t last) {
        const Vec<T> value = g ? quadratic<T>(algebra, z + at, plane, first, last) : load<T>(z + at);
        const int64_t p = g * tile.width + c;
        const Vec<T> scale = sigmoid<T>(load<T>(a + p) * value + load<T>(b + p));
        for (int64_t j = first; j < last; ++j)
            store<T>(x + at + j * plane, load<T>(z + at + j * plane) * scale);
    });
}

// Turns the gradient of x, in place, into that of z.
template <class T> void gate_backward(const Algebra& algebra, Tile tile, const T* z, const T* a, const T* b,
                                      T* grad, T* grad_a, T* grad_b) {
    const int64_t plane = tile.plane();
    for_each_grade<T>(algebra, tile, [&](int64_t at, int64_t c, int64_t g, int64_t first, int64_t last) {
        const Vec<T> value = g ? quadratic<T>(algebra, z + at, plane, first, last) : load<T>(z + at);
        const int64_t p = g * tile.width + c;
        const Vec<T> scale = sigmoid<T>(load<T>(a + p) * value + load<T>(b + p));
        Vec<T> slope = {};
        for (int64_t j = first; j < last; ++j)
            slope += load<T>(grad + at + j * plane) * load<T>(z + at + j * plane);
        slope *= scale * (T(1) - scale);
        add_to<T>(grad_a + p, slope * value);
        add_to<T>(grad_b + p, slope);
        slope *= load<T>(a + p);
        for (int64_t j = first; j < last; ++j) {
            T* place = grad + at + j * plane;
            const Vec<T> inner = g ? T(2 * algebra.square[j]) * load<T>(z + at + j * plane) : Vec<T>{} + T(1);
            store<T>(place, load<T>(place) * scale + slope * inner);
        }
    });
}

// r_g = x_g / (s_g (|x_g| - 1) + 1 + eps), with s the sigmoid of the learned parameter.
template <class T> void grade_norm(const Algebra& algebra, Tile tile, const T* x, const T* s, T* r) {
    const int64_t plane = tile.plane();
    for_each_grade<T>(algebra, tile, [&](int64_t at, int64_t c, int64_t g, int64_t first, int64_t last) {
        const Vec<T> norm = smooth_norm<T>(quadratic<T>(algebra, x + at, plane, first, last));
        const Vec<T> mix = load<T>(s + g * tile.width + c);
        const Vec<T> scale = T(1) / (mix * (norm - T(1)) + T(1) + T(kDivisionEpsilon));
        for (int64_t j = first; j < last; ++j)
            store<T>(r + at + j * plane, load<T>(x + at + j * plane) * scale);
    });
}

// Turns the gradient of r, in place, into that of x; the gradient of s is added up.
template <class T>
void grade_norm_backward(const Algebra& algebra, Tile tile, const T* x, const T* s, T* grad, T* grad_s) {
    const int64_t plane = tile.plane();
    for_each_grade<T>(algebra, tile, [&](int64_t at, int64_t c, int64_t g, int64_t first, int64_t last) {
        const Vec<T> q = quadratic<T>(algebra, x + at, plane, first, last), norm = smooth_norm<T>(q);
        const Vec<T> mix = load<T>(s + g * tile.width + c);
        const Vec<T> scale = T(1) / (mix * (norm - T(1)) + T(1) + T(kDivisionEpsilon));
        Vec<T> slope = {};
        for (int64_t j = first; j < last; ++j)
            slope += load<T>(grad + at + j * plane) * load<T>(x + at + j * plane);
        slope *= -scale * scale;
        add_to<T>(grad_s + g * tile.width + c, slope * (norm - T(1)));
        slope *= mix * q / (norm * norm * norm);
        for (int64_t j = first; j < last; ++j) {
            T* place = grad + at + j * plane;
            store<T>(place,
                     load<T>(place) * scale + slope * T(algebra.square[j]) * load<T>(x + at + j * plane));
        }
    });
}

// 1 / (mean over the channels of |y| + eps) for each item.
template <class T>
inline T layer_scale(const Algebra& algebra, Tile tile, int64_t channels, const T* y, int64_t item) {
    T total = 0;
    for (int64_t c = 0; c < tile.width; c += Simd<T>::W) {
        T norms[Simd<T>::W];
        store<T>(norms, smooth_norm<T>(quadratic<T>(algebra, y + item * tile.width + c, tile.plane(), 0,
                                                    algebra.blades)));
        for (int64_t l = 0; l < Simd<T>::W && c + l < channels; ++l) total += norms[l];
    }
    return T(1) / (total / T(channels) + T(kDivisionEpsilon));
}

// y = a y / (mean |y| + eps), in place.
template <class T> void layer_norm(const Algebra& algebra, Tile tile, int64_t channels, const T* a, T* y) {
    for (int64_t item = 0; item < tile.items; ++item) {
        const T scale = layer_scale<T>(algebra, tile, channels, y, item);
        for (int64_t j = 0; j < algebra.blades; ++j)
            for (int64_t c = 0; c < tile.width; c += Simd<T>::W) {
                T* place = y + tile.at(j, item) + c;
                store<T>(place, load<T>(place) * (scale * load<T>(a + c)));
            }
    }
}

// Turns the gradient of the normalised values, in place, into that of y.
template <class T> void layer_norm_backward(const Algebra& algebra, Tile tile, int64_t channels, const T* a,
                                            const T* y, T* grad, T* grad_a) {
    const int64_t plane = tile.plane();
    for (int64_t item = 0; item < tile.items; ++item) {
        const T scale = layer_scale<T>(algebra, tile, channels, y, item);
        Vec<T> total = {};
        for (int64_t c = 0; c < tile.width; c += Simd<T>::W) {
            Vec<T> dot = {};
            for (int64_t j = 0; j < algebra.blades; ++j)
                dot += load<T>(y + tile.at(j, item) + c) * load<T>(grad + tile.at(j, item) + c);
            add_to<T>(grad_a + c, dot * scale);
            total += dot * load<T>(a + c);
        }
        const T slope = -lane_sum<T>(total) * scale * scale / T(channels);
        for (int64_t c = 0; c < tile.width; c += Simd<T>::W) {
            const int64_t at = item * tile.width + c;
            const Vec<T> q = quadratic<T>(algebra, y + at, plane, 0, algebra.blades),
                         norm = smooth_norm<T>(q);
            const Vec<T> inner = slope * q / (norm * norm * norm), outer_scale = scale * load<T>(a + c);
            for (int64_t j = 0; j < algebra.blades; ++j) {
                T* place = grad + at + j * plane;
                store<T>(place, load<T>(place) * outer_scale +
                                    inner * T(algebra.square[j]) * load<T>(y + at + j * plane));
            }
        }
    }
}

}  // namespace clifford
