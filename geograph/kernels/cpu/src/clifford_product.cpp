// C interface of the plain weighted geometric product.
//
// `integers` are the grades [blades], the right factors and the paths [left, out]; `reals` are the signs
// [left, out] and the squares [blades]. Multivectors are [items, blades, channels].
#include "clifford_interface.h"

namespace clifford {
namespace {

template <class T> struct Weights {
    const Algebra algebra;
    const std::vector<Pair> pairs;
    const int64_t channels, outputs;
    const bool is_connected;
    const std::vector<T> weight, transposed;

    Weights(const ProductSizes& sizes, const Algebra& algebra, const T* from, bool flips)
        : algebra(algebra), pairs(pairs_of(algebra)), channels(sizes.channels), outputs(sizes.outputs),
          is_connected(sizes.is_connected),
          weight(packed<T>(from, outputs, is_connected ? channels : 1, algebra.paths)),
          transposed(flips && is_connected ? packed<T>(from, outputs, channels, algebra.paths, true)
                                           : std::vector<T>()) {}
};

template <class T> void forward(const ProductSizes& sizes, const Algebra& algebra, const T* left,
                                const T* right, const T* weight, T* out) {
    const Weights<T> w(sizes, algebra, weight, false);
    const int64_t most = tile_items<T>(algebra, std::max(w.channels, w.outputs));
    const Tile in{most, padded<T>(w.channels)}, to{most, padded<T>(w.outputs)};
    for_each_chunk(
        sizes.items, chunk_count(sizes.items, 32), sizes.threads, [&](int64_t, int64_t begin, int64_t end) {
            std::vector<T> x(algebra.blades * in.plane()), r(x.size()), y(algebra.blades * to.plane()),
                terms(in.plane());
            for (int64_t item = begin; item < end; item += most) {
                const Tile a{std::min(most, end - item), in.width}, b{a.items, to.width};
                read_tile<T>(left + item * algebra.blades * w.channels, algebra, w.channels, a, x.data());
                read_tile<T>(right + item * algebra.blades * w.channels, algebra, w.channels, a, r.data());
                std::fill(y.begin(), y.end(), T(0));
                if (w.is_connected)
                    connected<T>(w.pairs, a, w.channels, x.data(), r.data(), w.weight.data(), b, y.data(),
                                 terms.data());
                else
                    elementwise<T>(w.pairs, a, x.data(), r.data(), w.weight.data(), y.data());
                write_tile<T>(y.data(), algebra, w.outputs, b, out + item * algebra.blades * w.outputs);
            }
        });
}

template <class T> void backward(const ProductSizes& sizes, const Algebra& algebra, const T* grad,
                                 const T* left, const T* right, const T* weight, T* grad_left, T* grad_right,
                                 T* grad_weight) {
    const Weights<T> w(sizes, algebra, weight, true);
    const int64_t most = tile_items<T>(algebra, std::max(w.channels, w.outputs));
    const Tile in{most, padded<T>(w.channels)}, to{most, padded<T>(w.outputs)};
    const int64_t chunks = chunk_count(sizes.items, 32), size = w.weight.size(),
                  per_item = algebra.blades * w.channels;
    std::vector<T> partial(chunks * size, T(0)), total(size);
    for_each_chunk(sizes.items, chunks, sizes.threads, [&](int64_t chunk, int64_t begin, int64_t end) {
        const size_t wide = algebra.blades * in.plane();
        std::vector<T> x(wide), r(wide), gx(wide), gr(wide), g(algebra.blades * to.plane()),
            terms(in.plane());
        for (int64_t item = begin; item < end; item += most) {
            const Tile a{std::min(most, end - item), in.width}, b{a.items, to.width};
            read_tile<T>(left + item * per_item, algebra, w.channels, a, x.data());
            read_tile<T>(right + item * per_item, algebra, w.channels, a, r.data());
            read_tile<T>(grad + item * algebra.blades * w.outputs, algebra, w.outputs, b, g.data());
            std::fill(gx.begin(), gx.end(), T(0));
            std::fill(gr.begin(), gr.end(), T(0));
            T* sums = partial.data() + chunk * size;
            if (w.is_connected)
                connected_backward<T>(w.pairs, a, w.channels, x.data(), r.data(), w.transposed.data(), b,
                                      w.outputs, g.data(), gx.data(), gr.data(), sums, terms.data());
            else
                elementwise_backward<T>(w.pairs, a, x.data(), r.data(), w.weight.data(), g.data(), gx.data(),
                                        gr.data(), sums);
            write_tile<T>(gx.data(), algebra, w.channels, a, grad_left + item * per_item);
            write_tile<T>(gr.data(), algebra, w.channels, a, grad_right + item * per_item);
        }
    });
    reduce_chunks<T>(partial.data(), chunks, size, total.data());
    unpack<T>(total.data(), w.outputs, w.is_connected ? w.channels : 1, algebra.paths, grad_weight);
}

}  // namespace
}  // namespace clifford

#define DEFINE(T, SUFFIX)                                                                                    \
    extern "C" void clifford_product_forward_##SUFFIX(const int64_t* sizes, const int64_t* integers,         \
                                                      const double* reals, const T* const* in,               \
                                                      T* const* out) {                                       \
        clifford::forward<T>(clifford::product_sizes(sizes), clifford::algebra_of(sizes, integers, reals),   \
                             in[0], in[1], in[2], out[0]);                                                   \
    }                                                                                                        \
    extern "C" void clifford_product_backward_##SUFFIX(const int64_t* sizes, const int64_t* integers,        \
                                                       const double* reals, const T* const* in,              \
                                                       T* const* out) {                                      \
        clifford::backward<T>(clifford::product_sizes(sizes), clifford::algebra_of(sizes, integers, reals),  \
                              in[0], in[1], in[2], in[3], out[0], out[1], out[2]);                           \
    }

DEFINE(float, f32)
DEFINE(double, f64)
