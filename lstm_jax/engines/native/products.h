// What the kernels have in common: products of packed matrices, and what XLA hands over.
//
// What a product reads lies as it reads it:
//
//   rows    [slots / W][rows][W]      the left factor; all addresses of the inner loop
//                                     are a constant apart
//   panel   [slots][2 W]              two vectors of columns of the right factor
//
// A slot is 32 bits: a float, or two bfloat16 numbers that are neighbours in the summed
// index.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

#include "threads.h"
#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

// ---- the arithmetic of products -----------------------------------------------------

struct Float32 {
  static constexpr int kPerSlot = 1;
  static INLINE V multiply_add(V sum, V a, V b) { return sum + a * b; }
  // A vector of slots: of numbers k and, where it has two, k + 1 of as many columns.
  static INLINE V columns(V first, V) { return first; }
  // The same of a row's next numbers, of which `count` are there.
  static INLINE V along(const float* row, int count) { return load(row, count); }
  // W numbers of one row, the block-th of their vectors.
  static INLINE void put(float* rows, int count, int block, int row, V x) {
    store(rows + (static_cast<size_t>(block) * count + row) * W, x);
  }
};

#if defined(__AVX512BF16__)
// bfloat16 factors, float32 sums: two products per slot and instruction.
struct Rounded {
  static constexpr int kPerSlot = 2;
  static INLINE V multiply_add(V sum, V a, V b) {
    return (V)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
  }
  static INLINE V columns(V first, V second) {
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    Bits turns;  // the n-th number of each, one beside the other
    for (int n = 0; n < W; ++n) turns[n] = n | (W + n) << 16;
    return (V)_mm512_permutexvar_epi16((__m512i)turns, both);
  }
  static INLINE V along(const float* row, int count) {
    const __m256i halves[2] = {upper(load(row, count)),
                               upper(load(row + W, count - W))};
    V x;
    std::memcpy(&x, halves, sizeof x);
    return x;
  }
  static INLINE __m256i upper(V x) {
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32((__m512i)rounded(x), 16));
  }
  static INLINE void put(float* rows, int count, int block, int row, V x) {
    const __m256bh halves = _mm512_cvtneps_pbh((__m512)x);
    const size_t vector = static_cast<size_t>(block / 2) * count + row;
    std::memcpy(rows + vector * W + block % 2 * (W / 2), &halves, sizeof halves);
  }
};
#else
// Factors rounded to bfloat16, multiplied as what they are, floats.
struct Rounded : Float32 {
  static INLINE V columns(V first, V) { return (V)rounded(first); }
  static INLINE V along(const float* row, int count) {
    return (V)rounded(load(row, count));
  }
  static INLINE void put(float* rows, int count, int block, int row, V x) {
    Float32::put(rows, count, block, row, (V)rounded(x));
  }
};
#endif

// How many slots n numbers take, in whole vectors.
template <class A>
constexpr size_t slots_of(size_t n) {
  return round_up(n, static_cast<size_t>(A::kPerSlot) * W) / A::kPerSlot;
}

// out [Rows, 2 W Panels] = rows @ panels, or += if that is one of more. Every sum is added up in the order of k, one
// product after the other, so that a row's results do not depend on which rows, and how
// many, are multiplied with it.
template <class A, int Rows, int Panels>
void multiply_tile(const float* rows, size_t block, const float* panel, size_t slots,
                   float* out, size_t stride, bool more) {
  if (more)  // they come while there is time
    for (int r = 0; r < Rows; ++r)
      for (int v = 0; v < 2 * Panels; ++v)
        __builtin_prefetch(out + r * stride + v * W, 1);
  V sums[Panels][Rows][2] = {};
  const size_t next = slots * 2 * W;
  for (size_t s = 0; s < slots; s += W, rows += block) {
    for (int k = 0; k < W; ++k, panel += 2 * W) {
#pragma GCC unroll 4
      for (int p = 0; p < Panels; ++p) {
        const V left = load(panel + p * next), right = load(panel + p * next + W);
#pragma GCC unroll 16
        for (int r = 0; r < Rows; ++r) {
          const V x = broadcast(rows + r * W + k);
          sums[p][r][0] = A::multiply_add(sums[p][r][0], x, left);
          sums[p][r][1] = A::multiply_add(sums[p][r][1], x, right);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < Panels; ++p)
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      float* to = out + r * stride + p * 2 * W;
      store(to, more ? load(to) + sums[p][r][0] : sums[p][r][0]);
      store(to + W, more ? load(to + W) + sums[p][r][1] : sums[p][r][1]);
    }
}

template <class A, int... I>
INLINE void multiply_some(int count, std::integer_sequence<int, I...>,
                          const float* rows, size_t block, const float* panel,
                          size_t slots, float* out, size_t stride, bool more) {
  using Tile =
      void (*)(const float*, size_t, const float*, size_t, float*, size_t, bool);
  static constexpr Tile tiles[] = {multiply_tile<A, I + 1, 1>...};
  tiles[count - 1](rows, block, panel, slots, out, stride, more);
}

// out [count, 2 W panels] = rows @ panels, or +=, in tiles of nearly equal numbers of
// rows.
template <class A>
void multiply(const float* rows, int count, const float* panel, int panels,
              size_t slots, float* out, size_t stride, bool more = false) {
  const size_t block = static_cast<size_t>(count) * W;
  if (count == 1)  // several panels at once, or each sum would wait for the one before
    for (; panels >= 4; panels -= 4, panel += slots * 8 * W, out += 8 * W)
      multiply_tile<A, 1, 4>(rows, block, panel, slots, out, stride, more);
  if (count <= 3)
    for (; panels >= 2 && count > 1; panels -= 2, panel += slots * 4 * W, out += 4 * W)
      (count == 2 ? multiply_tile<A, 2, 2> : multiply_tile<A, 3, 2>)(
          rows, block, panel, slots, out, stride, more);
  const int tiles = (count + kTileRows - 1) / kTileRows;
  for (; panels; --panels, panel += slots * 2 * W, out += 2 * W)
    for (int tile = 0, first = 0; tile < tiles; ++tile) {
      const int some = count / tiles + (tile < count % tiles);
      multiply_some<A>(some, std::make_integer_sequence<int, kTileRows>(),
                       rows + first * W, block, panel, slots, out + first * stride,
                       stride, more);
      first += some;
    }
}

// ---- packing ------------------------------------------------------------------------

// A vector of columns of w [K, stride], of which `left` are there, into a panel.
template <class A>
void pack_columns(const float* w, size_t stride, size_t K, int left, float* to) {
  for (size_t s = 0; s < slots_of<A>(K); ++s) {
    const size_t k = s * A::kPerSlot;
    const V first = k < K ? load(w + k * stride, left) : V{};
    const V second = k + 1 < K ? load(w + (k + 1) * stride, left) : V{};
    store(to + s * 2 * W, A::columns(first, second));
  }
}

// A panel of the transpose of w [count, stride], summed over the first K columns: the
// pair-th two vectors of its rows.
template <class A>
void pack_transposed(const float* w, size_t stride, size_t count, size_t K, int pair,
                     float* to) {
  const size_t slots = slots_of<A>(K);
  for (size_t first = 0; first < slots; first += W)  // a block that L1 holds
    for (int n = 0; n < 2 * W; ++n) {
      const size_t row = static_cast<size_t>(pair) * 2 * W + n;
      const size_t k = first * A::kPerSlot;
      float slots_of_row[W] = {};
      if (row < count && k < K)
        store(slots_of_row, A::along(w + row * stride + k, static_cast<int>(K - k)));
      for (int s = 0; s < W; ++s) to[(first + s) * 2 * W + n] = slots_of_row[s];
    }
}

// ---- a layer ------------------------------------------------------------------------

constexpr int kGroup = 128 / W;  // vectors of units whose gates are made together

// Masks [T, B], or null where there are none.
struct Masks {
  const bool* resets;
  const bool* valid;

  bool reset(size_t row) const { return resets && resets[row]; }
  bool skipped(size_t row) const { return valid && !valid[row]; }
};

// ---- what XLA calls -----------------------------------------------------------------

using In = ffi::Buffer<ffi::F32>;
using Ids = ffi::Buffer<ffi::S32>;    // [T, B]
using Mask = ffi::Buffer<ffi::PRED>;  // [T, B], or empty where there is none
using Out = ffi::Result<In>;

Masks masks_of(const Mask& resets, const Mask& valid) {
  return {resets.element_count() ? resets.typed_data() : nullptr,
          valid.element_count() ? valid.typed_data() : nullptr};
}

template <class Pool>
int threads_of(const Pool& pool, double operations, int64_t most) {
  if (operations < 1e7) return 1;  // sooner done than divided
  const int64_t there = std::max<int64_t>(1, pool.num_threads());
  return static_cast<int>(most ? std::min(there, most) : there);
}

template <class Call>
ffi::Error reporting(const Call& call) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                      "native: no memory for what it lays out");
  }
}

auto Bound() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Attr<bool>("rounded")
      .Attr<bool>("reverse")
      .Attr<int64_t>("threads");
}

}  // namespace
