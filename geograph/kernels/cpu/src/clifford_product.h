// Weighted geometric products of tiles, channel by channel and fully connected, and their gradients.
#pragma once

#include "clifford_tile.h"

namespace clifford {

// One non-zero product of blades: left i times right k gives sign times out j.
struct Pair {
    int64_t left, right, out, path;
    double sign;
};

inline std::vector<Pair> pairs_of(const Algebra& algebra) {
    std::vector<Pair> pairs;
    const int64_t n = algebra.blades;
    for (int64_t j = 0; j < n; ++j)
        for (int64_t i = 0; i < n; ++i)
            if (algebra.sign[i * n + j] != 0)
                pairs.push_back(
                    {i, algebra.right[i * n + j], j, algebra.path[i * n + j], algebra.sign[i * n + j]});
    return pairs;
}

// y_j (+)= w[path] x_i r_k; weights [path][channel].
template <class T>
void elementwise(const std::vector<Pair>& pairs, Tile tile, const T* x, const T* r, const T* weight, T* y) {
    const int64_t plane = tile.plane();
    for (int64_t item = 0; item < tile.items; ++item)
        for (int64_t c = 0; c < tile.width; c += Simd<T>::W) {
            const int64_t at = item * tile.width + c;
            for (size_t p = 0; p < pairs.size();) {
                const int64_t out = pairs[p].out;
                Vec<T> sum = load<T>(y + at + out * plane);
                for (; p < pairs.size() && pairs[p].out == out; ++p) {
                    const Vec<T> term =
                        load<T>(x + at + pairs[p].left * plane) * load<T>(r + at + pairs[p].right * plane);
                    sum += T(pairs[p].sign) * load<T>(weight + pairs[p].path * tile.width + c) * term;
                }
                store<T>(y + at + out * plane, sum);
            }
        }
}

template <class T> void elementwise_backward(const std::vector<Pair>& pairs, Tile tile, const T* x,
                                             const T* r, const T* weight, const T* grad, T* grad_x, T* grad_r,
                                             T* grad_weight) {
    const int64_t plane = tile.plane();
    for (int64_t item = 0; item < tile.items; ++item)
        for (int64_t c = 0; c < tile.width; c += Simd<T>::W) {
            const int64_t at = item * tile.width + c;
            for (size_t p = 0; p < pairs.size();) {
                const int64_t out = pairs[p].out;
                const Vec<T> slope = load<T>(grad + at + out * plane);
                for (; p < pairs.size() && pairs[p].out == out; ++p) {
                    const Vec<T> signed_slope = T(pairs[p].sign) * slope;
                    const Vec<T> left = load<T>(x + at + pairs[p].left * plane);
                    const Vec<T> right = load<T>(r + at + pairs[p].right * plane);
                    const Vec<T> spread = load<T>(weight + pairs[p].path * tile.width + c) * signed_slope;
                    add_to<T>(grad_weight + pairs[p].path * tile.width + c, left * right * signed_slope);
                    add_to<T>(grad_x + at + pairs[p].left * plane, spread * right);
                    add_to<T>(grad_r + at + pairs[p].right * plane, spread * left);
                }
            }
        }
}

// terms = sign x_i r_k for all items of a tile.
template <class T> void multiply(const Pair& pair, Tile tile, const T* x, const T* r, T* terms) {
    const T *left = x + tile.at(pair.left, 0), *right = r + tile.at(pair.right, 0);
    for (int64_t at = 0; at < tile.plane(); at += Simd<T>::W)
        store<T>(terms + at, T(pair.sign) * load<T>(left + at) * load<T>(right + at));
}

// y_j += W[path] (x_i r_k); weights [path][in][out]; `terms` has room for one plane.
template <class T> void connected(const std::vector<Pair>& pairs, Tile in, int64_t channels, const T* x,
                                  const T* r, const T* weight, Tile out, T* y, T* terms) {
    for (const Pair& pair : pairs) {
        multiply<T>(pair, in, x, r, terms);
        product<T>(in.items, channels, out.width, terms, in.width, weight + pair.path * channels * out.width,
                   out.width, y + out.at(pair.out, 0), out.width, true);
    }
}

// `transposed` are the weights [path][out][in]; `terms` has room for one plane.
template <class T> void connected_backward(const std::vector<Pair>& pairs, Tile in, int64_t channels,
                                           const T* x, const T* r, const T* transposed, Tile out,
                                           int64_t outputs, const T* grad, T* grad_x, T* grad_r,
                                           T* grad_weight, T* terms) {
    for (const Pair& pair : pairs) {
        const T* slope = grad + out.at(pair.out, 0);
        multiply<T>(pair, in, x, r, terms);
        outer<T>(in.items, channels, out.width, terms, in.width, slope, out.width,
                 grad_weight + pair.path * channels * out.width, out.width);
        product<T>(in.items, outputs, in.width, slope, out.width, transposed + pair.path * outputs * in.width,
                   in.width, terms, in.width, false);
        const int64_t left = in.at(pair.left, 0), right = in.at(pair.right, 0);
        for (int64_t at = 0; at < in.plane(); at += Simd<T>::W) {
            const Vec<T> spread = T(pair.sign) * load<T>(terms + at);
            add_to<T>(grad_x + left + at, spread * load<T>(r + right + at));
            add_to<T>(grad_r + right + at, spread * load<T>(x + left + at));
        }
    }
}

// ---- weights in the layout of the kernels

// [out][in][group] as [group][in][padded out]; `flip` gives [group][out][padded in].
template <class T>
std::vector<T> packed(const T* weight, int64_t outputs, int64_t inputs, int64_t groups, bool flip = false) {
    const int64_t rows = flip ? outputs : inputs, width = padded<T>(flip ? inputs : outputs);
    std::vector<T> result(groups * rows * width, T(0));
    for (int64_t o = 0; o < outputs; ++o)
        for (int64_t i = 0; i < inputs; ++i)
            for (int64_t g = 0; g < groups; ++g)
                result[(g * rows + (flip ? o : i)) * width + (flip ? i : o)] =
                    weight[(o * inputs + i) * groups + g];
    return result;
}

// Undo `packed`.
template <class T> void unpack(const T* from, int64_t outputs, int64_t inputs, int64_t groups, T* weight) {
    const int64_t width = padded<T>(outputs);
    for (int64_t o = 0; o < outputs; ++o)
        for (int64_t i = 0; i < inputs; ++i)
            for (int64_t g = 0; g < groups; ++g)
                weight[(o * inputs + i) * groups + g] = from[(g * inputs + i) * width + o];
}

}  // namespace clifford
