// The Mogrifier's recurrence: input and state scale each other before each step.
//
//   forward, each step                      backward, each step
//     x, h = x_t, h                           dz = as in lstm.h, with the cap
//     each round, in turn:                    dx, dh = dz @ [w_x; w_h]^T
//       target *= 2 sigma(source @ w)         each round, the last one first:
//     for a group of units:                     du = dtarget target s (1 - s / 2)
//       gates = [x, h] @ [w_x; w_h] + b         dtarget *= s
//       open them, c, h                         dsource += du @ w^T
//
// s is what scaled a target, and `target` what it was before that. h scales x in the
// rounds 0, 2, ...; x scales h in the others.

namespace {
namespace mogrifier {

struct Sizes {
  int steps, batch, inputs, units, rounds;
  bool reverse, capped;

  int step(int k) const { return reverse ? steps - 1 - k : k; }
  size_t row(int t, int r) const { return static_cast<size_t>(t) * batch + r; }
  // Numbers of a row of what a round scales, and of what tells by how much.
  int target(int round) const { return round % 2 ? units : inputs; }
  int source(int round) const { return round % 2 ? inputs : units; }
};

constexpr int vectors_of(int n) { return (n + W - 1) / W; }
constexpr size_t width_of(int n) { return round_up(n, 2 * W); }

struct Weights {
  const float *q, *r;  // of the even rounds [., H, D], and of the odd ones [., D, H]
  const float* gates;  // [w_x; w_h], [D + H, 4H]

  const float* round(const Sizes& size, int n) const {
    return (n % 2 ? r : q) + static_cast<size_t>(n / 2) * size.inputs * size.units;
  }
};

// Arrays by round: of the even ones [., T, B, D], and of the odd ones [., T, B, H].
template <class Number>
struct ByRound {
  Number *even, *odd;

  Number* row(const Sizes& size, int round, size_t row) const {
    const size_t rows = static_cast<size_t>(size.steps) * size.batch;
    return (round % 2 ? odd : even) + (round / 2 * rows + row) * size.target(round);
  }
};

// Where the packed weights of each product begin.
template <class A>
struct Panels {
  float* memory;
  size_t of_rounds, of_gates;  // floats

  static size_t round_floats(const Sizes& size, bool back) {
    const int from = back ? size.inputs : size.units;
    const int to = back ? size.units : size.inputs;
    return std::max(slots_of<A>(from) * width_of(to), slots_of<A>(to) * width_of(from));
  }
  static size_t gates_floats(const Sizes& size, bool back) {
    const size_t slots = slots_of<A>(size.inputs) + slots_of<A>(size.units);
    const size_t widths = width_of(size.inputs) + width_of(size.units);
    return back ? 4 * slots_of<A>(size.units) * widths
                : slots * 4 * W * vectors_of(size.units);
  }
  static size_t floats(const Sizes& size, bool back) {
    return size.rounds * round_floats(size, back) + gates_floats(size, back);
  }
  Panels(const Sizes& size, float* memory, bool back)
      : memory(memory),
        of_rounds(round_floats(size, back)),
        of_gates(gates_floats(size, back)) {}

  float* gates() const { return memory; }
  float* round(int n) const { return memory + of_gates + n * of_rounds; }
};

// One part of the work of packing what `forward` reads.
template <class A>
void pack_forward(const Sizes& size, const Weights& weights, const Panels<A>& panels,
                  int part, int parts) {
  const int H = size.units, D = size.inputs;
  const size_t inputs = slots_of<A>(D), slots = inputs + slots_of<A>(H);
  for (int v = part; v < vectors_of(H); v += parts)
    for (int gate = 0; gate < 4; ++gate) {
      const size_t column = static_cast<size_t>(gate) * H + v * W;
      float* to = panels.gates() + (2 * v + gate / 2) * slots * 2 * W + gate % 2 * W;
      const float* w = weights.gates + column;
      pack_columns<A>(w, 4 * H, D, H - v * W, to);
      pack_columns<A>(w + static_cast<size_t>(D) * 4 * H, 4 * H, H, H - v * W,
                      to + inputs * 2 * W);
    }
  for (int n = 0; n < size.rounds; ++n) {
    const int K = size.source(n), N = size.target(n);
    for (int v = part; v < static_cast<int>(width_of(N)) / W; v += parts)
      pack_columns<A>(weights.round(size, n) + v * W, N, K, N - v * W,
                      panels.round(n) + v / 2 * slots_of<A>(K) * 2 * W + v % 2 * W);
  }
}

// The same for `backward`: the transposes.
template <class A>
void pack_backward(const Sizes& size, const Weights& weights, const Panels<A>& panels,
                   int part, int parts) {
  const int H = size.units, D = size.inputs;
  const size_t slots = slots_of<A>(H);
  const int before = static_cast<int>(width_of(D)) / (2 * W);  // those of w_x
  const int pairs = before + static_cast<int>(width_of(H)) / (2 * W);
  for (int pair = part; pair < pairs; pair += parts)
    for (int gate = 0; gate < 4; ++gate) {
      const bool state = pair >= before;
      const size_t first = state ? static_cast<size_t>(D) * 4 * H : 0;
      pack_transposed<A>(weights.gates + first + gate * H, 4 * H, state ? H : D, H,
                         state ? pair - before : pair,
                         panels.gates() + (4 * pair + gate) * slots * 2 * W);
    }
  for (int n = 0; n < size.rounds; ++n) {
    const int K = size.source(n), N = size.target(n);
    for (int pair = part; pair < static_cast<int>(width_of(K)) / (2 * W); pair += parts)
      pack_transposed<A>(weights.round(size, n), N, K, N, pair,
                         panels.round(n) + pair * slots_of<A>(N) * 2 * W);
  }
}

struct ForwardData {
  const float *b, *xs, *h, *c;
  float *hs, *c_last;
  ByRound<float> scales;
  float *gates, *cs;  // null, as the scales are, if no gradient will be asked for
};

// What a thread needs for its rows, one after the other.
template <class A>
size_t forward_scratch(const Sizes& size, int count) {
  const size_t D = width_of(size.inputs), H = width_of(size.units);
  const size_t packed = slots_of<A>(size.inputs) + slots_of<A>(size.units);
  return count * (packed + D + 2 * H + std::max(D, H) + kGroup * 4 * W + W);
}

template <class A>
void forward(const Sizes& size, const Masks& masks, const ForwardData& data,
             const Panels<A>& panels, Share share, float* scratch) {
  const int n = share.count, D = size.inputs, H = size.units;
  const int vectors = vectors_of(H);
  const size_t slots[2] = {slots_of<A>(D), slots_of<A>(H)};
  const size_t width[2] = {width_of(D), width_of(H)};
  const int sizes[2] = {D, H};
  const size_t all = slots[0] + slots[1], stride = kGroup * 4 * W + W;
  float* packed[2] = {scratch, scratch + n * slots[0]};  // x and h, as factors
  float* plain[2] = {scratch + n * all, scratch + n * (all + width[0])};
  float* c = plain[1] + n * width[1];
  float* u = c + n * width[1];
  float* gates = u + n * std::max(width[0], width[1]);
  std::memset(packed[0], 0, n * all * sizeof(float));
  for (int r = 0; r < n; ++r)
    for (int v = 0; v < vectors; ++v)
      store(c + r * width[1] + v * W,
            load(data.c + static_cast<size_t>(share.first + r) * H + v * W, H - v * W));
  const float* before = data.h + static_cast<size_t>(share.first) * H;
  for (int k = 0; k < size.steps; ++k) {
    const size_t first = size.row(size.step(k), share.first);
    const auto take = [&](int place, int r, const float* row) {
      for (int v = 0; v < vectors_of(sizes[place]); ++v) {
        const V number = row ? load(row + v * W, sizes[place] - v * W) : V{};
        store(plain[place] + r * width[place] + v * W, number);
        A::put(packed[place], n, v, r, number);
      }
    };
    for (int r = 0; r < n; ++r) {
      const bool fresh = masks.reset(first + r);
      take(0, r, data.xs + (first + r) * D);
      take(1, r, fresh ? nullptr : before + static_cast<size_t>(r) * H);
      if (fresh) std::memset(c + r * width[1], 0, width[1] * sizeof(float));
    }
    for (int round = 0; round < size.rounds; ++round) {
      const int to = round % 2, from = 1 - to;
      multiply<A>(packed[from], n, panels.round(round),
                  static_cast<int>(width[to]) / (2 * W), slots[from], u, width[to]);
      for (int r = 0; r < n; ++r)
        for (int v = 0; v < vectors_of(sizes[to]); ++v) {
          const int left = sizes[to] - v * W;
          float* target = plain[to] + r * width[to] + v * W;
          const V s = first_of(1.0f + tanh_of(load(u + r * width[to] + v * W) * 0.5f),
                               left);
          const V scaled = s * load(target);
          store(target, scaled);
          A::put(packed[to], n, v, r, scaled);
          if (data.gates)
            store(data.scales.row(size, round, first + r) + v * W, s, left);
        }
    }
    for (int start = 0; start < vectors; start += kGroup) {
      const int end = std::min(vectors, start + kGroup);
      multiply<A>(packed[0], n, panels.gates() + 2 * start * all * 2 * W,
                  2 * (end - start), all, gates, stride);
      for (int r = 0; r < n; ++r) {
        const size_t row = first + r;
        if (masks.skipped(row)) continue;
        for (int v = start; v < end; ++v) {
          const int left = H - v * W;
          const float* made = gates + r * stride + (v - start) * 4 * W;
          const float* b = data.b + v * W;
          const V i = sigmoid_of(load(made) + load(b, left));
          const V f = sigmoid_of(load(made + W) + load(b + H, left));
          const V g = tanh_of(load(made + 2 * W) + load(b + 2 * H, left));
          const V o = sigmoid_of(load(made + 3 * W) + load(b + 3 * H, left));
          const V written = size.capped ? smaller(i, 1.0f - f) : i;
          float* cell = c + r * width[1] + v * W;
          const V c_new = f * load(cell) + written * g;
          store(cell, c_new);
          store(data.hs + row * H + v * W, o * tanh_of(c_new), left);
          if (data.gates) {
            float* kept = data.gates + row * 4 * H + v * W;
            store(kept, i, left);
            store(kept + H, f, left);
            store(kept + 2 * H, g, left);
            store(kept + 3 * H, o, left);
            store(data.cs + row * H + v * W, c_new, left);
          }
        }
      }
    }
    for (int r = 0; r < n; ++r)
      if (masks.skipped(first + r)) {  // this row's state stays
        const size_t at = (first + r) * H, bytes = H * sizeof(float);
        std::memcpy(data.hs + at, before + static_cast<size_t>(r) * H, bytes);
        if (data.gates) {
          std::memset(data.gates + 4 * at, 0, 4 * bytes);
          std::memcpy(data.cs + at, c + r * width[1], bytes);
        }
      }
    before = data.hs + first * H;
  }
  for (int r = 0; r < n; ++r)
    std::memcpy(data.c_last + static_cast<size_t>(share.first + r) * H,
                c + r * width[1], H * sizeof(float));
}

struct BackwardData {
  const float *xs, *h, *c, *hs;
  ByRound<const float> scales;
  const float *gates, *cs, *dhs, *dh_last, *dc_last;
  ByRound<float> dus;  // may be where the scales are
  float *dz;           // may be where the gates are
  float *dxs, *dh, *dc;
};

template <class A>
size_t backward_scratch(const Sizes& size, int count) {
  const size_t D = width_of(size.inputs), H = width_of(size.units);
  const size_t factors = std::max(slots_of<A>(size.inputs), slots_of<A>(size.units));
  return count * (4 * slots_of<A>(size.units) + factors + D + 3 * H + std::max(D, H));
}

template <class A>
void backward(const Sizes& size, const Masks& masks, const BackwardData& data,
              const Panels<A>& panels, Share share, float* scratch) {
  const int n = share.count, D = size.inputs, H = size.units;
  const int vectors = vectors_of(H), sizes[2] = {D, H};
  const size_t slots[2] = {slots_of<A>(D), slots_of<A>(H)};
  const size_t width[2] = {width_of(D), width_of(H)};
  const int blocks = static_cast<int>(slots[1] / W) * A::kPerSlot;  // vectors of a gate
  float* dz_factors = scratch;
  float* du_factors = dz_factors + n * 4 * slots[1];
  float* dx = du_factors + n * std::max(slots[0], slots[1]);
  float* dh = dx + n * width[0];
  float* dh_next = dh + n * width[1];
  float* dc = dh_next + n * width[1];
  float* more = dc + n * width[1];  // what a round adds
  std::memset(scratch, 0, backward_scratch<A>(size, n) * sizeof(float));
  for (int r = 0; r < n; ++r) {
    const size_t at = static_cast<size_t>(share.first + r) * H;
    std::memcpy(dh + r * width[1], data.dh_last + at, H * sizeof(float));
    std::memcpy(dc + r * width[1], data.dc_last + at, H * sizeof(float));
  }
  for (int k = size.steps - 1; k >= 0; --k) {
    const size_t first = size.row(size.step(k), share.first);
    const size_t last = k ? size.row(size.step(k - 1), share.first) : share.first;
    const float* c_before = (k ? data.cs : data.c) + last * H;
    const float* h_before = (k ? data.hs : data.h) + last * H;
    for (int r = 0; r < n; ++r) {
      const size_t row = first + r;
      const bool skipped = masks.skipped(row), fresh = masks.reset(row);
      for (int v = 0; v < vectors; ++v) {
        const int left = H - v * W;
        const size_t at = row * 4 * H + v * W;
        float* dh_here = dh + r * width[1] + v * W;
        float* dc_here = dc + r * width[1] + v * W;
        const V dh_all = load(dh_here) + load(data.dhs + row * H + v * W, left);
        V dzs[4] = {};
        if (skipped) {
          store(dh_here, dh_all);
        } else {
          const V opened = load(data.gates + at, left);
          const V f = load(data.gates + at + H, left);
          const V g = load(data.gates + at + 2 * H, left);
          const V o = load(data.gates + at + 3 * H, left);
          const V squashed = tanh_of(load(data.cs + row * H + v * W, left));
          const V c0 =
              fresh ? V{} : load(c_before + static_cast<size_t>(r) * H + v * W, left);
          const V dc_all = load(dc_here) + dh_all * o * (1.0f - squashed * squashed);
          const V most = 1.0f - f;
          const Bits at_cap = size.capped ? opened > most : Bits{};
          const V i = at_cap ? most : opened;
          dzs[0] = at_cap ? V{} : dc_all * g * i * (1.0f - i);
          dzs[1] = dc_all * (at_cap ? c0 - g : c0) * f * (1.0f - f);
          dzs[2] = dc_all * i * (1.0f - g * g);
          dzs[3] = dh_all * squashed * o * (1.0f - o);
          store(dc_here, fresh ? V{} : dc_all * f);
        }
#pragma GCC unroll 4
        for (int gate = 0; gate < 4; ++gate) {
          store(data.dz + at + gate * H, dzs[gate], left);
          A::put(dz_factors, n, gate * blocks + v, r, dzs[gate]);
        }
      }
    }
    float* d[2] = {dx, dh_next};
    const float* panel = panels.gates();
    for (int place = 0; place < 2; ++place) {
      const int count = static_cast<int>(width[place]) / (2 * W);
      multiply<A>(dz_factors, n, panel, count, 4 * slots[1], d[place], width[place]);
      panel += static_cast<size_t>(count) * 4 * slots[1] * 2 * W;
    }
    for (int round = size.rounds - 1; round >= 0; --round) {
      const int to = round % 2, from = 1 - to;
      for (int r = 0; r < n; ++r) {
        const size_t row = first + r;
        const float* start = to ? h_before + static_cast<size_t>(r) * H
                                : data.xs + row * D;
        const bool zero = to && masks.reset(row);
        for (int v = 0; v < vectors_of(sizes[to]); ++v) {
          const int left = sizes[to] - v * W;
          V target = zero ? V{} : load(start + v * W, left);
          for (int earlier = to; earlier < round; earlier += 2)
            target *= load(data.scales.row(size, earlier, row) + v * W, left);
          const V s = load(data.scales.row(size, round, row) + v * W, left);
          float* gradient = d[to] + r * width[to] + v * W;
          const V du = load(gradient) * target * s * (1.0f - 0.5f * s);
          store(gradient, load(gradient) * s);
          store(data.dus.row(size, round, row) + v * W, du, left);
          A::put(du_factors, n, v, r, du);
        }
        // A shorter row leaves what a longer one had.
        const int blocks_of = static_cast<int>(slots[to] / W) * A::kPerSlot;
        for (int v = vectors_of(sizes[to]); v < blocks_of; ++v)
          A::put(du_factors, n, v, r, V{});
      }
      multiply<A>(du_factors, n, panels.round(round),
                  static_cast<int>(width[from]) / (2 * W), slots[to], more,
                  width[from]);
      for (size_t at = 0; at < n * width[from]; at += W)
        store(d[from] + at, load(d[from] + at) + load(more + at));
    }
    for (int r = 0; r < n; ++r) {
      std::memcpy(data.dxs + (first + r) * D, dx + r * width[0], D * sizeof(float));
      if (masks.skipped(first + r))
        std::memcpy(dh_next + r * width[1], dh + r * width[1],
                    width[1] * sizeof(float));
      else if (masks.reset(first + r))
        std::memset(dh_next + r * width[1], 0, width[1] * sizeof(float));
    }
    std::swap(dh, dh_next);
  }
  for (int r = 0; r < n; ++r) {
    const size_t at = static_cast<size_t>(share.first + r) * H;
    std::memcpy(data.dh + at, dh + r * width[1], H * sizeof(float));
    std::memcpy(data.dc + at, dc + r * width[1], H * sizeof(float));
  }
}

// ---- what XLA calls -----------------------------------------------------------------

double operations(const Sizes& size) {
  const double D = size.inputs, H = size.units;
  return 2.0 * size.steps * size.batch * (4 * H * (D + H) + size.rounds * D * H);
}

// Packs the weights, and divides the rows among the threads.
template <class A, class Data, class Pool>
ffi::Error run(Pool& pool, int64_t threads, const Sizes& size,
               const Masks& masks, const Weights& weights, const Data& data) {
  constexpr bool back = std::is_same_v<Data, BackwardData>;
  const Division division(size.batch, threads_of(pool, operations(size), threads));
  const int most = division.share(0).count;
  const size_t each = round_up(
      back ? backward_scratch<A>(size, most) : forward_scratch<A>(size, most), W);
  const size_t packed = Panels<A>::floats(size, back);
  Scratch scratch(packed + division.parts * each);
  const Panels<A> panels(size, scratch.take(packed), back);
  in_parallel(pool, division.parts, [&](int part) {
    (back ? pack_backward<A> : pack_forward<A>)(size, weights, panels, part,
                                                division.parts);
  });
  float* shares = scratch.take(division.parts * each);
  in_parallel(pool, division.parts, [&](int part) {
    const Share share = division.share(part);
    if constexpr (back)
      backward<A>(size, masks, data, panels, share, shares + part * each);
    else
      forward<A>(size, masks, data, panels, share, shares + part * each);
  });
  return ffi::Error::Success();
}

Sizes sizes_of(const In& xs, const In& h, const In& q, const In& r, bool reverse,
               bool capped) {
  const auto x = xs.dimensions();  // [T, B, D]
  const int rounds =
      static_cast<int>(q.dimensions()[0]) + static_cast<int>(r.dimensions()[0]);
  return {static_cast<int>(x[0]), static_cast<int>(x[1]), static_cast<int>(x[2]),
          static_cast<int>(h.dimensions()[1]), rounds, reverse, capped};
}

ffi::Error Forward(ffi::ThreadPool pool, bool rounded, bool reverse, int64_t threads,
                   bool capped, In q, In r, In w, In b, In xs, In h, In c,
                   Mask resets, Mask valid, Out hs, Out c_last) {
  const Sizes size = sizes_of(xs, h, q, r, reverse, capped);
  const Weights weights{q.typed_data(), r.typed_data(), w.typed_data()};
  const ForwardData data{b.typed_data(),   xs.typed_data(),  h.typed_data(),
                         c.typed_data(),   hs->typed_data(), c_last->typed_data(),
                         {nullptr, nullptr}, nullptr,        nullptr};
  return reporting([&] {
    return (rounded ? run<Rounded, ForwardData, ffi::ThreadPool>
                    : run<Float32, ForwardData, ffi::ThreadPool>)(
        pool, threads, size, masks_of(resets, valid), weights, data);
  });
}

ffi::Error ForwardKeep(ffi::ThreadPool pool, bool rounded, bool reverse,
                       int64_t threads, bool capped, In q, In r, In w, In b,
                       In xs, In h, In c, Mask resets, Mask valid, Out hs, Out c_last,
                       Out x_scales, Out h_scales, Out gates, Out cs) {
  const Sizes size = sizes_of(xs, h, q, r, reverse, capped);
  const Weights weights{q.typed_data(), r.typed_data(), w.typed_data()};
  const ForwardData data{b.typed_data(),
                         xs.typed_data(),
                         h.typed_data(),
                         c.typed_data(),
                         hs->typed_data(),
                         c_last->typed_data(),
                         {x_scales->typed_data(), h_scales->typed_data()},
                         gates->typed_data(),
                         cs->typed_data()};
  return reporting([&] {
    return (rounded ? run<Rounded, ForwardData, ffi::ThreadPool>
                    : run<Float32, ForwardData, ffi::ThreadPool>)(
        pool, threads, size, masks_of(resets, valid), weights, data);
  });
}

ffi::Error Backward(ffi::ThreadPool pool, bool rounded, bool reverse, int64_t threads,
                    bool capped, In q, In r, In w, In xs, In h, In c, In hs,
                    In x_scales, In h_scales, In gates, In cs, In dhs, In dh_last,
                    In dc_last, Mask resets, Mask valid, Out x_dus, Out h_dus, Out dz,
                    Out dxs, Out dh, Out dc) {
  const Sizes size = sizes_of(xs, h, q, r, reverse, capped);
  const Weights weights{q.typed_data(), r.typed_data(), w.typed_data()};
  const BackwardData data{xs.typed_data(),
                          h.typed_data(),
                          c.typed_data(),
                          hs.typed_data(),
                          {x_scales.typed_data(), h_scales.typed_data()},
                          gates.typed_data(),
                          cs.typed_data(),
                          dhs.typed_data(),
                          dh_last.typed_data(),
                          dc_last.typed_data(),
                          {x_dus->typed_data(), h_dus->typed_data()},
                          dz->typed_data(),
                          dxs->typed_data(),
                          dh->typed_data(),
                          dc->typed_data()};
  return reporting([&] {
    return (rounded ? run<Rounded, BackwardData, ffi::ThreadPool>
                    : run<Float32, BackwardData, ffi::ThreadPool>)(
        pool, threads, size, masks_of(resets, valid), weights, data);
  });
}

}  // namespace mogrifier
}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_jax_mogrifier_forward, mogrifier::Forward,
                              Bound()
                                  .Attr<bool>("capped")
                                  .Arg<In>()    // q of the even rounds
                                  .Arg<In>()    // r of the odd ones
                                  .Arg<In>()    // [w_x; w_h]
                                  .Arg<In>()    // b
                                  .Arg<In>()    // xs
                                  .Arg<In>()    // h
                                  .Arg<In>()    // c
                                  .Arg<Mask>()  // resets
                                  .Arg<Mask>()  // valid
                                  .Ret<In>()    // hs
                                  .Ret<In>());  // last c
XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_jax_mogrifier_forward_keep, mogrifier::ForwardKeep,
                              Bound()
                                  .Attr<bool>("capped")
                                  .Arg<In>()    // q of the even rounds
                                  .Arg<In>()    // r of the odd ones
                                  .Arg<In>()    // [w_x; w_h]
                                  .Arg<In>()    // b
                                  .Arg<In>()    // xs
                                  .Arg<In>()    // h
                                  .Arg<In>()    // c
                                  .Arg<Mask>()  // resets
                                  .Arg<Mask>()  // valid
                                  .Ret<In>()    // hs
                                  .Ret<In>()    // last c
                                  .Ret<In>()    // what scaled x
                                  .Ret<In>()    // what scaled h
                                  .Ret<In>()    // gates
                                  .Ret<In>());  // cs
XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_jax_mogrifier_backward, mogrifier::Backward,
                              Bound()
                                  .Attr<bool>("capped")
                                  .Arg<In>()    // q of the even rounds
                                  .Arg<In>()    // r of the odd ones
                                  .Arg<In>()    // [w_x; w_h]
                                  .Arg<In>()    // xs
                                  .Arg<In>()    // h before the first step
                                  .Arg<In>()    // c before it
                                  .Arg<In>()    // hs
                                  .Arg<In>()    // what scaled x
                                  .Arg<In>()    // what scaled h
                                  .Arg<In>()    // gates
                                  .Arg<In>()    // cs
                                  .Arg<In>()    // gradients of hs
                                  .Arg<In>()    // of the last h
                                  .Arg<In>()    // of the last c
                                  .Arg<Mask>()  // resets
                                  .Arg<Mask>()  // valid
                                  .Ret<In>()    // du of the even rounds
                                  .Ret<In>()    // and of the odd ones
                                  .Ret<In>()    // dz
                                  .Ret<In>()    // dxs
                                  .Ret<In>()    // of the first h
                                  .Ret<In>());  // of the first c
