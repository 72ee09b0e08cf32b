// The product of all steps' rows with one matrix, which is packed once.
//
//   out [rows, N] = x [rows, K] @ w [K, N] + b        or @ w^T, of w [N, K], without b
//
// A block of rows is laid out as the product reads it, and stays in the cache for all
// columns.

namespace {
namespace project {

constexpr size_t kBlock = size_t(1) << 17;  // numbers of the rows that are in the cache

struct Sizes {
  int rows, inputs, outputs;
  bool transposed;

  int pairs() const { return (outputs + 2 * W - 1) / (2 * W); }
  template <class A>
  int block() const {
    const int tiles = static_cast<int>(kBlock / (kTileRows * slots_of<A>(inputs)));
    return kTileRows * std::max(1, std::min(8, tiles));
  }
};

struct Data {
  const float *x, *w, *b;  // b is null if there is none
  float* out;
};

template <class A>
void pack(const Sizes& size, const Data& data, int part, int parts, float* panels) {
  const size_t K = size.inputs, N = size.outputs, panel = slots_of<A>(K) * 2 * W;
  for (int pair = part; pair < size.pairs(); pair += parts) {
    float* to = panels + pair * panel;
    if (size.transposed) {
      pack_transposed<A>(data.w, K, N, K, pair, to);
      continue;
    }
    for (int side = 0; side < 2; ++side) {
      const size_t column = (2 * static_cast<size_t>(pair) + side) * W;
      const int left = static_cast<int>(N) - static_cast<int>(column);
      pack_columns<A>(data.w + std::min(column, N), N, K, left, to + side * W);
    }
  }
}

// Scratch of a thread: a block of rows, and the columns that no pair of vectors fills.
template <class A>
size_t scratch_floats(const Sizes& size) {
  return size.block<A>() * (slots_of<A>(size.inputs) + 2 * W);
}

template <class A>
void multiply_rows(const Sizes& size, const Data& data, const float* panels,
                   Share share, float* scratch) {
  const int K = size.inputs, N = size.outputs, whole = N / (2 * W);
  const size_t slots = slots_of<A>(K);
  const int vectors = static_cast<int>(slots / W) * A::kPerSlot;
  for (int done = 0; done < share.count;) {
    const int n = std::min(size.block<A>(), share.count - done);
    const size_t first = share.first + done;
    for (int r = 0; r < n; ++r)
      for (int v = 0; v < vectors; ++v)
        A::put(scratch, n, v, r, load(data.x + (first + r) * K + v * W, K - v * W));
    float* out = data.out + first * N;
    multiply<A>(scratch, n, panels, whole, slots, out, N);
    if (whole < size.pairs()) {
      float* rest = scratch + n * slots;
      multiply<A>(scratch, n, panels + whole * slots * 2 * W, 1, slots, rest, 2 * W);
      for (int r = 0; r < n; ++r)
        std::memcpy(out + static_cast<size_t>(r) * N + whole * 2 * W, rest + r * 2 * W,
                    (N - whole * 2 * W) * sizeof(float));
    }
    for (int r = 0; r < n && data.b; ++r)
      for (int column = 0; column < N; column += W) {
        float* at = out + static_cast<size_t>(r) * N + column;
        store(at, load(at, N - column) + load(data.b + column, N - column), N - column);
      }
    done += n;
  }
}

template <class A, class Pool>
ffi::Error run(Pool& pool, int64_t most, const Sizes& size, const Data& data) {
  const double operations = 2.0 * size.rows * size.inputs * size.outputs;
  const Division division(size.rows, threads_of(pool, operations, most));
  const size_t packed = size.pairs() * slots_of<A>(size.inputs) * 2 * W;
  const size_t each = round_up(scratch_floats<A>(size), W);
  Scratch scratch(packed + division.parts * each + W);
  float* panels = scratch.take(packed);
  in_parallel(pool, division.parts, [&](int part) {
    pack<A>(size, data, part, division.parts, panels);
  });
  float* shares = scratch.take(division.parts * each);
  in_parallel(pool, division.parts, [&](int part) {
    multiply_rows<A>(size, data, panels, division.share(part), shares + part * each);
  });
  return ffi::Error::Success();
}

ffi::Error Project(ffi::ThreadPool pool, bool rounded, bool, int64_t threads,
                   bool transposed, In x, In w, In b, Out out) {
  const auto given = x.dimensions(), made = out->dimensions();
  const Sizes size{static_cast<int>(given[0] * given[1]), static_cast<int>(given[2]),
                   static_cast<int>(made[2]), transposed};
  const Data data{x.typed_data(), w.typed_data(),
                  b.element_count() ? b.typed_data() : nullptr, out->typed_data()};
  return reporting([&] {
    return (rounded ? run<Rounded, ffi::ThreadPool> : run<Float32, ffi::ThreadPool>)(
        pool, threads, size, data);
  });
}

}  // namespace project
}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_jax_project, project::Project,
                              Bound()
                                  .Attr<bool>("transposed")
                                  .Arg<In>()    // x
                                  .Arg<In>()    // w
                                  .Arg<In>()    // b, or nothing
                                  .Ret<In>());  // x @ w + b
