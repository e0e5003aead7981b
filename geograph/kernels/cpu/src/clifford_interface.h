// What the C interfaces of the products and blocks share: sizes and tables from plain arrays.
#pragma once

#include "clifford_product.h"

namespace clifford {

// First entries of `sizes` in every interface: threads, blades, grades, paths, then those of the operator.
inline Algebra algebra_of(const int64_t* sizes, const int64_t* integers, const double* reals) {
    const int64_t blades = sizes[1], square = blades * blades;
    return {blades, sizes[2],      sizes[3], integers, integers + blades, integers + blades + square,
            reals,  reals + square};
}

struct ProductSizes {
    int64_t threads, items, channels, outputs;
    bool is_connected;
};

inline ProductSizes product_sizes(const int64_t* sizes) {
    return {sizes[0], sizes[4], sizes[5], sizes[6], sizes[7] != 0};
}

// Items of a tile: its arrays stay in a second-level cache.
template <class T> int64_t tile_items(const Algebra& algebra, int64_t channels) {
    return std::clamp<int64_t>((1 << 15) / int64_t(sizeof(T)) / (algebra.blades * padded<T>(channels)), 4,
                               64);
}

}  // namespace clifford
