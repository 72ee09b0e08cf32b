// The LSTM's recurrence: all steps of one layer, forward and backward.
//
//   forward, each step                      backward, each step
//     for a group of units:                   for all units:
//       gates = z_t + h @ w_h                   dc += dh * o (1 - tanh(c)^2)
//       open them, c, h -> the next rows        dz  = (dc, dc, dc, dh) * slopes
//                                             dh = dz @ w_h^T, two vectors of units
//                                                  at a time

namespace {

struct Sizes {
  int steps, batch, units;
  bool reverse;

  int vectors() const { return (units + W - 1) / W; }
  int left(int vector) const { return units - vector * W; }  // from there on
  int step(int k) const { return reverse ? steps - 1 - k : k; }
  size_t row(int t, int r) const { return static_cast<size_t>(t) * batch + r; }
};

// Panels of w_h [H, 4H]: for every vector of units those of (i, f) and of (g, o).
template <class A>
void pack_forward(const Sizes& size, const float* w, int vector, float* to) {
  const size_t H = size.units, panel = slots_of<A>(H) * 2 * W;
  for (int gate = 0; gate < 4; ++gate)
    pack_columns<A>(w + gate * H + static_cast<size_t>(vector) * W, 4 * H, H,
                    size.left(vector), to + gate / 2 * panel + gate % 2 * W);
}

// A panel of the transpose of w_h: two vectors of units, summed over all gates.
template <class A>
void pack_backward(const Sizes& size, const float* w, int pair, float* to) {
  const size_t H = size.units, panel = slots_of<A>(H) * 2 * W;
  for (int gate = 0; gate < 4; ++gate)
    pack_transposed<A>(w + gate * H, 4 * H, H, H, pair, to + gate * panel);
}

struct ForwardData {
  const float *z, *w, *h, *c;
  float *hs, *c_last;
  float *gates, *cs;  // null if no gradient will be asked for
};

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

Sizes sizes_of(const In& states, bool reverse) {  // [T, B, H]
  const auto d = states.dimensions();
  return {static_cast<int>(d[0]), static_cast<int>(d[1]), static_cast<int>(d[2]),
          reverse};
}

double operations(const Sizes& size) {
  return 8.0 * size.steps * size.batch * size.units * size.units;
}

template <class A, class Pool>
ffi::Error run_forward(Pool& pool, int64_t threads, const Sizes& size,
                       const Masks& masks, const ForwardData& data) {
  const Division division(size.batch, threads_of(pool, operations(size), threads));
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

template <class A, class Pool>
ffi::Error run_backward(Pool& pool, int64_t threads, const Sizes& size,
                        const Masks& masks, const BackwardData& data) {
  const Division division(size.batch, threads_of(pool, operations(size), threads));
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

ffi::Error Forward(ffi::ThreadPool pool, bool rounded, bool reverse, int64_t threads,
                   In z, In w, In h, In c, Mask resets, Mask valid, Out hs, Out c_last) {
  const Sizes size = sizes_of(*hs, reverse);
  const ForwardData data{z.typed_data(),   w.typed_data(),       h.typed_data(),
                         c.typed_data(),   hs->typed_data(),     c_last->typed_data(),
                         nullptr,          nullptr};
  return reporting([&] {
    return (rounded ? run_forward<Rounded, ffi::ThreadPool>
                    : run_forward<Float32, ffi::ThreadPool>)(
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
    return (rounded ? run_forward<Rounded, ffi::ThreadPool>
                    : run_forward<Float32, ffi::ThreadPool>)(
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
    return (rounded ? run_backward<Rounded, ffi::ThreadPool>
                    : run_backward<Float32, ffi::ThreadPool>)(
        pool, threads, size, masks_of(resets, valid), data);
  });
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