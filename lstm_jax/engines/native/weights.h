// The gradient of a matrix, and of a bias: sums over the rows of all steps.
//
//   dw [K, N] = x [rows, K]^T @ dz [rows, N]        db [N] = the sums of dz's columns
//
// Rows are the summed index: a block of them is laid out with x turned round, as rows of
// the product, and dz as its panels, a few columns at a time. Threads divide the result.

namespace {
namespace weights {

constexpr int kBand = 256;   // columns of x that are laid out at a time
constexpr int kSlots = 256;  // slots of its rows that are
constexpr int kPanels = 8;   // panels of dz that are packed at a time
constexpr int kLayOut = 16;  // multiplications that laying out a number is taken to cost
constexpr int kAhead = 16;   // rows from the one that is packed to the one asked for

struct Sizes {
  int rows, inputs, outputs;

  int pairs() const { return (outputs + 2 * W - 1) / (2 * W); }
};

struct Data {
  const float *x, *dz;
  float *dw, *db;  // db is null if there is none
};

// Transposes a square of numbers.
INLINE void transpose(V (&square)[W]) {
#pragma GCC unroll 4
  for (int half = W / 2; half; half /= 2) {
    Bits low, high;
    for (int n = 0; n < W; ++n) {
      low[n] = n & half ? W + n - half : n;
      high[n] = n & half ? W + n : n + half;
    }
#pragma GCC unroll 16
    for (int n = 0; n < W; ++n) {
      if (n & half) continue;
      const V above = square[n], below = square[n + half];
      square[n] = lanes_of(above, below, low);
      square[n + half] = lanes_of(above, below, high);
    }
  }
}

// Columns of x [rows, stride] as the rows of a product.
template <class A>
void put_columns(const float* x, size_t stride, int rows, int columns, size_t slots,
                 float* to) {
  const int blocks = static_cast<int>(slots / W) * A::kPerSlot;
  for (int block = 0; block < blocks; ++block)
    for (int column = 0; column < columns; column += W) {
      V square[W];
      for (int n = 0; n < W; ++n) {
        const int row = block * W + n;
        square[n] =
            row < rows ? load(x + row * stride + column, columns - column) : V{};
      }
      transpose(square);
      for (int n = 0; n < std::min(W, columns - column); ++n)
        A::put(to, columns, block, column + n, square[n]);
    }
}

// Panels of dz [rows, N], from the first pair of vectors on, and their columns' sums.
template <class A>
void pack_panels(const Sizes& size, const float* dz, int rows, int first, int pairs,
                 size_t slots, float* to, float* db) {
  const int N = size.outputs;
  V sums[2 * kPanels] = {};
  for (size_t s = 0; s < slots; ++s) {
    const int row = static_cast<int>(s) * A::kPerSlot;
    const float* ahead = dz + static_cast<size_t>(std::min(row + kAhead, rows - 1)) * N;
    for (int v = 0; v < 2 * pairs; ++v) {
      const int column = (2 * first + v) * W, left = N - column;
      __builtin_prefetch(ahead + std::min(column, N));
      if (A::kPerSlot == 2) __builtin_prefetch(ahead + N + std::min(column, N));
      const float* from = dz + static_cast<size_t>(row) * N + std::min(column, N);
      const V one = row < rows ? load(from, left) : V{};
      const V other =
          A::kPerSlot == 2 && row + 1 < rows ? load(from + N, left) : V{};
      sums[v] = sums[v] + (one + other);
      store(to + (v / 2 * slots + s) * 2 * W + v % 2 * W, A::columns(one, other));
    }
  }
  for (int v = 0; db && v < 2 * pairs; ++v) {
    const int column = std::min((2 * first + v) * W, N), left = N - column;
    store(db + column, load(db + column, left) + sums[v], left);
  }
}

constexpr size_t kScratch = static_cast<size_t>(kBand + kPanels * 2 * W) * kSlots +
                            static_cast<size_t>(kBand) * 2 * W;

// A part of the result: these inputs, and these pairs of vectors of the outputs.
template <class A>
void add_up(const Sizes& size, const Data& data, Share inputs, Share pairs,
            float* scratch) {
  const int N = size.outputs, most = kSlots * A::kPerSlot;
  const int last = pairs.first + pairs.count;
  float* panels = scratch + static_cast<size_t>(inputs.count) * kSlots;
  float* rest = panels + static_cast<size_t>(kPanels) * 2 * W * kSlots;
  float* dw = data.dw + static_cast<size_t>(inputs.first) * N;
  float* db = inputs.first ? nullptr : data.db;
  for (int row = 0; row < size.rows; row += most) {
    const int rows = std::min(most, size.rows - row);
    const size_t slots = slots_of<A>(rows);
    const float* x = data.x + static_cast<size_t>(row) * size.inputs + inputs.first;
    put_columns<A>(x, size.inputs, rows, inputs.count, slots, scratch);
    for (int pair = pairs.first; pair < last; pair += kPanels) {
      const int some = std::min(kPanels, last - pair), column = pair * 2 * W;
      const int whole = std::min(some, (N - column) / (2 * W));
      pack_panels<A>(size, data.dz + static_cast<size_t>(row) * N, rows, pair, some,
                     slots, panels, db);
      multiply<A>(scratch, inputs.count, panels, whole, slots, dw + column, N, row > 0);
      if (whole == some) continue;
      multiply<A>(scratch, inputs.count, panels + whole * slots * 2 * W, 1, slots, rest,
                  2 * W);
      for (int k = 0; k < inputs.count; ++k)
        for (int at = column + whole * 2 * W, v = 0; at < N; at += W, ++v) {
          float* to = dw + static_cast<size_t>(k) * N + at;
          const V more = load(rest + (2 * static_cast<size_t>(k) + v) * W);
          store(to, row ? load(to, N - at) + more : more, N - at);
        }
    }
  }
}

struct Division {
  int bands, columns;  // of inputs, and of pairs

  int parts() const { return bands * columns; }
};

// The division of which a part takes least: it multiplies its inputs and outputs, and
// is alone to read what it lays out of either.
Division divide(const Sizes& size, int threads) {
  const auto cost = [&](const Division& d) {
    const int inputs = (size.inputs + d.bands - 1) / d.bands;
    const int pairs = (size.pairs() + d.columns - 1) / d.columns;
    const int outputs = std::min(size.outputs, 2 * W * pairs);
    return static_cast<double>(inputs + kLayOut) * (outputs + kLayOut);
  };
  Division best{1, 1};
  for (int bands = 1; bands <= std::max(1, std::min(threads, size.inputs / kTileRows));
       ++bands) {
    const Division other{bands, std::max(1, std::min(threads / bands, size.pairs()))};
    if (cost(other) < cost(best)) best = other;
  }
  return best;
}

template <class A, class Pool>
ffi::Error run(Pool& pool, int64_t most, const Sizes& size, const Data& data) {
  const double operations = 2.0 * size.rows * size.inputs * size.outputs;
  const int threads = threads_of(pool, operations, most);
  const Division division = divide(size, threads);
  const int columns = division.columns;
  Scratch scratch(division.parts() * kScratch + W);
  float* parts = scratch.take(division.parts() * kScratch);
  if (data.db) std::memset(data.db, 0, size.outputs * sizeof(float));
  in_parallel(pool, division.parts(), [&](int part) {
    const Share inputs = share_of(size.inputs, division.bands, part / columns);
    const int pieces = (inputs.count + kBand - 1) / kBand;
    for (int piece = 0; piece < pieces; ++piece) {
      const Share some = share_of(inputs.count, pieces, piece);
      add_up<A>(size, data, {inputs.first + some.first, some.count},
                share_of(size.pairs(), columns, part % columns),
                parts + part * kScratch);
    }
  });
  return ffi::Error::Success();
}

ffi::Error Weights(ffi::ThreadPool pool, bool rounded, bool, int64_t threads, In x,
                   In dz, Out dw, Out db) {
  const auto given = x.dimensions(), made = dz.dimensions();
  const Sizes size{static_cast<int>(given[0] * given[1]), static_cast<int>(given[2]),
                   static_cast<int>(made[2])};
  const Data data{x.typed_data(), dz.typed_data(), dw->typed_data(),
                  db->element_count() ? db->typed_data() : nullptr};
  return reporting([&] {
    return (rounded ? run<Rounded, ffi::ThreadPool> : run<Float32, ffi::ThreadPool>)(
        pool, threads, size, data);
  });
}

}  // namespace weights
}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_jax_weights, weights::Weights,
                              Bound()
                                  .Arg<In>()    // x
                                  .Arg<In>()    // dz
                                  .Ret<In>()    // dw
                                  .Ret<In>());  // db, or nothing
