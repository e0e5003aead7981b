// Messages of the Clifford network of jets: the bilinear product of both nodes, the norm over the channels,
// and the first linear map of the invariants, A_i + B_j + W I(m_ij), tile by tile and without kept arrays.
#include "clifford_message.h"

#include "clifford_interface.h"

namespace clifford {
namespace {

constexpr int64_t kRows = 24;  // edges of a tile

// In the order of `in`: node features u [nodes, sources, blades], target and source parts c, d [nodes,
// outputs], constants of M and of its transpose, scale of the norm, target and source parts A, B [nodes,
// hidden], W [hidden, invariants].
enum Input {
    kNode,
    kTarget,
    kSource,
    kConstants,
    kFlipped,
    kLayer,
    kScalarTarget,
    kScalarSource,
    kWeight,
    kInputs
};

template <class T> struct Problem {
    const Algebra algebra;
    const Edges edges;
    const int64_t threads, sources, channels, hidden;
    const T* const* in;
    const int64_t inputs = sources * algebra.blades, outputs = channels * algebra.blades;
    const int64_t flat = channels * algebra.grades, wide = padded<T>(outputs),
                  wide_inputs = padded<T>(inputs);
    const int64_t wide_hidden = padded<T>(hidden), wide_flat = padded<T>(flat);
    const Bilinear<T> matrix{algebra, sources, inputs, wide, in[kConstants]};
    const Bilinear<T> flipped{algebra, sources, outputs, wide_inputs, in[kFlipped]};
    const Norms<T> norms{algebra, channels, in[kLayer]};
    const std::vector<T> weight = widened<T>(in[kWeight], flat, hidden, true);
    const std::vector<T> weight_flipped = widened<T>(in[kWeight], hidden, flat);
    const std::vector<EdgeChunk> chunks = edge_chunks(edges);
};

template <class T> Problem<T> problem_of(const int64_t* s, const int64_t* integers, const double* reals,
                                         const int64_t* source, const int64_t* ptr, const T* const* in) {
    return {algebra_of(s, integers, reals), {s[4], source, ptr}, s[0], s[5], s[6], s[7], in};
}

// Arrays of one thread's tile of edges, and the matrices of its targets.
template <class T> struct Work {
    const Problem<T>& p;
    std::vector<T> factors, matrices, input, y, squares, q, norm, inverse, value, flat;

    explicit Work(const Problem<T>& p)
        : p(p), factors(kTargets * p.matrix.pattern_size()), matrices(kTargets * p.matrix.size()),
          input(kRows * p.inputs), y(kRows * p.wide), squares(kRows * p.outputs),
          q(kRows * p.channels * p.norms.width), norm(padded<T>(kRows * p.channels)), inverse(kRows),
          value(kRows * p.outputs), flat(kRows * p.flat) {}

    void open(int64_t target, int64_t count) {
        for (int64_t t = 0; t < count; ++t)
            p.matrix.spread(p.in[kNode] + (target + t) * p.inputs,
                            factors.data() + t * p.matrix.pattern_size());
        p.matrix.build(factors.data(), matrices.data());
    }

    // Values and invariants of edges `first` to `first` + rows, all of one target, number t of the open ones.
    void forward(int64_t target, int64_t t, int64_t first, int64_t rows) {
        for (int64_t r = 0; r < rows; ++r) {
            const int64_t j = p.edges.source[first + r];
            std::copy_n(p.in[kNode] + j * p.inputs, p.inputs, input.data() + r * p.inputs);
            const T *c = p.in[kTarget] + target * p.outputs, *d = p.in[kSource] + j * p.outputs;
            T* row = y.data() + r * p.wide;
            for (int64_t k = 0; k < p.outputs; ++k) row[k] = c[k] + d[k];
        }
        product<T>(rows, p.inputs, p.wide, input.data(), p.inputs, matrices.data() + t * p.matrix.size(),
                   p.wide, y.data(), p.wide, true);
        p.norms.measure(rows, y.data(), p.wide, squares.data(), q.data(), norm.data(), inverse.data());
        p.norms.apply(rows, y.data(), p.wide, q.data(), inverse.data(), value.data(), flat.data());
    }
};

// Calls body(target, number among the open ones, first edge, rows) for each tile, and `open` and `close`
// around each group of targets.
template <class T, class Open, class Body, class Close>
void for_each_tile(const Problem<T>& p, const EdgeChunk& chunk, Open open, Body body, Close close) {
    for (int64_t group = chunk.first; group < chunk.last; group += kTargets) {
        const int64_t count = std::min<int64_t>(kTargets, chunk.last - group);
        open(group, count);
        for (int64_t t = 0; t < count; ++t)
            for (int64_t e = p.edges.ptr[group + t]; e < p.edges.ptr[group + t + 1]; e += kRows)
                body(group + t, t, e, std::min(kRows, p.edges.ptr[group + t + 1] - e));
        close(group, count);
    }
}

template <class T> void forward(const Problem<T>& p, T* const* out) {
    for_each_edge_chunk(p.chunks, p.threads, [&](size_t, const EdgeChunk& chunk) {
        Work<T> work(p);
        std::vector<T> hidden(kRows * p.wide_hidden, T(0));
        const auto tile = [&](int64_t i, int64_t t, int64_t e, int64_t rows) {
            work.forward(i, t, e, rows);
            std::copy_n(work.value.data(), rows * p.outputs, out[0] + e * p.outputs);
            for (int64_t r = 0; r < rows; ++r) {
                const T *a = p.in[kScalarTarget] + i * p.hidden,
                        *b = p.in[kScalarSource] + p.edges.source[e + r] * p.hidden;
                for (int64_t k = 0; k < p.hidden; ++k) hidden[r * p.wide_hidden + k] = a[k] + b[k];
            }
            product<T>(rows, p.flat, p.wide_hidden, work.flat.data(), p.flat, p.weight.data(), p.wide_hidden,
                       hidden.data(), p.wide_hidden, true);
            for (int64_t r = 0; r < rows; ++r)
                std::copy_n(hidden.data() + r * p.wide_hidden, p.hidden, out[1] + (e + r) * p.hidden);
        };
        const auto open = [&](int64_t group, int64_t count) { work.open(group, count); };
        for_each_tile(p, chunk, open, tile, [](int64_t, int64_t) {});
    });
}

// Gradients of one chunk: sums for its targets go to the result, the others to private buffers.
template <class T> struct Backward {
    const Problem<T>& p;
    Work<T> work;
    std::vector<T> flipped_factors, flipped, grad_matrices, grad_factors, grad_flat, grad_value, hidden,
        terms, grad_y, grad_input;

    explicit Backward(const Problem<T>& p)
        : p(p), work(p), flipped_factors(kTargets * p.flipped.pattern_size()),
          flipped(kTargets * p.flipped.size()), grad_matrices(work.matrices.size()),
          grad_factors(work.factors.size()), grad_flat(kRows * p.wide_flat),
          hidden(kRows * p.wide_hidden, T(0)), terms(p.channels * padded<T>(p.algebra.blades)),
          grad_y(kRows * p.wide, T(0)), grad_input(kRows * p.wide_inputs) {}

    void open(int64_t group, int64_t count) {
        work.open(group, count);
        for (int64_t t = 0; t < count; ++t)
            p.flipped.spread(p.in[kNode] + (group + t) * p.inputs,
                             flipped_factors.data() + t * p.flipped.pattern_size());
        p.flipped.build(flipped_factors.data(), flipped.data());
        std::fill(grad_matrices.begin(), grad_matrices.end(), T(0));
        std::fill(grad_factors.begin(), grad_factors.end(), T(0));
    }

    // Adds the gradients of W (transposed) and of the scale.
    void tile(int64_t i, int64_t t, int64_t e, int64_t rows, T* const* out, T* sum_weight, T* sum_layer) {
        work.forward(i, t, e, rows);
        const T* given = p.in[kInputs + 1] + e * p.hidden;
        for (int64_t r = 0; r < rows; ++r) {
            std::copy_n(given + r * p.hidden, p.hidden, hidden.data() + r * p.wide_hidden);
            add_row<T>(out[kScalarTarget] + i * p.hidden, given + r * p.hidden, p.hidden);
        }
        outer<T>(rows, p.flat, p.wide_hidden, work.flat.data(), p.flat, hidden.data(), p.wide_hidden,
                 sum_weight, p.wide_hidden);
        product<T>(rows, p.hidden, p.wide_flat, hidden.data(), p.wide_hidden, p.weight_flipped.data(),
                   p.wide_flat, grad_flat.data(), p.wide_flat, false);
        p.norms.backward(rows, work.y.data(), p.wide, work.q.data(), work.norm.data(), work.inverse.data(),
                         p.in[kInputs] + e * p.outputs, grad_flat.data(), p.wide_flat, terms.data(),
                         grad_y.data(), sum_layer);
        for (int64_t r = 0; r < rows; ++r)
            add_row<T>(out[kTarget] + i * p.outputs, grad_y.data() + r * p.wide, p.outputs);
        outer<T>(rows, p.inputs, p.wide, work.input.data(), p.inputs, grad_y.data(), p.wide,
                 grad_matrices.data() + t * p.matrix.size(), p.wide);
        product<T>(rows, p.outputs, p.wide_inputs, grad_y.data(), p.wide,
                   flipped.data() + t * p.flipped.size(), p.wide_inputs, grad_input.data(), p.wide_inputs,
                   false);
    }

    void close(int64_t group, int64_t count, T* const* out, T* grad_constants) {
        for (int64_t t = count; t < kTargets; ++t)  // what is left of an earlier group
            std::fill_n(work.factors.data() + t * p.matrix.pattern_size(), p.matrix.pattern_size(), T(0));
        p.matrix.backward(work.factors.data(), grad_matrices.data(), grad_factors.data(), grad_constants);
        for (int64_t t = 0; t < count; ++t)
            p.matrix.gather(grad_factors.data() + t * p.matrix.pattern_size(),
                            out[kNode] + (group + t) * p.inputs);
    }
};

template <class T> void backward(const Problem<T>& p, T* const* out) {
    const int64_t constants = p.inputs * p.sources * p.wide, weights = p.flat * p.wide_hidden;
    const int64_t size = constants + weights + p.channels, count = p.chunks.size();
    std::vector<T> partial(count * size, T(0)), total(size);
    SourceSums<T> sums(p.chunks, p.inputs + p.outputs + p.hidden);
    const int64_t widths[] = {p.inputs, p.outputs, p.outputs, 0, 0, 0, p.hidden, p.hidden};
    for (int i : {kNode, kTarget, kSource, kScalarTarget, kScalarSource})
        std::fill_n(out[i], p.edges.nodes * widths[i], T(0));
    for_each_edge_chunk(p.chunks, p.threads, [&](size_t c, const EdgeChunk& chunk) {
        Backward<T> work(p);
        T* mine = partial.data() + c * size;
        sums.open(c, chunk);
        const auto tile = [&](int64_t i, int64_t t, int64_t e, int64_t rows) {
            work.tile(i, t, e, rows, out, mine + constants, mine + constants + weights);
            for (int64_t r = 0; r < rows; ++r) {
                T* row = sums.row(c, chunk, p.edges.source[e + r]);
                add_row<T>(row, work.grad_input.data() + r * p.wide_inputs, p.inputs);
                add_row<T>(row + p.inputs, work.grad_y.data() + r * p.wide, p.outputs);
                add_row<T>(row + p.inputs + p.outputs, p.in[kInputs + 1] + (e + r) * p.hidden, p.hidden);
            }
        };
        const auto open = [&](int64_t group, int64_t n) { work.open(group, n); };
        for_each_tile(p, chunk, open, tile,
                      [&](int64_t group, int64_t n) { work.close(group, n, out, mine); });
    });
    reduce_chunks<T>(partial.data(), count, size, total.data());
    std::copy_n(total.data(), constants, out[kConstants]);
    unpack<T>(total.data() + constants, p.hidden, p.flat, 1, out[kWeight]);
    std::copy_n(total.data() + constants + weights, p.channels, out[kLayer]);
    sums.add(p.chunks, 0, p.inputs, out[kNode]);
    sums.add(p.chunks, p.inputs, p.outputs, out[kSource]);
    sums.add(p.chunks, p.inputs + p.outputs, p.hidden, out[kScalarSource]);
}

}  // namespace
}  // namespace clifford

#define DEFINE(T, SUFFIX)                                                                                    \
    extern "C" void clifford_message_forward_##SUFFIX(                                                       \
        const int64_t* sizes, const int64_t* integers, const double* reals, const T* const* in,              \
        T* const* out, const int64_t* source, const int64_t* ptr) {                                          \
        clifford::forward<T>(clifford::problem_of<T>(sizes, integers, reals, source, ptr, in), out);         \
    }                                                                                                        \
    extern "C" void clifford_message_backward_##SUFFIX(                                                      \
        const int64_t* sizes, const int64_t* integers, const double* reals, const T* const* in,              \
        T* const* out, const int64_t* source, const int64_t* ptr) {                                          \
        clifford::backward<T>(clifford::problem_of<T>(sizes, integers, reals, source, ptr, in), out);        \
    }

DEFINE(float, f32)
DEFINE(double, f64)

extern "C" int64_t clifford_vector_bytes() { return clifford::kBytes; }
