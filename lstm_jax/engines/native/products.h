// What the kernels have in common: vectors, products of packed matrices, threads.
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
#include <cmath>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

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

#if defined(__AVX512F__)
INLINE __mmask16 first_lanes(int n) {  // fewer than all
  return static_cast<__mmask16>((1u << (n > 0 ? n : 0)) - 1);
}
#endif

// The first n lanes, and zeros; all of them if there are as many.
INLINE V load(const float* p, int n) {
  if (n >= W) return load(p);
#if defined(__AVX512F__)
  return (V)_mm512_maskz_loadu_ps(first_lanes(n), p);
#else
  V x = {};
  for (int k = 0; k < n; ++k) x[k] = p[k];
  return x;
#endif
}

INLINE void store(float* p, V x, int n) {
  if (n >= W) return store(p, x);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, first_lanes(n), (__m512)x);
#else
  for (int k = 0; k < n; ++k) p[k] = x[k];
#endif
}

// The first n lanes of x, and zeros.
INLINE V first_of(V x, int n) {
#if defined(__AVX512F__)
  return n >= W ? x : (V)_mm512_maskz_mov_ps(first_lanes(n), (__m512)x);
#else
  for (int k = n; k < W; ++k) x[k] = 0;
  return x;
#endif
}

// Lanes of a and, from W on, of b.
INLINE V lanes_of(V a, V b, Bits from) {
#if defined(__AVX512F__)
  return (V)_mm512_permutex2var_ps((__m512)a, (__m512i)from, (__m512)b);
#else
  V x;
  for (int n = 0; n < W; ++n) x[n] = from[n] < W ? a[from[n]] : b[from[n] - W];
  return x;
#endif
}

INLINE V smaller(V a, V b) { return a < b ? a : b; }

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

INLINE float highest_of(V x) {
  float found = x[0];
  for (int n = 1; n < W; ++n) found = x[n] > found ? x[n] : found;
  return found;
}

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

// out [Rows, 2 W Panels] = rows @ panels, or += where there is more to add to. Every sum is added up in the order of k, one
// product after the other, so that a row's results do not depend on which rows, and how
// many, are multiplied with it.
template <class A, int Rows, int Panels>
void multiply_tile(const float* rows, size_t block, const float* panel, size_t slots,
                   float* out, size_t stride, bool more) {
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

// out [count, 2 W panels] = rows @ panels, or +=, in tiles of nearly equal numbers of rows.
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

// ---- threads and memory -------------------------------------------------------------

// Runs work(0) ... work(count - 1) on the threads of the pool and on this one. What no
// other thread has begun this one does, so it never waits for a pool that is busy, or
// whose threads all wait themselves.
template <class Pool, class Work>
void in_parallel(Pool& pool, int count, const Work& work) {
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

INLINE void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Threads that meet after every piece of work. Each does the same part every time, whose
// weights stay in its core's cache. What another has not begun when the first is through
// with its own, because it has not come yet, the first one does: it never waits for a
// pool that is busy.
class Team {
 public:
  template <class Pool>
  Team(Pool& pool, int members) : shared_(std::make_shared<Shared>(members)) {
    for (int member = 1; member < members; ++member) {
      auto attend = [shared = shared_, member] { shared->attend(member); };
      pool.Schedule(std::move(attend));
    }
  }
  ~Team() { shared_->round.store(kOver, std::memory_order_release); }

  // Runs work(member) for all of them.
  template <class Work>
  void meet(const Work& work) {
    Shared& shared = *shared_;
    shared.work = &work;
    shared.call = [](const void* work, int member) {
      (*static_cast<const Work*>(work))(member);
    };
    const int64_t round = shared.round.load(std::memory_order_relaxed) + 1;
    shared.round.store(round, std::memory_order_release);
    work(0);
    for (size_t member = 1; member < shared.members.size(); ++member) {
      if (shared.members[member].begins(round)) {
        work(static_cast<int>(member));
        continue;
      }
      const auto& done = shared.members[member].done;
      for (int n = 0; done.load(std::memory_order_acquire) != round; ++n)
        wait_a_little(n);
    }
  }

 private:
  static constexpr int64_t kOver = -1;

  struct alignas(128) Member {  // caches are kept apart in lines, and fetch pairs of them
    std::atomic<int64_t> begun{0}, done{0};

    bool begins(int64_t round) {  // it is the first to
      int64_t before = round - 1;
      return begun.compare_exchange_strong(before, round, std::memory_order_acq_rel);
    }
  };

  struct Shared {
    alignas(128) std::atomic<int64_t> round{0};
    const void* work = nullptr;
    void (*call)(const void*, int) = nullptr;
    std::vector<Member> members;

    explicit Shared(int count) : members(count) {}

    void attend(int member) {
      int64_t seen = 0;
      for (int n = 0;; ++n) {
        const int64_t now = round.load(std::memory_order_acquire);
        if (now == kOver) return;
        if (now == seen) {
          wait_a_little(n);
          continue;
        }
        if (members[member].begins(now)) {
          call(work, member);
          members[member].done.store(now, std::memory_order_release);
        }
        seen = now;
        n = 0;
      }
    }
  };

  static void wait_a_little(int times_before) {
    if (times_before < 4096)
      pause_briefly();
    else
      std::this_thread::yield();
  }

  std::shared_ptr<Shared> shared_;
};

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kChecked = true;  // what is kept must not hide what lies beyond it
#else
constexpr bool kChecked = false;
#endif

// Memory that a thread keeps from call to call: fresh pages cost more than they hold.
class Scratch {
 public:
  explicit Scratch(size_t floats) {
    if (kChecked || floats > held().size) held().grow(floats);
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
      const size_t alignment = kChecked ? sizeof(V) : 4096;
      const size_t bytes = round_up(floats * sizeof(float), alignment);
      size = 0;
      memory = static_cast<float*>(std::aligned_alloc(alignment, bytes));
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

Share share_of(int whole, int parts, int part) {
  const int least = whole / parts, more = whole % parts;
  return {part * least + std::min(part, more), least + (part < more)};
}

constexpr int kFewestRows = 8;  // fewer per thread, and the weights are read for little

struct Division {
  int parts;
  int rows;

  Division(int batch, int threads) : rows(batch) {
    parts = std::max(1, std::min(threads, batch / kFewestRows));
  }
  Share share(int part) const { return share_of(rows, parts, part); }
};

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
                      "native: no memory for the packed weights");
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
