// One block of a Clifford network, forward and backward, tile by tile: optionally a linear map and a gate,
// then y = (L x + product(x, N R x)) / sqrt 2, then the norm over the channels. Only the input is kept.
#include "clifford_interface.h"

namespace clifford {
namespace {

enum Input {
    kX,
    kFirst,
    kFirstBias,
    kGateA,
    kGateB,
    kRight,
    kNorm,
    kLeft,
    kLeftBias,
    kPath,
    kLayer,
    kInputs
};

struct Sizes {
    int64_t threads, items, inputs, channels, outputs;
    bool is_connected;
};

template <class T> std::vector<T> one_group(const T* values, int64_t n, int64_t groups = 1) {
    return values ? packed<T>(values, n, 1, groups) : std::vector<T>();
}

// Parameters in the layout of the tiles, and the place of each gradient in a buffer of partial sums.
template <class T> struct Block {
    const Sizes sizes;
    const Algebra algebra;
    const std::vector<Pair> pairs = pairs_of(algebra);
    std::vector<T> value[kInputs], flipped[kInputs];
    int64_t place[kInputs + 1];

    Block(const Sizes& sizes, const Algebra& algebra, const T* const* in, bool flips)
        : sizes(sizes), algebra(algebra) {
        const int64_t m = sizes.inputs, n = sizes.channels, o = sizes.outputs, grades = algebra.grades;
        pack(kFirst, in[kFirst], n, m, grades, flips);
        pack(kRight, in[kRight], n, n, grades, flips);
        pack(kLeft, in[kLeft], o, n, grades, flips);
        pack(kPath, in[kPath], o, sizes.is_connected ? n : 1, algebra.paths, flips && sizes.is_connected);
        value[kFirstBias] = one_group(in[kFirstBias], n);
        value[kGateA] = one_group(in[kGateA], n, grades);
        value[kGateB] = one_group(in[kGateB], n, grades);
        value[kNorm] = one_group(in[kNorm], n, grades);
        value[kLeftBias] = one_group(in[kLeftBias], o);
        value[kLayer] = one_group(in[kLayer], o);
        for (T& a : value[kNorm]) a = T(1) / (T(1) + std::exp(-a));
        place[kFirst] = 0;
        for (int i = kFirst; i < kInputs; ++i) place[i + 1] = place[i] + value[i].size();
        for (int64_t g = 0; g < grades && has(kNorm); ++g)  // the padding must stay zero
            std::fill(&value[kNorm][g * padded<T>(n) + n], &value[kNorm][(g + 1) * padded<T>(n)], T(0));
    }
    bool has(Input i) const { return !value[i].empty(); }
    const T* get(Input i) const { return value[i].data(); }

  private:
    void pack(Input i, const T* from, int64_t outputs, int64_t inputs, int64_t groups, bool flips) {
        if (!from) return;
        value[i] = packed<T>(from, outputs, inputs, groups);
        if (flips) flipped[i] = packed<T>(from, outputs, inputs, groups, true);
    }
};

// The values of one tile on the way through the block, and their gradients.
template <class T> struct Work {
    const Block<T>& block;
    Tile in, mid, out;
    std::vector<T> input, raw, x, mapped, right, y, grad_input, grad_x, grad_right, grad, terms;

    Work(const Block<T>& block, int64_t items, bool has_gradients)
        : block(block), in{items, padded<T>(block.sizes.inputs)}, mid{items, padded<T>(block.sizes.channels)},
          out{items, padded<T>(block.sizes.outputs)}, terms(mid.plane()) {
        const int64_t blades = block.algebra.blades;
        const size_t narrow = blades * in.plane(), wide = blades * mid.plane();
        const size_t first = block.has(kFirst);
        input.resize(first * narrow), raw.resize(first * wide), x.resize(wide), mapped.resize(wide);
        right.resize(block.has(kNorm) * wide), y.resize(blades * out.plane());
        if (!has_gradients) return;
        grad_input.resize(first * narrow), grad_x.resize(wide), grad_right.resize(wide),
            grad.resize(y.size());
    }
    void resize(int64_t items) { in.items = mid.items = out.items = items; }
    const T* right_factor() const { return block.has(kNorm) ? right.data() : mapped.data(); }

    // Up to the values before the norm over the channels, which stay in y.
    void forward(const T* from) {
        const Algebra& algebra = block.algebra;
        const Sizes& sizes = block.sizes;
        if (block.has(kFirst)) {
            read_tile<T>(from, algebra, sizes.inputs, in, input.data());
            linear<T>(algebra, sizes.inputs, input.data(), in, block.get(kFirst), raw.data(), mid, false);
            if (block.has(kFirstBias)) add_bias(block.get(kFirstBias), raw.data(), mid);
            gate<T>(algebra, mid, raw.data(), block.get(kGateA), block.get(kGateB), x.data());
        } else {
            read_tile<T>(from, algebra, sizes.channels, mid, x.data());
        }
        linear<T>(algebra, sizes.channels, x.data(), mid, block.get(kRight), mapped.data(), mid, false);
        if (block.has(kNorm)) grade_norm<T>(algebra, mid, mapped.data(), block.get(kNorm), right.data());
        linear<T>(algebra, sizes.channels, x.data(), mid, block.get(kLeft), y.data(), out, false);
        if (block.has(kLeftBias)) add_bias(block.get(kLeftBias), y.data(), out);
        if (sizes.is_connected)
            connected<T>(block.pairs, mid, sizes.channels, x.data(), right_factor(), block.get(kPath), out,
                         y.data(), terms.data());
        else
            elementwise<T>(block.pairs, mid, x.data(), right_factor(), block.get(kPath), y.data());
        halve(y.data());
    }

    // From the gradient in `grad` to that of the input; those of the parameters are added to `sums`.
    void backward(T* sums, T* to) {
        const Algebra& algebra = block.algebra;
        const Sizes& sizes = block.sizes;
        const auto at = [&](Input i) { return sums + block.place[i]; };
        if (block.has(kLayer))
            layer_norm_backward<T>(algebra, out, sizes.outputs, block.get(kLayer), y.data(), grad.data(),
                                   at(kLayer));
        halve(grad.data());
        if (block.has(kLeftBias)) sum_items<T>(grad.data(), out, at(kLeftBias));
        linear_weight_gradient<T>(algebra, sizes.channels, x.data(), mid, grad.data(), out, at(kLeft));
        linear<T>(algebra, sizes.outputs, grad.data(), out, block.flipped[kLeft].data(), grad_x.data(), mid,
                  false);
        std::fill(grad_right.begin(), grad_right.end(), T(0));
        if (sizes.is_connected)
            connected_backward<T>(block.pairs, mid, sizes.channels, x.data(), right_factor(),
                                  block.flipped[kPath].data(), out, sizes.outputs, grad.data(), grad_x.data(),
                                  grad_right.data(), at(kPath), terms.data());
        else
            elementwise_backward<T>(block.pairs, mid, x.data(), right_factor(), block.get(kPath), grad.data(),
                                    grad_x.data(), grad_right.data(), at(kPath));
        if (block.has(kNorm))
            grade_norm_backward<T>(algebra, mid, mapped.data(), block.get(kNorm), grad_right.data(),
                                   at(kNorm));
        linear_weight_gradient<T>(algebra, sizes.channels, x.data(), mid, grad_right.data(), mid, at(kRight));
        linear<T>(algebra, sizes.channels, grad_right.data(), mid, block.flipped[kRight].data(),
                  grad_x.data(), mid, true);
        if (!block.has(kFirst)) return write_tile<T>(grad_x.data(), algebra, sizes.channels, mid, to);
        gate_backward<T>(algebra, mid, raw.data(), block.get(kGateA), block.get(kGateB), grad_x.data(),
                         at(kGateA), at(kGateB));
        if (block.has(kFirstBias)) sum_items<T>(grad_x.data(), mid, at(kFirstBias));
        linear_weight_gradient<T>(algebra, sizes.inputs, input.data(), in, grad_x.data(), mid, at(kFirst));
        linear<T>(algebra, sizes.channels, grad_x.data(), mid, block.flipped[kFirst].data(),
                  grad_input.data(), in, false);
        write_tile<T>(grad_input.data(), algebra, sizes.inputs, in, to);
    }

  private:
    void add_bias(const T* bias, T* scalars, Tile tile) {
        for (int64_t item = 0; item < tile.items; ++item)
            for (int64_t c = 0; c < tile.width; c += Simd<T>::W)
                add_to<T>(scalars + item * tile.width + c, load<T>(bias + c));
    }
    void halve(T* values) {
        for (int64_t i = 0; i < block.algebra.blades * out.plane(); ++i)
            values[i] *= T(0.70710678118654752440);
    }
};

template <class T>
void forward(const Sizes& sizes, const Algebra& algebra, const T* const* in, T* const* result) {
    const Block<T> block(sizes, algebra, in, false);
    const int64_t most = tile_items<T>(algebra, std::max({sizes.inputs, sizes.channels, sizes.outputs}));
    const int64_t wide = algebra.blades * sizes.inputs, narrow = algebra.blades * sizes.outputs;
    for_each_chunk(
        sizes.items, chunk_count(sizes.items, 32), sizes.threads, [&](int64_t, int64_t begin, int64_t end) {
            Work<T> work(block, most, false);
            for (int64_t item = begin; item < end; item += most) {
                work.resize(std::min(most, end - item));
                work.forward(in[kX] + item * wide);
                if (block.has(kLayer))
                    layer_norm<T>(algebra, work.out, sizes.outputs, block.get(kLayer), work.y.data());
                write_tile<T>(work.y.data(), algebra, sizes.outputs, work.out, result[0] + item * narrow);
            }
        });
}

template <class T>
void write_gradients(const Block<T>& block, const T* sums, const T* const* in, T* const* result) {
    const int64_t m = block.sizes.inputs, n = block.sizes.channels, o = block.sizes.outputs;
    const int64_t grades = block.algebra.grades;
    const int64_t shape[kInputs][3] = {{},
                                       {n, m, grades},
                                       {n, 1, 1},
                                       {n, 1, grades},
                                       {n, 1, grades},
                                       {n, n, grades},
                                       {n, 1, grades},
                                       {o, n, grades},
                                       {o, 1, 1},
                                       {o, block.sizes.is_connected ? n : 1, block.algebra.paths},
                                       {o, 1, 1}};
    for (int i = kFirst; i < kInputs; ++i)
        if (block.has(Input(i)))
            unpack<T>(sums + block.place[i], shape[i][0], shape[i][1], shape[i][2], result[i]);
    for (int64_t i = 0; i < n * grades && block.has(kNorm); ++i) {
        const T s = T(1) / (T(1) + std::exp(-in[kNorm][i]));
        result[kNorm][i] *= s * (1 - s);
    }
}

template <class T>
void backward(const Sizes& sizes, const Algebra& algebra, const T* const* in, T* const* result) {
    const Block<T> block(sizes, algebra, in, true);
    const int64_t most = tile_items<T>(algebra, std::max({sizes.inputs, sizes.channels, sizes.outputs}));
    const int64_t wide = algebra.blades * sizes.inputs, narrow = algebra.blades * sizes.outputs;
    const int64_t chunks = chunk_count(sizes.items, 64), size = block.place[kInputs];
    std::vector<T> partial(chunks * size, T(0)), total(size);
    for_each_chunk(sizes.items, chunks, sizes.threads, [&](int64_t chunk, int64_t begin, int64_t end) {
        Work<T> work(block, most, true);
        std::vector<T> sums(size);  // of one tile, so that rounding does not grow with the number of items
        for (int64_t item = begin; item < end; item += most) {
            work.resize(std::min(most, end - item));
            work.forward(in[kX] + item * wide);
            std::fill(sums.begin(), sums.end(), T(0));
            read_tile<T>(in[kInputs] + item * narrow, algebra, sizes.outputs, work.out, work.grad.data());
            work.backward(sums.data(), result[kX] + item * wide);
            for (int64_t i = 0; i < size; ++i) partial[chunk * size + i] += sums[i];
        }
    });
    reduce_chunks<T>(partial.data(), chunks, size, total.data());
    write_gradients<T>(block, total.data(), in, result);
}

Sizes sizes_of(const int64_t* s) { return {s[0], s[4], s[5], s[6], s[7], s[8] != 0}; }

}  // namespace
}  // namespace clifford

#define DEFINE(T, SUFFIX)                                                                                    \
    extern "C" void clifford_block_forward_##SUFFIX(const int64_t* sizes, const int64_t* integers,           \
                                                    const double* reals, const T* const* in,                 \
                                                    T* const* out) {                                         \
        clifford::forward<T>(clifford::sizes_of(sizes), clifford::algebra_of(sizes, integers, reals), in,    \
                             out);                                                                           \
    }                                                                                                        \
    extern "C" void clifford_block_backward_##SUFFIX(const int64_t* sizes, const int64_t* integers,          \
                                                     const double* reals, const T* const* in,                \
                                                     T* const* out) {                                        \
        clifford::backward<T>(clifford::sizes_of(sizes), clifford::algebra_of(sizes, integers, reals), in,   \
                              out);                                                                          \
    }

DEFINE(float, f32)
DEFINE(double, f64)
