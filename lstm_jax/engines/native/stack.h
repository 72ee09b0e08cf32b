// A stack of layers that reads and writes symbols: all layers, the scores of the next
// symbol and its choice, for as many symbols as are asked for.
//
//   every symbol
//     is the next one given, or chosen by the scores of the state
//     for each layer:
//       each round, in turn:                    a Mogrifier's, see mogrifier.h
//         target *= 2 sigma(source @ w)
//       gates = [x, h] @ [w_x; w_h] + b         where x is a row of a table, only
//       open them, c, h                         h @ w_h + (row + b)
//
// Packing weights takes as long as reading them for some dozens of symbols. So few rows
// read them where they lie, and threads divide the units; many rows share packed ones,
// and threads divide the rows if there are enough. Either way a sum is added up in the
// order of its factors: a row's results do not depend on which rows there are besides.

namespace {
namespace stack {

constexpr int kFewRows = 4;               // which read the weights where they lie
constexpr size_t kMeeting = size_t(1) << 18;  // weights, of which each thread takes some

struct Sizes {
  int batch, units, layers, symbols;
  int seen;     // how many layers, the upper ones, the scores are made of
  bool table;   // the first layer's w_x has a row per symbol
  int rounds;   // in which input and state of a layer scale each other
  bool capped;  // the input gate is at most 1 - f

  int vectors() const { return (units + W - 1) / W; }
  size_t slots() const { return slots_of<Float32>(units); }
  int pairs() const { return (symbols + 2 * W - 1) / (2 * W); }
  int unit_pairs() const { return (units + 2 * W - 1) / (2 * W); }
  // How many blocks of `units` numbers a layer multiplies, and how many all layers do.
  int blocks(int layer) const { return layer || !table ? 2 : 1; }
  int all_blocks() const { return 2 * layers - table; }
  // Weights that are read for one symbol.
  size_t weights() const {
    const size_t of_layers = 4 * all_blocks() + size_t(rounds) * layers;
    return size_t(units) * (units * of_layers + size_t(seen) * symbols);
  }
};

struct Layer {
  const float *w_x, *w_h, *b, *h, *c;
  float *h_last, *c_last;
  std::vector<const float*> rounds;  // [units, units] each
};

struct Data {
  const int32_t* given;  // [read, batch], before any symbol is chosen
  int read, make;
  const float* noise;    // [make, batch, symbols], or null: the highest score is chosen
  float temperature;
  const bool* allowed;   // [symbols]
  const float *embedding, *w_out, *b_out;
  const Layer* layers;
  int32_t* made;  // [make, batch]
};

// ---- products -----------------------------------------------------------------------

// Columns of a matrix and of what they are added to: `count` of them, several times.
struct Columns {
  int count, times;
  size_t from_step, to_step;
};

// A vector of columns: some rows of w, each times its numbers.
template <int Rows, int Deep>
INLINE void add_vector(const V (&x)[Deep][Rows], const float* w, size_t width, int left,
                       float* out, size_t stride) {
  V sums[Rows];
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) sums[r] = load(out + r * stride);
#pragma GCC unroll 8
  for (int j = 0; j < Deep; ++j) {
    const V weights = load(w + j * width, left);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
      sums[r] = Float32::multiply_add(sums[r], x[j][r], weights);
  }
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) store(out + r * stride, sums[r]);
}

template <int Rows, int Deep>
INLINE void add_some(const float* rows, size_t block, int k, const float* w,
                     size_t width, const Columns& columns, float* out, size_t stride) {
  V x[Deep][Rows];
#pragma GCC unroll 8
  for (int j = 0; j < Deep; ++j)
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
      x[j][r] = broadcast(rows + (k + j) / W * block + r * W + (k + j) % W);
  const float* start = w + k * width;
  for (int time = 0; time < columns.times; ++time) {
    const float* from = start + time * columns.from_step;
    float* to = out + time * columns.to_step;
    int n = 0;
    for (; n + W <= columns.count; n += W)
      add_vector<Rows, Deep>(x, from + n, width, W, to + n, stride);
    if (n < columns.count)
      add_vector<Rows, Deep>(x, from + n, width, columns.count - n, to + n, stride);
  }
}

template <int Rows>
void add_rows(const float* rows, size_t block, int K, const float* w, size_t width,
              const Columns& columns, float* out, size_t stride) {
  constexpr int kDeep = Rows > 2 ? 4 : 8;
  int k = 0;
  for (; k + kDeep <= K; k += kDeep)
    add_some<Rows, kDeep>(rows, block, k, w, width, columns, out, stride);
  for (; k + 2 <= K; k += 2)
    add_some<Rows, 2>(rows, block, k, w, width, columns, out, stride);
  if (k < K)
    add_some<Rows, 1>(rows, block, k, w, width, columns, out, stride);
}

// out += rows [count, K] @ columns of w [K, width], which is read once, row by row.
void add_product(const float* rows, int count, int K, const float* w, size_t width,
                 const Columns& columns, float* out, size_t stride) {
  using Add = void (*)(const float*, size_t, int, const float*, size_t, const Columns&,
                       float*, size_t);
  static constexpr Add adds[kFewRows] = {add_rows<1>, add_rows<2>, add_rows<3>,
                                         add_rows<4>};
  adds[count - 1](rows, static_cast<size_t>(count) * W, K, w, width, columns, out,
                  stride);
}

// Where the packed weights of a layer begin, and those of the scores; none of few rows.
struct Panels {
  const Sizes& size;
  float* memory;

  bool packed() const { return size.batch > kFewRows; }
  size_t block() const { return size.slots() * 4 * W * size.vectors(); }
  size_t of_layers() const { return size.all_blocks() * block(); }
  size_t of_scores() const { return size.seen * size.slots() * 2 * W * size.pairs(); }
  size_t of_round() const { return size.slots() * 2 * W * size.unit_pairs(); }
  size_t floats() const {
    const size_t of_rounds = size.rounds * size.layers * of_round();
    return packed() ? of_layers() + of_scores() + of_rounds : 0;
  }
  float* layer(int n) const {
    return memory + (n ? size.blocks(0) + 2 * (n - 1) : 0) * block();
  }
  float* scores() const { return memory + of_layers(); }
  float* round(int layer, int n) const {
    return scores() + of_scores() + (layer * size.rounds + n) * of_round();
  }
};

void pack(const Sizes& size, const Data& data, const Panels& panels, int part,
          int parts) {
  const int H = size.units, S = size.symbols;
  const size_t panel = size.slots() * 2 * W;
  for (int n = 0; n < size.layers; ++n) {
    const int blocks = size.blocks(n);
    const Layer& layer = data.layers[n];
    for (int v = part; v < size.vectors(); v += parts)
      for (int gate = 0; gate < 4; ++gate)
        for (int k = 0; k < blocks; ++k) {
          const float* w = k + 1 < blocks ? layer.w_x : layer.w_h;
          pack_columns<Float32>(
              w + static_cast<size_t>(gate) * H + v * W, static_cast<size_t>(4) * H, H,
              H - v * W,
              panels.layer(n) + ((2 * v + gate / 2) * blocks + k) * panel +
                  gate % 2 * W);
        }
    for (int v = part; v < 2 * size.unit_pairs(); v += parts)
      for (int round = 0; round < size.rounds; ++round)
        pack_columns<Float32>(layer.rounds[round] + std::min(v * W, H), H, H, H - v * W,
                              panels.round(n, round) + v / 2 * panel + v % 2 * W);
  }
  for (int v = part; v < 2 * size.pairs(); v += parts)
    for (int k = 0; k < size.seen; ++k)
      pack_columns<Float32>(
          data.w_out + static_cast<size_t>(k) * H * S + v * W, S, H, S - v * W,
          panels.scores() + (v / 2 * size.seen + k) * panel + v % 2 * W);
}

// ---- the loop -----------------------------------------------------------------------

// What some rows know, and room for what is made of it.
struct Rows {
  const Sizes& size;
  const Data& data;
  const Panels& panels;
  Share share;
  int members;  // threads that divide the units
  float *hs;    // as factors: x if there is no table, then h of every layer
  float *pair;  // x and h of a layer, as its rounds scale them
  float *fresh, *c, *gates, *scores;
  const float* bias;  // of the scores, minus infinity for what may not appear
  int* ids;

  static size_t width(const Sizes& size) {
    return static_cast<size_t>(size.pairs()) * 2 * W + W;
  }
  int group() const { return panels.packed() ? kGroup : size.vectors(); }
  size_t gates_stride() const { return static_cast<size_t>(group()) * 4 * W + W; }
  size_t block() const { return share.count * size.slots(); }
  float* h(int layer) const { return hs + (layer + 1) * block(); }

  static size_t floats(const Sizes& size, int count, int members) {
    const size_t group = size.batch > kFewRows ? kGroup : size.vectors();
    const size_t each = (2 * size.layers + 4) * size.slots() +
                        members * (group * 4 * W + W) + width(size) + 1;
    return round_up(count * each, W) + 8 * W;
  }

  Rows(const Sizes& size, const Data& data, const Panels& panels, Share share,
       int members, const float* bias, float* memory)
      : size(size), data(data), panels(panels), share(share), members(members),
        bias(bias) {
    hs = memory;
    pair = hs + (size.layers + 1) * block();
    fresh = pair + 2 * block();
    c = fresh + block();
    gates = c + size.layers * block();
    scores = gates + members * share.count * gates_stride();
    ids = reinterpret_cast<int*>(scores + share.count * width(size));
    std::memset(hs, 0, block() * sizeof(float));
    each_vector([&](int layer, int v, int r, size_t at, size_t slot) {
      const Layer& of = data.layers[layer];
      store(h(layer) + slot, load(of.h + at, size.units - v * W));
      store(c + layer * block() + slot, load(of.c + at, size.units - v * W));
    });
  }

  template <class Visit>
  void each_vector(const Visit& visit) {
    for (int layer = 0; layer < size.layers; ++layer)
      for (int v = 0; v < size.vectors(); ++v)
        for (int r = 0; r < share.count; ++r)
          visit(layer, v, r,
                static_cast<size_t>(share.first + r) * size.units + v * W,
                (static_cast<size_t>(v) * share.count + r) * W);
  }

  void finish() {
    each_vector([&](int layer, int v, int r, size_t at, size_t slot) {
      const Layer& of = data.layers[layer];
      store(of.h_last + at, load(h(layer) + slot), size.units - v * W);
      store(of.c_last + at, load(c + layer * block() + slot), size.units - v * W);
    });
  }

  // The first symbol of the highest score, or of the highest with noise; where all are
  // no numbers, the last one.
  int choose(float* s, const float* noise) const {
    const int S = size.symbols, vectors = (S + W - 1) / W;
    V most = V{} - INFINITY;
    for (int v = 0; v < vectors; ++v) {
      const V b = load(bias + v * W);
      const V x = b == -INFINITY ? b : load(s + v * W) + b;
      store(s + v * W, x);
      most = x > most ? x : most;
    }
    float highest = highest_of(most);
    if (noise) {
      most = V{} - INFINITY;
      for (int v = 0; v < vectors; ++v) {
        const V x = (load(s + v * W) - highest) / data.temperature +
                    load(noise + v * W, S - v * W);
        store(s + v * W, x);
        most = x > most ? x : most;
      }
      highest = highest_of(most);
    }
    Bits first = Bits{} + (S - 1), place;
    for (int n = 0; n < W; ++n) place[n] = n;
    for (int v = 0; v < vectors; ++v, place += W) {
      const Bits here = (load(s + v * W) == highest) & (place < first);
      first = here ? place : first;
    }
    int found = S - 1;
    for (int n = 0; n < W; ++n) found = std::min<int>(found, first[n]);
    return found;
  }

  // The symbols of a step, from what is given or from the scores.
  void take(int step) {
    for (int r = 0; r < share.count; ++r) {
      const size_t column = share.first + r, batch = size.batch;
      if (step < data.read) {
        const int id = data.given[step * batch + column];
        ids[r] = std::max(0, std::min(id, size.symbols - 1));
      } else {
        const size_t at = (step - data.read) * batch + column;
        const float* noise = data.noise ? data.noise + at * size.symbols : nullptr;
        ids[r] = choose(scores + r * width(size), noise);
        data.made[at] = ids[r];
      }
      if (!size.table)
        for (int v = 0; v < size.vectors(); ++v)
          Float32::put(hs, share.count, v, r,
                       load(data.embedding + static_cast<size_t>(ids[r]) * size.units +
                                v * W,
                            size.units - v * W));
    }
  }

  // A member's part of the scores, without their bias.
  void score(int member) {
    const int first = size.pairs() * member / members;
    const int end = size.pairs() * (member + 1) / members, n = share.count;
    if (first == end) return;
    const float* from = h(size.layers - size.seen);
    float* to = scores + first * 2 * W;
    const size_t slots = size.slots(), stride = width(size);
    if (panels.packed())
      return multiply<Float32>(from, n, panels.scores() + first * size.seen * slots * 2 * W,
                               end - first, size.seen * slots, to, stride);
    const Columns columns{std::min(end * 2 * W, size.symbols) - first * 2 * W, 1, 0, 0};
    for (int r = 0; r < n; ++r)
      std::memset(to + r * stride, 0, (end - first) * 2 * W * sizeof(float));
    for (int k = 0; k < size.seen; ++k)
      add_product(from + k * block(), n, size.units,
                  data.w_out + static_cast<size_t>(k) * size.units * size.symbols +
                      first * 2 * W,
                  size.symbols, columns, to, stride);
  }

  // What a layer's products read: h, or x and then h.
  const float* read_by(int layer) const {
    return size.rounds ? pair : h(layer) - (size.blocks(layer) - 1) * block();
  }

  // Before the first round, input and state are as they were.
  void pair_up(int layer) {
    if (size.rounds)
      std::memcpy(pair, h(layer) - block(), 2 * block() * sizeof(float));
  }

  // A member's part of what a round scales.
  void scale(int layer, int round, int member) {
    const int n = share.count, pairs = size.unit_pairs();
    const int last = pairs * (member + 1) / members;
    const float* source = pair + (1 - round % 2) * block();
    float* target = pair + round % 2 * block();
    float* made = gates + member * n * gates_stride();
    const int most = 2 * group();  // pairs that there is room for
    for (int start = pairs * member / members; start < last; start += most) {
      const int end = std::min(last, start + most);
      multiply_round(source, layer, round, start, end, made);
      for (int r = 0; r < n; ++r)
        for (int v = 2 * start; v < std::min(2 * end, size.vectors()); ++v) {
          const V u = load(made + r * gates_stride() + (v - 2 * start) * W);
          float* scaled = target + (static_cast<size_t>(v) * n + r) * W;
          store(scaled, (1.0f + tanh_of(u * 0.5f)) * load(scaled));
        }
    }
  }

  void multiply_round(const float* source, int layer, int round, int start, int end,
                      float* made) {
    const int n = share.count, H = size.units;
    const size_t slots = size.slots(), stride = gates_stride();
    if (panels.packed())
      return multiply<Float32>(source, n,
                               panels.round(layer, round) + start * slots * 2 * W,
                               end - start, slots, made, stride);
    for (int r = 0; r < n; ++r)
      std::memset(made + r * stride, 0, (end - start) * 2 * W * sizeof(float));
    const int first = start * 2 * W;
    const Columns columns{std::min(end * 2 * W, H) - first, 1, 0, 0};
    add_product(source, n, H, data.layers[layer].rounds[round] + first, H, columns,
                made, stride);
  }

  // From a unit's gate to its next one: a vector, or all units that are made together.
  size_t next_gate(int start, int end) const {
    if (panels.packed()) return W;
    return end - start == size.vectors() ? size.units : (end - start) * W;
  }

  // The gates of some units before they are opened, without what a table adds.
  void multiply_units(int layer, int start, int end, float* made) {
    const int n = share.count, H = size.units, blocks = size.blocks(layer);
    const float* from = read_by(layer);
    const size_t slots = size.slots() * blocks, stride = gates_stride();
    if (panels.packed())
      return multiply<Float32>(from, n, panels.layer(layer) + start * slots * 4 * W,
                               2 * (end - start), slots, made, stride);
    const int count = std::min(end * W, H) - start * W;
    const Columns columns = count == H ? Columns{4 * H, 1, 0, 0}
                                       : Columns{count, 4, static_cast<size_t>(H),
                                                 next_gate(start, end)};
    for (int r = 0; r < n; ++r)
      std::memset(made + r * stride, 0, stride * sizeof(float));
    for (int k = 0; k < blocks; ++k)
      add_product(from + k * block(), n, H,
                  (k + 1 < blocks ? data.layers[layer].w_x : data.layers[layer].w_h) +
                      start * W,
                  static_cast<size_t>(4) * H, columns, made, stride);
  }

  // A member's units of a layer.
  void advance(int layer, int member) {
    const int vectors = size.vectors(), n = share.count, H = size.units;
    const int last = vectors * (member + 1) / members;
    const Layer& weights = data.layers[layer];
    const bool table = size.blocks(layer) == 1;
    float* made = gates + member * n * gates_stride();
    for (int start = vectors * member / members; start < last; start += group()) {
      const int end = std::min(last, start + group());
      multiply_units(layer, start, end, made);
      const bool packed = panels.packed();
      const size_t gate_step = next_gate(start, end);
      const size_t next_vector = packed ? 4 * W : W;
      for (int r = 0; r < n; ++r) {
        const float* row = weights.w_x + static_cast<size_t>(ids[r]) * 4 * H;
        for (int v = start; v < end; ++v) {
          const int left = H - v * W;
          const float* found = made + r * gates_stride() + (v - start) * next_vector;
          V z[4];
#pragma GCC unroll 4
          for (int gate = 0; gate < 4; ++gate) {
            const size_t at = static_cast<size_t>(gate) * H + v * W;
            V added = load(weights.b + at, left);
            if (table) added += load(row + at, left);
            z[gate] = load(found + gate * gate_step, left) + added;
          }
          const size_t slot = (static_cast<size_t>(v) * n + r) * W;
          float* cell = c + layer * block() + slot;
          const V f = sigmoid_of(z[1]), i = sigmoid_of(z[0]);
          const V written = size.capped ? smaller(i, 1.0f - f) : i;
          const V c_new = f * load(cell) + written * tanh_of(z[2]);
          store(cell, c_new);
          store(fresh + slot, sigmoid_of(z[3]) * tanh_of(c_new));
        }
      }
    }
  }
};

// All symbols of some rows; `meet` has a function called for every member.
template <class Meet>
void write(Rows& rows, const Meet& meet) {
  const Data& data = rows.data;
  for (int step = 0; step < data.read + data.make; ++step) {
    if (step >= data.read) meet([&](int member) { rows.score(member); });
    rows.take(step);
    for (int layer = 0; layer < rows.size.layers; ++layer) {
      rows.pair_up(layer);
      for (int round = 0; round < rows.size.rounds; ++round)
        meet([&](int member) { rows.scale(layer, round, member); });
      meet([&](int member) { rows.advance(layer, member); });
      std::memcpy(rows.h(layer), rows.fresh, rows.block() * sizeof(float));
    }
  }
  rows.finish();
}

template <class Pool>
void run(Pool& pool, int64_t most, const Sizes& size, const Data& data) {
  const double operations = 2.0 * size.weights() * size.batch * (data.read + data.make);
  const int threads = threads_of(pool, operations, most);
  const Division division(size.batch, threads);
  const bool together = division.parts == 1 && size.weights() >= kMeeting;
  const int members = together ? std::min(threads, size.vectors()) : 1;
  const size_t each = Rows::floats(size, division.share(0).count, members);
  const size_t packed = Panels{size, nullptr}.floats();
  Scratch scratch(packed + Rows::width(size) + division.parts * each + 2 * W);
  const Panels panels{size, scratch.take(packed)};
  if (packed)
    in_parallel(pool, threads,
                [&](int part) { pack(size, data, panels, part, threads); });
  float* bias = scratch.take(Rows::width(size));
  for (size_t n = 0; n < Rows::width(size); ++n)
    bias[n] = n < size_t(size.symbols) && data.allowed[n] ? data.b_out[n] : -INFINITY;
  float* shares = scratch.take(division.parts * each);
  if (members > 1) {
    Team team(pool, members);
    Rows rows(size, data, panels, {0, size.batch}, members, bias, shares);
    return write(rows, [&](const auto& work) { team.meet(work); });
  }
  in_parallel(pool, division.parts, [&](int part) {
    Rows rows(size, data, panels, division.share(part), 1, bias, shares + part * each);
    write(rows, [](const auto& work) { work(0); });
  });
}

// ---- what XLA calls -----------------------------------------------------------------

constexpr int kOfLayer = 5;  // w_x, w_h, b, h, c, and then the rounds

ffi::Error Write(ffi::ThreadPool pool, int64_t threads, int64_t rounds, bool capped,
                 ffi::Buffer<ffi::S32> given,
                 ffi::BufferR0<ffi::S32> read, ffi::BufferR0<ffi::S32> make,
                 ffi::BufferR0<ffi::F32> temperature, In noise, Mask allowed,
                 In embedding, In w_out, In b_out, ffi::RemainingArgs of_layers,
                 ffi::Result<ffi::Buffer<ffi::S32>> made, ffi::RemainingRets states) {
  std::vector<Layer> layers;
  Sizes size{};
  const size_t each = kOfLayer + rounds;
  for (size_t n = 0; n < of_layers.size() / each; ++n) {
    std::vector<const float*> inputs(each);
    float* results[2];
    for (size_t k = 0; k < each; ++k) {
      const auto found = of_layers.get<In>(n * each + k);
      if (!found) return found.error();
      inputs[k] = found->typed_data();
      if (k == kOfLayer - 1) {
        size.batch = static_cast<int>(found->dimensions()[0]);
        size.units = static_cast<int>(found->dimensions()[1]);
      }
    }
    for (int k = 0; k < 2; ++k) {
      auto found = states.get<In>(2 * n + k);
      if (!found) return found.error();
      results[k] = (*found)->typed_data();
    }
    layers.push_back({inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], results[0],
                      results[1], {inputs.begin() + kOfLayer, inputs.end()}});
  }
  size.layers = static_cast<int>(layers.size());
  size.symbols = static_cast<int>(w_out.dimensions()[1]);
  size.seen = static_cast<int>(w_out.dimensions()[0]) / size.units;
  size.table = embedding.element_count() == 0;
  size.rounds = static_cast<int>(rounds);
  size.capped = capped;
  const auto room = made->dimensions();
  const Data data{given.typed_data(),
                  read.typed_data()[0],
                  std::min(make.typed_data()[0], static_cast<int>(room[0])),
                  noise.element_count() ? noise.typed_data() : nullptr,
                  temperature.typed_data()[0],
                  allowed.typed_data(),
                  embedding.typed_data(),
                  w_out.typed_data(),
                  b_out.typed_data(),
                  layers.data(),
                  made->typed_data()};
  std::memset(data.made, 0, made->element_count() * sizeof(int32_t));
  return reporting([&] {
    run(pool, threads, size, data);
    return ffi::Error::Success();
  });
}

}  // namespace stack
}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_jax_write, stack::Write,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int64_t>("threads")
                                  .Attr<int64_t>("rounds")
                                  .Attr<bool>("capped")
                                  .Arg<ffi::Buffer<ffi::S32>>()    // given
                                  .Arg<ffi::BufferR0<ffi::S32>>()  // how many of them
                                  .Arg<ffi::BufferR0<ffi::S32>>()  // how many to make
                                  .Arg<ffi::BufferR0<ffi::F32>>()  // temperature
                                  .Arg<In>()                       // noise
                                  .Arg<Mask>()                     // allowed
                                  .Arg<In>()                       // embedding
                                  .Arg<In>()                       // w_out
                                  .Arg<In>()                       // b_out
                                  .RemainingArgs()                 // of each layer
                                  .Ret<ffi::Buffer<ffi::S32>>()    // made
                                  .RemainingRets());               // h, c of each
