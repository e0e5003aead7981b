// Chunks of targets for kernels over edges, and sums over sources that do not depend on the threads.
#pragma once

#include "clifford_product.h"

namespace clifford {

// Edges sorted by target: `source` [edges], `ptr` [nodes + 1].
struct Edges {
    int64_t nodes;
    const int64_t *source, *ptr;
    int64_t count() const { return ptr[nodes]; }
};

// Consecutive targets with about equally many edges, and the sources that they meet.
struct EdgeChunk {
    int64_t first, last, low, high;
};

inline std::vector<EdgeChunk> cut_edges(const Edges& edges, int64_t count) {
    std::vector<EdgeChunk> chunks;
    int64_t target = 0;
    for (int64_t c = 0; c < count; ++c) {
        EdgeChunk chunk{target, target, edges.nodes, 0};
        const int64_t goal = c + 1 == count ? edges.count() : edges.count() * (c + 1) / count;
        while (target < edges.nodes && (c + 1 == count || edges.ptr[target] < goal)) ++target;
        chunk.last = target;
        for (int64_t e = edges.ptr[chunk.first]; e < edges.ptr[chunk.last]; ++e) {
            chunk.low = std::min(chunk.low, edges.source[e]);
            chunk.high = std::max(chunk.high, edges.source[e] + 1);
        }
        chunk.low = std::min(chunk.low, chunk.high);
        chunks.push_back(chunk);
    }
    return chunks;
}

// At most 16 chunks; fewer where their private sums over sources would need much more room than the nodes.
inline std::vector<EdgeChunk> edge_chunks(const Edges& edges) {
    for (int64_t count = std::clamp<int64_t>(edges.count() / 64, 1, 16);; count /= 2) {
        auto chunks = cut_edges(edges, count);
        int64_t rows = 0;
        for (const EdgeChunk& chunk : chunks) rows += chunk.high - chunk.low;
        if (count == 1 || rows <= std::max(4 * edges.nodes, edges.count() / 4)) return chunks;
    }
}

// Calls body(number, chunk) for each chunk.
template <class Body>
void for_each_edge_chunk(const std::vector<EdgeChunk>& chunks, int64_t threads, Body body) {
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(dynamic, 1)
    for (size_t c = 0; c < chunks.size(); ++c) body(c, chunks[c]);
}

// A row of `width` sums for each source that a chunk meets.
template <class T> struct SourceSums {
    int64_t width;
    std::vector<std::vector<T>> rows;
    SourceSums(const std::vector<EdgeChunk>& chunks, int64_t width) : width(width), rows(chunks.size()) {}
    void open(size_t c, const EdgeChunk& chunk) { rows[c].assign((chunk.high - chunk.low) * width, T(0)); }
    T* row(size_t c, const EdgeChunk& chunk, int64_t source) {
        return rows[c].data() + (source - chunk.low) * width;
    }
    // to[node, k] += part `first` to `first` + n of the rows
    void add(const std::vector<EdgeChunk>& chunks, int64_t first, int64_t n, T* to) const {
        for (size_t c = 0; c < chunks.size(); ++c)
            for (int64_t node = chunks[c].low; node < chunks[c].high; ++node) {
                const T* from = rows[c].data() + (node - chunks[c].low) * width + first;
                for (int64_t k = 0; k < n; ++k) to[node * n + k] += from[k];
            }
    }
};

template <class T> inline void add_row(T* to, const T* from, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] += from[i];
}

// to += sum of the rows, which are summed first, so that rounding does not grow with what `to` holds.
template <class T> inline void add_rows(T* to, int64_t rows, const T* from, int64_t width) {
    for (int64_t k = 0; k < width; k += Simd<T>::W) {
        Vec<T> sum = {};
        for (int64_t r = 0; r < rows; ++r) sum += load<T>(from + r * width + k);
        add_to<T>(to + k, sum);
    }
}

// Matrix [rows, padded n] from a dense one [rows, n], and from its transpose [n, rows].
template <class T>
std::vector<T> widened(const T* from, int64_t rows, int64_t n, bool is_transposed = false) {
    std::vector<T> to(rows * padded<T>(n), T(0));
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < n; ++i)
            to[r * padded<T>(n) + i] = is_transposed ? from[i * rows + r] : from[r * n + i];
    return to;
}

}  // namespace clifford
