// Second half of a message of the Clifford network of jets: h = relu(V relu(s z + t) + b) of the scalars z,
// gates sigmoid(G relu(F h + f) + g) for each channel and grade of m, and the sums of h and of the gated m
// over each target. Nothing per edge is kept but z and m.
#include "clifford_edges.h"
#include "clifford_interface.h"

namespace clifford {
namespace {

constexpr int64_t kRows = 48;

enum Input {
    kScalars,
    kValues,
    kScale,
    kShift,
    kMap,
    kMapBias,
    kInner,
    kInnerBias,
    kGate,
    kGateBias,
    kInputs
};

template <class T> struct Layer {
    int64_t inputs, outputs;
    std::vector<T> weight, flipped, bias;
    Layer(const T* matrix, const T* offset, int64_t inputs, int64_t outputs)
        : inputs(inputs), outputs(outputs), weight(widened<T>(matrix, inputs, outputs, true)),
          flipped(widened<T>(matrix, outputs, inputs)), bias(widened<T>(offset, 1, outputs)) {}
    int64_t width() const { return padded<T>(outputs); }
    int64_t size() const { return inputs * width() + width(); }

    void forward(int64_t rows, const T* x, T* y) const {
        for (int64_t r = 0; r < rows; ++r) std::copy(bias.begin(), bias.end(), y + r * width());
        product<T>(rows, inputs, width(), x, padded<T>(inputs), weight.data(), width(), y, width(), true);
    }
    // Gradient of x; those of weight and bias are added to `sums`.
    void backward(int64_t rows, const T* x, const T* grad, T* grad_x, T* sums) const {
        outer<T>(rows, inputs, width(), x, padded<T>(inputs), grad, width(), sums, width());
        add_rows<T>(sums + inputs * width(), rows, grad, width());
        product<T>(rows, outputs, padded<T>(inputs), grad, width(), flipped.data(), padded<T>(inputs), grad_x,
                   padded<T>(inputs), false);
    }
    void write(const T* sums, T* matrix, T* offset) const {
        unpack<T>(sums, outputs, inputs, 1, matrix);
        std::copy_n(sums + inputs * width(), outputs, offset);
    }
};

template <class T> void rectify(int64_t n, T* x) {
    for (int64_t i = 0; i < n; ++i) x[i] = x[i] > 0 ? x[i] : T(0);
}
template <class T> void mask(int64_t n, const T* x, T* grad) {
    for (int64_t i = 0; i < n; ++i) grad[i] = x[i] > 0 ? grad[i] : T(0);
}

template <class T> struct Problem {
    const Algebra algebra;
    const Edges edges;
    const int64_t threads, channels, hidden;
    const bool is_mean;
    const T* const* in;
    const int64_t outputs = channels * algebra.blades, gates = channels * algebra.grades;
    const int64_t width = padded<T>(hidden), wide_gates = padded<T>(gates);
    const Layer<T> map{in[kMap], in[kMapBias], hidden, hidden},
        inner{in[kInner], in[kInnerBias], hidden, hidden};
    const Layer<T> gate{in[kGate], in[kGateBias], hidden, gates};
    const std::vector<EdgeChunk> chunks = edge_chunks(edges);
    std::vector<T> spread = {},
                   collect = {};  // one where a blade has a grade: [grade, blade], [blade, grade]

    void prepare() {
        spread.assign(algebra.grades * padded<T>(algebra.blades), T(0));
        collect.assign(algebra.blades * padded<T>(algebra.grades), T(0));
        for (int64_t j = 0; j < algebra.blades; ++j)
            spread[algebra.grade[j] * padded<T>(algebra.blades) + j] =
                collect[j * padded<T>(algebra.grades) + algebra.grade[j]] = T(1);
    }
    T share(int64_t target) const {
        return is_mean ? T(1) / T(std::max<int64_t>(edges.ptr[target + 1] - edges.ptr[target], 1)) : T(1);
    }
};

template <class T> struct Work {
    const Problem<T>& p;
    std::vector<T> first, h, hidden, gates, blades, grad_gates, grad_hidden, grad_h, grad_first, terms;

    explicit Work(const Problem<T>& p)
        : p(p), first(kRows * p.width), h(first.size()), hidden(first.size()), gates(kRows * p.wide_gates),
          blades(p.channels * padded<T>(p.algebra.blades)), grad_gates(gates.size()),
          grad_hidden(first.size()), grad_h(first.size()), grad_first(first.size()),
          terms(p.channels * padded<T>(p.algebra.grades)) {}

    void forward(int64_t e, int64_t rows) {
        for (int64_t r = 0; r < rows; ++r) {
            const T* z = p.in[kScalars] + (e + r) * p.hidden;
            T* row = first.data() + r * p.width;
            for (int64_t k = 0; k < p.hidden; ++k) row[k] = z[k] * p.in[kScale][k] + p.in[kShift][k];
        }
        rectify<T>(rows * p.width, first.data());
        p.map.forward(rows, first.data(), h.data());
        rectify<T>(rows * p.width, h.data());
        p.inner.forward(rows, h.data(), hidden.data());
        rectify<T>(rows * p.width, hidden.data());
        p.gate.forward(rows, hidden.data(), gates.data());
        for (int64_t i = 0; i < rows * p.wide_gates; i += Simd<T>::W)
            store<T>(gates.data() + i, sigmoid<T>(load<T>(gates.data() + i)));
    }
    // The gates of one row, for each blade: [channel, padded blades].
    void open(int64_t r) {
        const int64_t wide = padded<T>(p.algebra.blades);
        product<T>(p.channels, p.algebra.grades, wide, gates.data() + r * p.wide_gates, p.algebra.grades,
                   p.spread.data(), wide, blades.data(), wide, false);
    }
    void sum(int64_t e, int64_t r, T share, T* total, T* total_h) {
        open(r);
        const int64_t n = p.algebra.blades, wide = padded<T>(n);
        const T* value = p.in[kValues] + (e + r) * p.outputs;
        for (int64_t m = 0; m < p.channels; ++m)
            for (int64_t j = 0; j < n; ++j)
                total[m * n + j] += share * blades[m * wide + j] * value[m * n + j];
        for (int64_t k = 0; k < p.hidden; ++k) total_h[k] += share * h[r * p.width + k];
    }
    // Gradients of the gates and of the value of one row.
    void row_backward(int64_t e, int64_t r, T share, const T* grad, T* grad_value) {
        open(r);
        const int64_t n = p.algebra.blades, wide = padded<T>(n), grades = p.algebra.grades,
                      columns = padded<T>(grades);
        const T* value = p.in[kValues] + (e + r) * p.outputs;
        for (int64_t m = 0; m < p.channels; ++m)
            for (int64_t j = 0; j < n; ++j) {
                const T slope = share * grad[m * n + j], scale = blades[m * wide + j];
                grad_value[m * n + j] = slope * scale;
                blades[m * wide + j] = slope * value[m * n + j];
            }
        product<T>(p.channels, n, columns, blades.data(), wide, p.collect.data(), columns, terms.data(),
                   columns, false);
        for (int64_t m = 0; m < p.channels; ++m)
            for (int64_t g = 0; g < grades; ++g) {
                const T s = gates[r * p.wide_gates + m * grades + g];
                grad_gates[r * p.wide_gates + m * grades + g] = terms[m * columns + g] * s * (1 - s);
            }
    }
};

// Calls body(target, row) for each row of a tile; `target` moves on with the edges.
template <class T, class Body>
void for_each_row(const Problem<T>& p, int64_t e, int64_t rows, int64_t& target, Body body) {
    for (int64_t r = 0; r < rows; ++r) {
        while (p.edges.ptr[target + 1] <= e + r) ++target;
        body(target, r);
    }
}

template <class T> void forward(Problem<T> p, T* const* out) {
    p.prepare();
    std::fill_n(out[0], p.edges.nodes * p.outputs, T(0));
    std::fill_n(out[1], p.edges.nodes * p.hidden, T(0));
    for_each_edge_chunk(p.chunks, p.threads, [&](size_t, const EdgeChunk& chunk) {
        Work<T> work(p);
        int64_t target = chunk.first;
        for (int64_t e = p.edges.ptr[chunk.first], end = p.edges.ptr[chunk.last]; e < end; e += kRows) {
            const int64_t rows = std::min(kRows, end - e);
            work.forward(e, rows);
            for_each_row(p, e, rows, target, [&](int64_t i, int64_t r) {
                work.sum(e, r, p.share(i), out[0] + i * p.outputs, out[1] + i * p.hidden);
            });
        }
    });
}

// Gradients of one tile; sums: scale, shift, and the three layers.
template <class T> void tile_backward(const Problem<T>& p, Work<T>& work, int64_t e, int64_t rows,
                                      int64_t& target, T* const* out, T* sums) {
    int64_t again = target;
    work.forward(e, rows);
    for_each_row(p, e, rows, target, [&](int64_t i, int64_t r) {
        work.row_backward(e, r, p.share(i), p.in[kInputs] + i * p.outputs,
                          out[kValues] + (e + r) * p.outputs);
    });
    T *of_map = sums + 2 * p.width, *of_inner = of_map + p.map.size(), *of_gate = of_inner + p.inner.size();
    p.gate.backward(rows, work.hidden.data(), work.grad_gates.data(), work.grad_hidden.data(), of_gate);
    mask<T>(rows * p.width, work.hidden.data(), work.grad_hidden.data());
    p.inner.backward(rows, work.h.data(), work.grad_hidden.data(), work.grad_h.data(), of_inner);
    for_each_row(p, e, rows, again, [&](int64_t i, int64_t r) {
        const T* given = p.in[kInputs + 1] + i * p.hidden;
        for (int64_t k = 0; k < p.hidden; ++k) work.grad_h[r * p.width + k] += p.share(i) * given[k];
    });
    mask<T>(rows * p.width, work.h.data(), work.grad_h.data());
    p.map.backward(rows, work.first.data(), work.grad_h.data(), work.grad_first.data(), of_map);
    mask<T>(rows * p.width, work.first.data(), work.grad_first.data());
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t k = 0; k < p.hidden; ++k) {
            const T slope = work.grad_first[r * p.width + k], z = p.in[kScalars][(e + r) * p.hidden + k];
            out[kScalars][(e + r) * p.hidden + k] = slope * p.in[kScale][k];
            work.first[r * p.width + k] = slope * z;
        }
    add_rows<T>(sums, rows, work.first.data(), p.width);
    add_rows<T>(sums + p.width, rows, work.grad_first.data(), p.width);
}

template <class T> void backward(Problem<T> p, T* const* out) {
    p.prepare();
    const int64_t size = 2 * p.width + p.map.size() + p.inner.size() + p.gate.size(), count = p.chunks.size();
    std::vector<T> partial(count * size, T(0)), total(size);
    for_each_edge_chunk(p.chunks, p.threads, [&](size_t c, const EdgeChunk& chunk) {
        Work<T> work(p);
        int64_t target = chunk.first;
        for (int64_t e = p.edges.ptr[chunk.first], end = p.edges.ptr[chunk.last]; e < end; e += kRows)
            tile_backward(p, work, e, std::min(kRows, end - e), target, out, partial.data() + c * size);
    });
    reduce_chunks<T>(partial.data(), count, size, total.data());
    const T* sums = total.data();
    std::copy_n(sums, p.hidden, out[kScale]);
    std::copy_n(sums + p.width, p.hidden, out[kShift]);
    p.map.write(sums += 2 * p.width, out[kMap], out[kMapBias]);
    p.inner.write(sums += p.map.size(), out[kInner], out[kInnerBias]);
    p.gate.write(sums + p.inner.size(), out[kGate], out[kGateBias]);
}

template <class T> Problem<T> problem_of(const int64_t* s, const int64_t* integers, const double* reals,
                                         const int64_t* source, const int64_t* ptr, const T* const* in) {
    return {algebra_of(s, integers, reals), {s[4], source, ptr}, s[0], s[5], s[6], s[7] != 0, in};
}

}  // namespace
}  // namespace clifford

#define DEFINE(T, SUFFIX)                                                                                    \
    extern "C" void clifford_gate_forward_##SUFFIX(const int64_t* sizes, const int64_t* integers,            \
                                                   const double* reals, const T* const* in, T* const* out,   \
                                                   const int64_t* source, const int64_t* ptr) {              \
        clifford::forward<T>(clifford::problem_of<T>(sizes, integers, reals, source, ptr, in), out);         \
    }                                                                                                        \
    extern "C" void clifford_gate_backward_##SUFFIX(const int64_t* sizes, const int64_t* integers,           \
                                                    const double* reals, const T* const* in, T* const* out,  \
                                                    const int64_t* source, const int64_t* ptr) {             \
        clifford::backward<T>(clifford::problem_of<T>(sizes, integers, reals, source, ptr, in), out);        \
    }

DEFINE(float, f32)
DEFINE(double, f64)
