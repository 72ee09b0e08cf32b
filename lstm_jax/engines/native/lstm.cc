// The LSTM recurrence on a CPU: all steps of one layer, forward and backward.
//
// XLA multiplies the state by w_h at every step as if it had never seen w_h, and writes
// every intermediate result to memory. Here the weights are packed once per call, the
// state stays in the layout that the product reads, and the pointwise part of a step is
// done while its gates are in the cache:
//
//   forward, each step                      backward, each step
//     for a group of units:                   for all units:
//       gates = z_t + h @ w_h                   dc += dh * o (1 - tanh(c)^2)
//       open them, c, h -> the next rows        dz  = (dc, dc, dc, dh) * slopes
//                                             dh = dz @ w_h^T, two vectors of units
//                                                  at a time
//
// What a product reads lies as it reads it:
//
//   rows    [slots / W][rows][W]      the left factor; all addresses of the inner loop
//                                     are a constant apart
//   panel   [slots][2 W]              two vectors of columns of the right factor
//
// A slot is 32 bits: a float, or two bfloat16 numbers that are neighbours in the summed
// index. Threads divide the rows of the batch: each takes its own through all steps and
// never waits for another.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using std::size_t;
#define INLINE inline __attribute__((always_inline))

namespace {

// ---- vectors ------------------------------------------------------------------------

#if defined(__AVX512F__)
constexpr int W = 16, kTileRows = 14;  // lanes; rows whose sums fit in the registers
#elif defined(__AVX__)
constexpr int W = 8, kTileRows = 6;
#elif defined(__aarch64__)
constexpr int W = 4, kTileRows = 12;
#else
constexpr int W = 4, kTileRows = 6;
#endif

typedef float V __attribute__((vector_size(4 * W)));
typedef int32_t Bits __attribute__((vector_size(4 * W)));

INLINE V load(const float* p) {
  V x;
  std::memcpy(&x, p, sizeof x);
  return x;
}

INLINE void store(float* p, V x) { std::memcpy(p, &x, sizeof x); }

// The first n lanes, and zeros; all of them if there are as many.
INLINE V load(const float* p, int n) {
  if (n >= W) return load(p);
  V x = {};
  for (int k = 0; k < n; ++k) x[k] = p[k];
  return x;
}

INLINE void store(float* p, V x, int n) {
  if (n >= W) return store(p, x);
  for (int k = 0; k < n; ++k) p[k] = x[k];
}

// One slot in all lanes, whatever its bits mean.
INLINE V broadcast(const float* p) {
  int32_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return (V)(Bits{} + bits);
}

INLINE V quotient(V above, V below) {
#if defined(__AVX512F__)
  // An estimate of 14 bits and one step of Newton: half the time of a division.
  V r = (V)_mm512_rcp14_ps((__m512)below);
  return above * (r * (2.0f - below * r));
#else
  return above / below;
#endif
}

// The rational approximation of Eigen and XLA: within 1e-6, and NaN of NaN.
INLINE V tanh_of(V x) {
  constexpr float kLargest = 7.90531110763549805f;
  x = x > kLargest ? V{} + kLargest : x;
  x = x < -kLargest ? V{} - kLargest : x;
  const V s = x * x;
  V p = s * -2.76076847742355e-16f + 2.00018790482477e-13f;
  p = p * s + -8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  V q = s * 1.19825839466702e-06f + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return quotient(x * p, q);
}

INLINE V sigmoid_of(V x) { return tanh_of(x * 0.5f) * 0.5f + 0.5f; }

// To the nearest bfloat16, ties to even, as the upper half of 32 bits; NaN stays NaN.
INLINE Bits rounded(V x) {
  const Bits bits = (Bits)x;
  const Bits up = bits + 0x7fff + ((bits >> 16) & 1);
  return (x == x ? up : bits | 0x400000) & (int32_t)0xffff0000;
}

constexpr size_t round_up(size_t n, size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// ---- the arithmetic of products -----------------------------------------------------

struct Float32 {
  static constexpr int kPerSlot = 1;
  static INLINE V multiply_add(V sum, V a, V b) { return sum + a * b; }
  static INLINE float slot(const float* number, size_t, bool) { return *number; }
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
  // A number and the one `next` further on, if there is one.
  static INLINE float slot(const float* number, size_t next, bool both) {
    const V x = {number[0], both ? number[next] : 0};
    const Bits bits = rounded(x);
    const uint32_t slot = (static_cast<uint32_t>(bits[0]) >> 16) | bits[1];
    float result;
    std::memcpy(&result, &slot, sizeof result);
    return result;
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
  static INLINE float slot(const float* number, size_t, bool) {
    const V x = (V)rounded(V{} + *number);
    return x[0];
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

// out [Rows, 2 W Panels] = rows @ panels. Every sum is added up in the order of k, one
// product after the other, so that a row's results do not depend on which rows, and how
// many, are multiplied with it.
template <class A, int Rows, int Panels>
void multiply_tile(const float* rows, size_t block, const float* panel, size_t slots,
                   float* out, size_t stride) {
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
      store(out + r * stride + p * 2 * W, sums[p][r][0]);
      store(out + r * stride + p * 2 * W + W, sums[p][r][1]);
    }
}

template <class A, int... I>
INLINE void multiply_some(int count, std::integer_sequence<int, I...>,
                          const float* rows, size_t block, const float* panel,
                          size_t slots, float* out, size_t stride) {
  using Tile = void (*)(const float*, size_t, const float*, size_t, float*, size_t);
  static constexpr Tile tiles[] = {multiply_tile<A, I + 1, 1>...};
  tiles[count - 1](rows, block, panel, slots, out, stride);
}

// out [count, 2 W panels] = rows @ panels, in tiles of nearly equal numbers of rows.
template <class A>
void multiply(const float* rows, int count, const float* panel, int panels,
              size_t slots, float* out, size_t stride) {
  const size_t block = static_cast<size_t>(count) * W;
  if (count == 1)  // several panels at once, or each sum would wait for the one before
    for (; panels >= 4; panels -= 4, panel += slots * 8 * W, out += 8 * W)
      multiply_tile<A, 1, 4>(rows, block, panel, slots, out, stride);
  if (count <= 3)
    for (; panels >= 2 && count > 1; panels -= 2, panel += slots * 4 * W, out += 4 * W)
      (count == 2 ? multiply_tile<A, 2, 2> : multiply_tile<A, 3, 2>)(
          rows, block, panel, slots, out, stride);
  const int tiles = (count + kTileRows - 1) / kTileRows;
  for (; panels; --panels, panel += slots * 2 * W, out += 2 * W)
    for (int tile = 0, first = 0; tile < tiles; ++tile) {
      const int some = count / tiles + (tile < count % tiles);
      multiply_some<A>(some, std::make_integer_sequence<int, kTileRows>(),
                       rows + first * W, block, panel, slots, out + first * stride,
                       stride);
      first += some;
    }
}

// ---- threads and memory -------------------------------------------------------------

// Runs work(0) ... work(count - 1) on the threads of the pool and on this one. What no
// other thread has begun this one does, so it never waits for a pool that is busy, or
// whose threads all wait themselves.
template <class Work>
void in_parallel(ffi::ThreadPool& pool, int count, const Work& work) {
  struct Shared {
    std::atomic<int> next{0};
    int done = 0;
    std::mutex mutex;
    std::condition_variable changed;
  };
  const auto shared = std::make_shared<Shared>();
  const auto take = [shared, count, &work] {  // late ones find nothing left to do
    for (int k; (k = shared->next.fetch_add(1)) < count;) {
      work(k);
      const std::lock_guard<std::mutex> lock(shared->mutex);
      if (++shared->done == count) shared->changed.notify_all();
    }
  };
  for (int k = 1; k < count; ++k) {
    auto copy = take;
    pool.Schedule(std::move(copy));
  }
  take();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->changed.wait(lock, [&] { return shared->done == count; });
}

// Memory that a thread keeps from call to call: fresh pages cost more than they hold.
class Scratch {
 public:
  explicit Scratch(size_t floats) {
    if (floats > held().size) held().grow(floats);
    next_ = held().memory;
  }

  float* take(size_t floats) {
    float* found = next_;
    next_ += round_up(floats, W);
    return found;
  }

 private:
  struct Held {
    float* memory = nullptr;
    size_t size = 0;
    void grow(size_t floats) {
      std::free(memory);
      const size_t bytes = round_up(floats * sizeof(float), 4096);
      size = 0;
      memory = static_cast<float*>(std::aligned_alloc(4096, bytes));
      if (!memory) throw std::bad_alloc();
      size = floats;
    }
    ~Held() { std::free(memory); }
  };
  static Held& held() {
    thread_local Held held;
    return held;
  }
  float* next_;
};

// The rows of one thread.
struct Share {
  int first, count;
};

constexpr int kFewestRows = 8;  // fewer per thread, and the weights are read for little

struct Division {
  int parts;
  int rows;

  Division(int batch, int threads) : rows(batch) {
    parts = std::max(1, std::min(threads, batch / kFewestRows));
  }
  Share share(int part) const {
    const int least = rows / parts, more = rows % parts;
    return {part * least + std::min(part, more), least + (part < more)};
  }
};

// ---- the layer ----------------------------------------------------------------------

struct Sizes {
  int steps, batch, units;
  bool reverse;

  int vectors() const { return (units + W - 1) / W; }
  int left(int vector) const { return units - vector * W; }  // from there on
  int step(int k) const { return reverse ? steps - 1 - k : k; }
  size_t row(int t, int r) const { return static_cast<size_t>(t) * batch + r; }
};

// Masks [T, B], or null where there are none.
struct Masks {
  const bool* resets;
  const bool* valid;

  bool reset(size_t row) const { return resets && resets[row]; }
  bool skipped(size_t row) const { return valid && !valid[row]; }
};

// Panels of w_h [H, 4H]: for every vector of units those of (i, f) and of (g, o).
template <class A>
void pack_forward(const Sizes& size, const float* w, int vector, float* to) {
  const size_t H = size.units, slots = slots_of<A>(H);
  for (int gate = 0; gate < 4; ++gate) {
    float* column = to + gate / 2 * slots * 2 * W + gate % 2 * W;
    for (size_t s = 0; s < slots; ++s) {
      const size_t k = s * A::kPerSlot;
      float slot[W] = {};
      if (k < H) {
        const float* from = w + k * 4 * H + gate * H + static_cast<size_t>(vector) * W;
        for (int n = 0; n < std::min(W, size.left(vector)); ++n)
          slot[n] = A::slot(from + n, 4 * H, k + 1 < H);
      }
      std::memcpy(column + s * 2 * W, slot, sizeof slot);
    }
  }
}

// A panel of the transpose of w_h: two vectors of units, summed over all gates.
template <class A>
void pack_backward(const Sizes& size, const float* w, int pair, float* to) {
  const size_t H = size.units, slots = slots_of<A>(H);
  for (int gate = 0; gate < 4; ++gate)
    for (size_t first = 0; first < slots; first += W)  // a block that L1 holds
      for (int n = 0; n < 2 * W; ++n) {
        const size_t unit = static_cast<size_t>(pair) * 2 * W + n;
        for (size_t s = first; s < first + W; ++s) {
          const size_t k = s * A::kPerSlot;
          to[(gate * slots + s) * 2 * W + n] =
              unit < H && k < H ? A::slot(w + unit * 4 * H + gate * H + k, 1, k + 1 < H)
                                : 0;
        }
      }
}

struct ForwardData {
  const float *z, *w, *h, *c;
  float *hs, *c_last;
  float *gates, *cs;  // null if no gradient will be asked for
};

constexpr int kGroup = 128 / W;  // vectors of units whose gates are made together

// Scratch of a thread with so many rows.
template <class A>
size_t forward_scratch(const Sizes& size, int count) {
  const size_t rows = count * slots_of<A>(size.units);
  const size_t gates = static_cast<size_t>(count) * (kGroup * 4 * W + W);
  const size_t c = static_cast<size_t>(count) * size.vectors() * W;
  return 2 * rows + gates + c + 4 * W;
}

template <class A>
void forward(const Sizes& size, const Masks& masks, const ForwardData& data,
             const float* panels, Share share, float* scratch) {
  const int n = share.count, vectors = size.vectors(), H = size.units;
  const size_t slots = slots_of<A>(H), stride = kGroup * 4 * W + W;
  const size_t panel = slots * 2 * W;
  float* now = scratch;
  float* next = now + n * slots;
  float* gates = next + n * slots;
  float* c = gates + n * stride;
  std::memset(now, 0, 2 * n * slots * sizeof(float));
  for (int r = 0; r < n; ++r)
    for (int v = 0; v < vectors; ++v) {
      const size_t at = static_cast<size_t>(share.first + r) * H + v * W;
      A::put(now, n, v, r, load(data.h + at, size.left(v)));
      store(c + (static_cast<size_t>(r) * vectors + v) * W,
            load(data.c + at, size.left(v)));
    }
  const float* before = data.h + static_cast<size_t>(share.first) * H;
  for (int k = 0; k < size.steps; ++k) {
    const size_t first = size.row(size.step(k), share.first);
    for (int r = 0; r < n; ++r)
      if (masks.reset(first + r)) {
        std::memset(c + static_cast<size_t>(r) * vectors * W, 0,
                    vectors * W * sizeof(float));
        for (size_t s = 0; s < slots; s += W)
          store(now + s * n + static_cast<size_t>(r) * W, V{});
      }
    for (int start = 0; start < vectors; start += kGroup) {
      const int end = std::min(vectors, start + kGroup);
      multiply<A>(now, n, panels + 2 * start * panel, 2 * (end - start), slots, gates,
                  stride);
      for (int r = 0; r < n; ++r) {
        if (masks.skipped(first + r)) continue;
        const size_t row = first + r;
        for (int v = start; v < end; ++v) {
          const int left = size.left(v);
          const size_t at = row * 4 * H + static_cast<size_t>(v) * W;
          const float* made = gates + r * stride + (v - start) * 4 * W;
          const float* z = data.z + at;
          float* cell = c + (static_cast<size_t>(r) * vectors + v) * W;
          const V i = sigmoid_of(load(made) + load(z, left));
          const V f = sigmoid_of(load(made + W) + load(z + H, left));
          const V g = tanh_of(load(made + 2 * W) + load(z + 2 * H, left));
          const V o = sigmoid_of(load(made + 3 * W) + load(z + 3 * H, left));
          const V c_new = f * load(cell) + i * g, h = o * tanh_of(c_new);
          store(cell, c_new);
          store(data.hs + row * H + v * W, h, left);
          A::put(next, n, v, r, h);
          if (data.gates) {
            store(data.gates + at, i, left);
            store(data.gates + at + H, f, left);
            store(data.gates + at + 2 * H, g, left);
            store(data.gates + at + 3 * H, o, left);
            store(data.cs + row * H + v * W, c_new, left);
          }
        }
      }
    }
    for (int r = 0; r < n; ++r)
      if (masks.skipped(first + r)) {  // this row's state stays
        const size_t at = (first + r) * H, bytes = H * sizeof(float);
        std::memcpy(data.hs + at, before + static_cast<size_t>(r) * H, bytes);
        for (size_t s = 0; s < slots; s += W) {
          const size_t place = s * n + static_cast<size_t>(r) * W;
          store(next + place, load(now + place));
        }
        if (data.gates) {
          std::memset(data.gates + 4 * at, 0, 4 * bytes);
          std::memcpy(data.cs + at, c + static_cast<size_t>(r) * vectors * W, bytes);
        }
      }
    before = data.hs + first * H;
    std::swap(now, next);
  }
  for (int r = 0; r < n; ++r)
    std::memcpy(data.c_last + static_cast<size_t>(share.first + r) * H,
                c + static_cast<size_t>(r) * vectors * W, H * sizeof(float));
}

struct BackwardData {
  const float *w, *gates, *cs, *c, *dhs, *dh_last, *dc_last;
  float *dz, *dh, *dc;  // dz may be where the gates are
};

template <class A>
size_t backward_scratch(const Sizes& size, int count) {
  const size_t width = round_up(size.units, 2 * W);
  return count * (4 * slots_of<A>(size.units) + 3 * width) + 4 * W;
}

template <class A>
void backward(const Sizes& size, const Masks& masks, const BackwardData& data,
              const float* panels, Share share, float* scratch) {
  const int n = share.count, vectors = size.vectors(), H = size.units;
  const size_t slots = slots_of<A>(H), width = round_up(H, 2 * W);
  const int blocks = static_cast<int>(slots / W) * A::kPerSlot;  // vectors of a gate
  float* rows = scratch;                                         // dz, as factors
  float* dh = rows + n * 4 * slots;
  float* dh_next = dh + n * width;
  float* dc = dh_next + n * width;
  std::memset(rows, 0, n * 4 * slots * sizeof(float));
  std::memset(dh, 0, 3 * n * width * sizeof(float));
  for (int r = 0; r < n; ++r) {
    const size_t at = static_cast<size_t>(share.first + r) * H;
    std::memcpy(dh + r * width, data.dh_last + at, H * sizeof(float));
    std::memcpy(dc + r * width, data.dc_last + at, H * sizeof(float));
  }
  for (int k = size.steps - 1; k >= 0; --k) {
    const size_t first = size.row(size.step(k), share.first);
    const float* c_before = k ? data.cs + size.row(size.step(k - 1), share.first) * H
                              : data.c + static_cast<size_t>(share.first) * H;
    for (int r = 0; r < n; ++r) {
      const size_t row = first + r;
      const bool skipped = masks.skipped(row);
      const bool fresh = masks.reset(row);
      for (int v = 0; v < vectors; ++v) {
        const int left = size.left(v);
        const size_t at = row * 4 * H + static_cast<size_t>(v) * W;
        float *dh_here = dh + r * width + v * W, *dc_here = dc + r * width + v * W;
        float* dz = data.dz + at;
        const V dh_all =
            load(dh_here) + load(data.dhs + row * H + static_cast<size_t>(v) * W, left);
        V dzs[4] = {};
        if (skipped) {
          store(dh_here, dh_all);
        } else {
          const V i = load(data.gates + at, left), f = load(data.gates + at + H, left);
          const V g = load(data.gates + at + 2 * H, left);
          const V o = load(data.gates + at + 3 * H, left);
          const V squashed = tanh_of(load(data.cs + row * H + v * W, left));
          const V c0 = fresh ? V{} : load(c_before + static_cast<size_t>(r) * H + v * W,
                                          left);
          const V dc_all =
              load(dc_here) + dh_all * o * (1.0f - squashed * squashed);
          dzs[0] = dc_all * g * i * (1.0f - i);
          dzs[1] = dc_all * c0 * f * (1.0f - f);
          dzs[2] = dc_all * i * (1.0f - g * g);
          dzs[3] = dh_all * squashed * o * (1.0f - o);
          store(dc_here, fresh ? V{} : dc_all * f);
        }
#pragma GCC unroll 4
        for (int gate = 0; gate < 4; ++gate) {
          store(dz + gate * H, dzs[gate], left);
          A::put(rows, n, gate * blocks + v, r, dzs[gate]);
        }
      }
    }
    multiply<A>(rows, n, panels, static_cast<int>(width) / (2 * W), 4 * slots, dh_next,
                width);
    for (int r = 0; r < n; ++r) {
      if (masks.skipped(first + r))
        std::memcpy(dh_next + r * width, dh + r * width, width * sizeof(float));
      else if (masks.reset(first + r))
        std::memset(dh_next + r * width, 0, width * sizeof(float));
    }
    std::swap(dh, dh_next);
  }
  for (int r = 0; r < n; ++r) {
    const size_t at = static_cast<size_t>(share.first + r) * H;
    std::memcpy(data.dh + at, dh + r * width, H * sizeof(float));
    std::memcpy(data.dc + at, dc + r * width, H * sizeof(float));
  }
}

// ---- what XLA calls -----------------------------------------------------------------

using In = ffi::Buffer<ffi::F32>;
using Mask = ffi::Buffer<ffi::PRED>;  // [T, B], or empty where there is none
using Out = ffi::Result<In>;

Masks masks_of(const Mask& resets, const Mask& valid) {
  return {resets.element_count() ? resets.typed_data() : nullptr,
          valid.element_count() ? valid.typed_data() : nullptr};
}

Sizes sizes_of(const In& states, bool reverse) {  // [T, B, H]
  const auto d = states.dimensions();
  return {static_cast<int>(d[0]), static_cast<int>(d[1]), static_cast<int>(d[2]),
          reverse};
}

int threads_of(const ffi::ThreadPool& pool, const Sizes& size, int64_t most) {
  const double operations = 8.0 * size.steps * size.batch * size.units * size.units;
  if (operations < 1e6) return 1;  // sooner done than divided
  const int64_t there = std::max<int64_t>(1, pool.num_threads());
  return static_cast<int>(most ? std::min(there, most) : there);
}

template <class A>
ffi::Error run_forward(ffi::ThreadPool& pool, int64_t threads, const Sizes& size,
                       const Masks& masks, const ForwardData& data) {
  const Division division(size.batch, threads_of(pool, size, threads));
  const size_t panel = slots_of<A>(size.units) * 2 * W;
  const size_t each = forward_scratch<A>(size, division.share(0).count);
  Scratch scratch(2 * size.vectors() * panel + division.parts * round_up(each, W) + W);
  float* panels = scratch.take(2 * size.vectors() * panel);
  in_parallel(pool, division.parts, [&](int part) {
    for (int v = part; v < size.vectors(); v += division.parts)
      pack_forward<A>(size, data.w, v, panels + 2 * v * panel);
  });
  float* shares = scratch.take(division.parts * round_up(each, W));
  in_parallel(pool, division.parts, [&](int part) {
    forward<A>(size, masks, data, panels, division.share(part),
               shares + part * round_up(each, W));
  });
  return ffi::Error::Success();
}

template <class A>
ffi::Error run_backward(ffi::ThreadPool& pool, int64_t threads, const Sizes& size,
                        const Masks& masks, const BackwardData& data) {
  const Division division(size.batch, threads_of(pool, size, threads));
  const size_t panel = 4 * slots_of<A>(size.units) * 2 * W;
  const int pairs = (size.vectors() + 1) / 2;
  const size_t each = backward_scratch<A>(size, division.share(0).count);
  Scratch scratch(pairs * panel + division.parts * round_up(each, W) + W);
  float* panels = scratch.take(pairs * panel);
  in_parallel(pool, division.parts, [&](int part) {
    for (int pair = part; pair < pairs; pair += division.parts)
      pack_backward<A>(size, data.w, pair, panels + pair * panel);
  });
  float* shares = scratch.take(division.parts * round_up(each, W));
  in_parallel(pool, division.parts, [&](int part) {
    backward<A>(size, masks, data, panels, division.share(part),
                shares + part * round_up(each, W));
  });
  return ffi::Error::Success();
}

template <class Call>
ffi::Error reporting(const Call& call) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                      "native: no memory for the packed weights");
  }
}

ffi::Error Forward(ffi::ThreadPool pool, bool rounded, bool reverse, int64_t threads,
                   In z, In w, In h, In c, Mask resets, Mask valid, Out hs, Out c_last) {
  const Sizes size = sizes_of(*hs, reverse);
  const ForwardData data{z.typed_data(),   w.typed_data(),       h.typed_data(),
                         c.typed_data(),   hs->typed_data(),     c_last->typed_data(),
                         nullptr,          nullptr};
  return reporting([&] {
    return (rounded ? run_forward<Rounded> : run_forward<Float32>)(
        pool, threads, size, masks_of(resets, valid), data);
  });
}

ffi::Error ForwardKeep(ffi::ThreadPool pool, bool rounded, bool reverse,
                       int64_t threads, In z, In w, In h, In c, Mask resets, Mask valid,
                       Out hs, Out c_last, Out gates, Out cs) {
  const Sizes size = sizes_of(*hs, reverse);
  const ForwardData data{z.typed_data(),      w.typed_data(),   h.typed_data(),
                         c.typed_data(),      hs->typed_data(), c_last->typed_data(),
                         gates->typed_data(), cs->typed_data()};
  return reporting([&] {
    return (rounded ? run_forward<Rounded> : run_forward<Float32>)(
        pool, threads, size, masks_of(resets, valid), data);
  });
}

ffi::Error Backward(ffi::ThreadPool pool, bool rounded, bool reverse, int64_t threads,
                    In w, In gates, In cs, In c, In dhs, In dh_last, In dc_last,
                    Mask resets, Mask valid, Out dz, Out dh, Out dc) {
  const Sizes size = sizes_of(cs, reverse);
  const BackwardData data{w.typed_data(),       gates.typed_data(), cs.typed_data(),
                          c.typed_data(),       dhs.typed_data(),   dh_last.typed_data(),
                          dc_last.typed_data(), dz->typed_data(),   dh->typed_data(),
                          dc->typed_data()};
  return reporting([&] {
    return (rounded ? run_backward<Rounded> : run_backward<Float32>)(
        pool, threads, size, masks_of(resets, valid), data);
  });
}

auto Bound() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Attr<bool>("rounded")
      .Attr<bool>("reverse")
      .Attr<int64_t>("threads");
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_jax_forward, Forward,
                              Bound()
                                  .Arg<In>()    // z
                                  .Arg<In>()    // w_h
                                  .Arg<In>()    // h
                                  .Arg<In>()    // c
                                  .Arg<Mask>()  // resets
                                  .Arg<Mask>()  // valid
                                  .Ret<In>()    // hs
                                  .Ret<In>());  // last c
XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_jax_forward_keep, ForwardKeep,
                              Bound()
                                  .Arg<In>()    // z
                                  .Arg<In>()    // w_h
                                  .Arg<In>()    // h
                                  .Arg<In>()    // c
                                  .Arg<Mask>()  // resets
                                  .Arg<Mask>()  // valid
                                  .Ret<In>()    // hs
                                  .Ret<In>()    // last c
                                  .Ret<In>()    // gates
                                  .Ret<In>());  // cs
XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_jax_backward, Backward,
                              Bound()
                                  .Arg<In>()    // w_h
                                  .Arg<In>()    // gates
                                  .Arg<In>()    // cs
                                  .Arg<In>()    // c before the first step
                                  .Arg<In>()    // gradients of hs
                                  .Arg<In>()    // of the last h
                                  .Arg<In>()    // of the last c
                                  .Arg<Mask>()  // resets
                                  .Arg<Mask>()  // valid
                                  .Ret<In>()    // dz
                                  .Ret<In>()    // of the first h
                                  .Ret<In>());  // of the first c
