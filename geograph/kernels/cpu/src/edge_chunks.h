// How the edges go to the threads, and the sums that chunks of edges share. What is done in which order depends
// on the problem alone, so the result does not depend on the number of threads.
//
// The gradient of a source is a sum over edges that stand anywhere. Where the edges of a chunk come from few
// nodes (batches of graphs), each chunk has private rows for these nodes, summed at the end. Where they come
// from all over a large graph, private rows would be many times the nodes; there the chunks run in waves: each
// leaves the gradients of its edges in a slot of bounded size, and after the wave they are added to the
// sources in the order of the edges, block of nodes by block of nodes. Both take O(nodes + edges) time and room.
#pragma once
#include <numeric>

#include "edge_tile.h"

namespace gg {

constexpr long kWave = 32;             // chunks of a wave
constexpr long kWaveBytes = 8L << 20;  // gradients that a wave leaves, about
constexpr long kBlocks = 64;           // blocks of nodes that the edges of a wave are sorted into

// At most `count` chunks of whole segments with about equal numbers of edges: nodes [cut[c], cut[c + 1]).
inline std::vector<long> cuts(const Shape &s, const int64_t *ptr, long count) {
  std::vector<long> cut{0};
  for (long c = 1; c < count; ++c) {
    const long wanted = s.edges * c / count;
    const long node = std::lower_bound(ptr + cut.back(), ptr + s.nodes + 1, wanted) - ptr;
    if (node > cut.back() && node < s.nodes) cut.push_back(node);
  }
  cut.push_back(s.nodes);
  return cut;
}
inline std::vector<long> cuts(const Shape &s, const int64_t *ptr) {
  return cuts(s, ptr, std::max(1L, std::min(s.edges < (1L << 18) ? 16L : 64L, s.edges / 1024)));
}

struct Range {  // nodes [low, high)
  long low = 0, high = 0;
};

// Chunks of the backward pass, and the nodes that the edges of each come from if its rows are private.
struct Plan {
  std::vector<long> cut;
  std::vector<Range> range;
  bool is_private;
  long chunks() const { return cut.size() - 1; }
  long slots() const { return is_private ? chunks() : std::min(chunks(), kWave); }

  Plan(const Shape &s, const int64_t *source, const int64_t *ptr, long row_bytes, int threads)
      : cut(cuts(s, ptr)), range(cut.size() - 1) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long c = 0; c < chunks(); ++c) {
      Range found{s.nodes, 0};
      for (long e = ptr[cut[c]]; e < ptr[cut[c + 1]]; ++e) {
        found.low = std::min<long>(found.low, source[e]);
        found.high = std::max<long>(found.high, source[e] + 1);
      }
      if (found.low < found.high) range[c] = found;
    }
    long rows = 0;
    for (const Range &r : range) rows += r.high - r.low;
    is_private = rows <= 2 * s.nodes + s.edges / 8;
    if (is_private) return;
    const long edges = std::max(kTile, kWaveBytes / kWave / row_bytes);
    cut = cuts(s, ptr, s.edges / edges + 1);
  }
};

// Sums that the chunks of one slot make, and what the present one leaves for its sources.
template <typename T> struct Slot {
  const int64_t *from = nullptr;  // source of each edge
  bool is_private = true;
  Range range;     // of the private rows
  long first = 0;  // first edge of the chunk
  std::vector<T> keep[9];
  std::vector<int64_t> order;  // edges of the chunk by block of nodes
  std::vector<long> start;     // place of the first edge of each block in `order`
  T *source = nullptr, *rows = nullptr, *edge, *weight, *bias, *gate, *head, *head_bias, *length, gate_bias = 0;

  void open(const Shape &s, const Args<T> &a) {
    const long h = padded<T>(s.hidden), m = padded<T>(s.messages), p = padded<T>(s.head);
    from = a.edge_source;
    edge = aligned(keep[1], s.scalars * h);
    weight = aligned(keep[2], s.messages * h);
    bias = aligned(keep[3], m);
    gate = aligned(keep[4], m);
    head = aligned(keep[5], s.head * m);
    head_bias = aligned(keep[6], p);
    length = aligned(keep[7], std::max(m, p));
  }
  void begin(const Plan &plan, long chunk, const int64_t *ptr, long h) {
    is_private = plan.is_private;
    first = ptr[plan.cut[chunk]];
    const long edges = ptr[plan.cut[chunk + 1]] - first;
    if (is_private) {
      range = plan.range[chunk];
      source = aligned(keep[0], (range.high - range.low) * h);
    } else if (static_cast<long>(order.size()) < edges) {
      rows = aligned(keep[8], edges * h);
      order.resize(edges);
    }
  }
  // Take the gradients of z1 of a tile.
  void take(const T *z1, long ld, long edge, long count, long h) {
    if (is_private) {
      for (long r = 0; r < count; ++r) add(source + (from[edge + r] - range.low) * h, z1 + r * ld, h);
    } else {
      for (long r = 0; r < count; ++r) std::copy(z1 + r * ld, z1 + r * ld + h, rows + (edge + r - first) * h);
    }
  }
  // Sort the edges of the chunk by the block of their source, in order within each.
  void sort(long end, long nodes) {
    const long width = (nodes + kBlocks - 1) / kBlocks;
    start.assign(kBlocks + 2, 0);
    for (long e = first; e < end; ++e) ++start[from[e] / width + 2];
    std::partial_sum(start.begin(), start.end(), start.begin());
    for (long e = first; e < end; ++e) order[start[from[e] / width + 1]++] = e;
  }
  // Add what was left for the sources of a block.
  void give(long block, T *to, long h) const {
    const long end = start[block + 1];
    for (long k = start[block]; k < end; ++k) {
      if (k + 4 < end) prefetch<1>(to + from[order[k + 4]] * h, h);
      add(to + from[order[k]] * h, rows + (order[k] - first) * h, h);
    }
  }
};

// Sum what the slots have made, in their order.
template <typename T>
void reduce(const Shape &s, const std::vector<Slot<T>> &slots, const Grads<T> &g, int threads) {
  const long h = padded<T>(s.hidden), m = padded<T>(s.messages), p = padded<T>(s.head);
  constexpr long block = 64;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long start = 0; start < s.nodes; start += block)
    for (const Slot<T> &slot : slots) {
      const long low = std::max(start, slot.range.low), high = std::min({start + block, s.nodes, slot.range.high});
      if (low < high) add(g.source + low * h, slot.source + (low - slot.range.low) * h, (high - low) * h);
    }
  if (g.weight) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < s.messages; ++row)
      for (const Slot<T> &slot : slots) add(g.weight + row * h, slot.weight + row * h, h);
  }
  for (const Slot<T> &slot : slots) {
    add(g.edge_weight, slot.edge, s.scalars * h);
    if (!g.weight) continue;
    add(g.bias, slot.bias, m);
    if (g.gate_weight) add(g.gate_weight, slot.gate, m), g.gate_bias[0] += slot.gate_bias;
    if (g.head_weight) add(g.head_weight, slot.head, s.head * m), add(g.head_bias, slot.head_bias, p);
    if (g.length_weight) add(g.length_weight, slot.length, s.head ? p : m);
  }
}

}  // namespace gg
