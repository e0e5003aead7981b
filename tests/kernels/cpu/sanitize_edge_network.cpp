// Every path of the edge network on arrays of exactly the promised size, to be run under the sanitizers.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "edge_network.cpp"

template <typename T> struct Array {  // exactly so many entries on the heap: one beyond is caught
  std::unique_ptr<T[]> data;
  explicit Array(long count, double scale = 0) : data(new T[count]) {
    for (long i = 0; i < count; ++i) data[i] = T(scale * (2.0 * std::rand() / RAND_MAX - 1));
  }
  T *get() { return data.get(); }
};

struct Graph {
  long nodes;
  std::vector<int64_t> source, ptr;
};

Graph complete() {
  std::vector<int64_t> source, ptr{0};
  long start = 0;
  for (long size : {0, 1, 5, 0, 71, 2}) {
    for (long i = 0; i < size; ++i) {
      for (long j = 0; j < size; ++j)
        if (i != j) source.push_back(start + j);
      ptr.push_back(source.size());
    }
    start += size;
  }
  return {start, source, ptr};
}

Graph scattered(long nodes, long most) {  // edges from anywhere, and one node with many
  std::vector<int64_t> source, ptr{0};
  for (long i = 0; i < nodes; ++i) {
    const long degree = i == nodes / 3 ? 40 * most : std::rand() % (most + 1);
    for (long k = 0; k < degree; ++k) source.push_back(std::rand() % nodes);
    ptr.push_back(source.size());
  }
  return {nodes, source, ptr};
}

template <typename T>
void run(const Graph &graph, long hidden, long messages, long head, long scalars, bool gate, bool length, int relu) {
  const std::vector<int64_t> &source = graph.source, &ptr = graph.ptr;
  const long nodes = graph.nodes, edges = source.size(), h = gg::padded<T>(hidden), m = gg::padded<T>(messages),
             p = gg::padded<T>(head);
  gg::Shape s{nodes, edges, hidden, scalars, messages, head};
  Array<T> target(nodes * h, .5), from(nodes * h, .5), e(edges * scalars, 1), we(hidden * scalars, .5),
      w(messages * hidden, .3), b(messages, .3), gw(messages, .3), gb(1, .3), hw(head * messages, .3), hb(head, .3),
      lw(head ? head : messages, .3);
  gg::Args<T> a{target.get(), from.get(), e.get(), we.get(), w.get(), b.get(), gate ? gw.get() : nullptr,
                gate ? gb.get() : nullptr, head ? hw.get() : nullptr, head ? hb.get() : nullptr,
                length ? lw.get() : nullptr, source.data(), ptr.data()};
  Array<T> total(nodes * m), l(edges);
  Array<T> dt(nodes * h), df(nodes * h), de(edges * scalars), dwe(scalars * h), dw(messages * h), db(m), dgw(m),
      dgb(1), dhw(head * m), dhb(p), dlw(head ? p : m);
  gg::Grads<T> g{total.get(), length ? l.get() : nullptr, dt.get(), df.get(), de.get(), dwe.get(), dw.get(), db.get(),
                 gate ? dgw.get() : nullptr, gate ? dgb.get() : nullptr, head ? dhw.get() : nullptr,
                 head ? dhb.get() : nullptr, length ? dlw.get() : nullptr};
  for (int threads : {1, 3}) {
    if (relu) {
      gg::forward<T, true>(s, a, total.get(), length ? l.get() : nullptr, threads);
      gg::backward<T, true>(s, a, g, threads);
    } else {
      gg::forward<T, false>(s, a, total.get(), length ? l.get() : nullptr, threads);
      gg::backward<T, false>(s, a, g, threads);
    }
    Array<T> mean(h), var(h);
    gg::moments<T>(s, a, mean.get(), var.get(), threads);
    gg::moments_backward<T>(s, a, mean.get(), var.get(), mean.get(), g, threads);
  }
}

int main() {
  const Graph graph = complete();
  run<float>(graph, 72, 72, 72, 2, true, true, 1);
  run<float>(graph, 64, 64, 0, 33, true, false, 0);
  run<float>(graph, 33, 17, 5, 12, true, true, 0);
  run<double>(graph, 33, 17, 5, 12, false, true, 0);
  run<double>(graph, 16, 8, 0, 1, false, true, 1);
  run<float>(graph, 1, 1, 1, 1, true, true, 0);
  run<double>(scattered(900, 36), 130, 8, 4, 2, true, true, 0);
  run<float>(scattered(500, 60), 40, 24, 0, 1, false, true, 1);
  std::puts("clean");
}
