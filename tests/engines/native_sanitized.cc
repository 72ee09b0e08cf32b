// The kernels alone, for a build with sanitizers: JAX has none of theirs.
//
// Sizes that no vector divides, arrays that end where their last number does, several
// layers at once on one pool, and each layer's results those of a single thread.

#include <cstdio>
#include <functional>
#include <queue>
#include <random>
#include <thread>
#include <vector>

#include "lstm.cc"
#include "mogrifier.h"
#include "stack.h"

namespace {

using Numbers = std::vector<float>;

// As XLA's: work is done by threads that were there before it.
class Pool {
 public:
  explicit Pool(int threads) {
    for (int n = 0; n < threads; ++n) threads_.emplace_back([this] { Work(); });
  }
  ~Pool() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      done_ = true;
    }
    changed_.notify_all();
    for (auto& thread : threads_) thread.join();
  }
  template <class F>
  void Schedule(F&& work) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      waiting_.push(std::forward<F>(work));
    }
    changed_.notify_one();
  }
  int64_t num_threads() const { return static_cast<int64_t>(threads_.size()); }

 private:
  void Work() {
    for (;;) {
      std::function<void()> work;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return done_ || !waiting_.empty(); });
        if (waiting_.empty()) return;
        work = std::move(waiting_.front());
        waiting_.pop();
      }
      work();
    }
  }
  std::vector<std::thread> threads_;
  std::queue<std::function<void()>> waiting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
};

struct Shape {
  int steps, batch, inputs, units, rounds;
  bool reverse;
};

Numbers random_numbers(size_t count, int seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.3f);
  Numbers numbers(count);
  for (float& x : numbers) x = normal(random);
  return numbers;
}

struct Flags {
  std::unique_ptr<bool[]> resets, valid;

  Flags(int steps, int batch) {
    resets = std::make_unique<bool[]>(steps * batch);
    valid = std::make_unique<bool[]>(steps * batch);
    for (int n = 0; n < steps * batch; ++n) {
      valid[n] = n / batch < n % batch + 1;  // rows of 1, 2, ... steps
      resets[n] = valid[n] && n % 3 == 0;
    }
  }
  Masks masks() const { return {resets.get(), valid.get()}; }
};

// All results of a layer, forward and backward, one after the other.
template <class A>
Numbers lstm(Pool& pool, int threads, const Shape& s) {
  const Sizes size{s.steps, s.batch, s.units, s.reverse};
  const size_t state = size_t(s.batch) * s.units, states = s.steps * state;
  const Flags flags(s.steps, s.batch);
  const Numbers z = random_numbers(4 * states, 1), h = random_numbers(state, 2);
  const Numbers w = random_numbers(size_t(4) * s.units * s.units, 3);
  const Numbers c = random_numbers(state, 4), dhs = random_numbers(states, 5);
  Numbers hs(states), c_last(state), gates(4 * states), cs(states);
  Numbers dh(state), dc(state), alone(states);
  run_forward<A>(pool, threads, size, {nullptr, nullptr},
                 ForwardData{z.data(), w.data(), h.data(), c.data(), alone.data(),
                             c_last.data(), nullptr, nullptr});
  run_forward<A>(pool, threads, size, flags.masks(),
                 ForwardData{z.data(), w.data(), h.data(), c.data(), hs.data(),
                             c_last.data(), gates.data(), cs.data()});
  run_backward<A>(pool, threads, size, flags.masks(),
                  BackwardData{w.data(), gates.data(), cs.data(), c.data(), dhs.data(),
                               h.data(), c.data(), gates.data(), dh.data(), dc.data()});
  Numbers all;
  for (const Numbers* each : {&alone, &hs, &c_last, &gates, &cs, &dh, &dc})
    all.insert(all.end(), each->begin(), each->end());
  return all;
}

template <class A>
Numbers mogrified(Pool& pool, int threads, const Shape& s) {
  const mogrifier::Sizes size{s.steps,  s.batch,   s.inputs, s.units,
                              s.rounds, s.reverse, true};
  const size_t state = size_t(s.batch) * s.units, states = s.steps * state;
  const size_t inputs = size_t(s.steps) * s.batch * s.inputs;
  const size_t matrix = size_t(s.inputs) * s.units;
  const int odd = s.rounds / 2, even = s.rounds - odd;
  const Flags flags(s.steps, s.batch);
  const Numbers q = random_numbers(even * matrix, 1);
  const Numbers r = random_numbers(odd * matrix, 2);
  const Numbers w = random_numbers(size_t(4) * s.units * (s.inputs + s.units), 3);
  const Numbers b = random_numbers(4 * s.units, 4), xs = random_numbers(inputs, 5);
  const Numbers h = random_numbers(state, 6), c = random_numbers(state, 7);
  const Numbers dhs = random_numbers(states, 8);
  Numbers hs(states), c_last(state), x_scales(even * inputs), h_scales(odd * states);
  Numbers gates(4 * states), cs(states), dxs(inputs), dh(state), dc(state);
  Numbers alone(states);
  const mogrifier::Weights weights{q.data(), r.data(), w.data()};
  mogrifier::run<A>(pool, threads, size, {nullptr, nullptr}, weights,
                    mogrifier::ForwardData{b.data(), xs.data(), h.data(), c.data(),
                                           alone.data(), c_last.data(),
                                           {nullptr, nullptr}, nullptr, nullptr});
  mogrifier::run<A>(pool, threads, size, flags.masks(), weights,
                    mogrifier::ForwardData{b.data(), xs.data(), h.data(), c.data(),
                                           hs.data(), c_last.data(),
                                           {x_scales.data(), h_scales.data()},
                                           gates.data(), cs.data()});
  mogrifier::run<A>(
      pool, threads, size, flags.masks(), weights,
      mogrifier::BackwardData{xs.data(), h.data(), c.data(), hs.data(),
                              {x_scales.data(), h_scales.data()},
                              gates.data(), cs.data(), dhs.data(), h.data(), c.data(),
                              {x_scales.data(), h_scales.data()},
                              gates.data(), dxs.data(), dh.data(), dc.data()});
  Numbers all;
  for (const Numbers* each : {&alone, &hs, &c_last, &x_scales, &h_scales, &gates, &cs,
                              &dxs, &dh, &dc})
    all.insert(all.end(), each->begin(), each->end());
  return all;
}

// The product of all steps with a matrix, and with its transpose.
template <class A>
Numbers projected(Pool& pool, int threads, const Shape& s) {
  const int rows = 30 * s.steps * s.batch, K = s.inputs, N = s.units;
  const Numbers x = random_numbers(size_t(rows) * K, 1);
  const Numbers w = random_numbers(size_t(K) * N, 2), b = random_numbers(N, 3);
  Numbers made(size_t(rows) * N), back(size_t(rows) * K);
  project::run<A>(pool, threads, {rows, K, N, false},
                  {x.data(), w.data(), b.data(), made.data()});
  project::run<A>(pool, threads, {rows, N, K, true},
                  {made.data(), w.data(), nullptr, back.data()});
  made.insert(made.end(), back.begin(), back.end());
  return made;
}

// The gradients of a matrix and a bias, summed over several blocks of rows.
template <class A>
Numbers summed(Pool& pool, int threads, int rows, int K, int N) {
  const Numbers x = random_numbers(size_t(rows) * K, 1);
  const Numbers dz = random_numbers(size_t(rows) * N, 2);
  Numbers dw(size_t(K) * N), db(N);
  weights::run<A>(pool, threads, {rows, K, N},
                  {x.data(), dz.data(), dw.data(), db.data()});
  dw.insert(dw.end(), db.begin(), db.end());
  return dw;
}

// Symbols read and made by two layers, and their states.
Numbers written(Pool& pool, int threads, const Shape& s) {
  const int symbols = s.inputs, read = 2, make = s.steps;
  const size_t state = size_t(s.batch) * s.units, matrix = size_t(4) * s.units * s.units;
  stack::Sizes size{s.batch, s.units, 2, symbols, 1 + s.rounds % 2, s.reverse};
  size.rounds = size.table ? 0 : s.rounds;
  size.capped = s.rounds > 1;
  const Numbers embedding = random_numbers(size_t(symbols) * s.units, 1);
  const Numbers table = random_numbers(size_t(symbols) * 4 * s.units, 2);
  const Numbers w_x = random_numbers(matrix, 3), w_h = random_numbers(matrix, 4);
  const Numbers b = random_numbers(4 * s.units, 5), h = random_numbers(state, 6);
  const Numbers c = random_numbers(state, 7), b_out = random_numbers(symbols, 8);
  const Numbers w_out = random_numbers(size_t(size.seen) * s.units * symbols, 9);
  const Numbers round = random_numbers(matrix / 4, 11);
  const std::vector<const float*> rounds(size.rounds, round.data());
  const Numbers noise = random_numbers(size_t(make) * s.batch * symbols, 10);
  const std::vector<int32_t> given(read * s.batch, symbols - 1);
  std::vector<int32_t> made(make * s.batch);
  const auto allowed = std::make_unique<bool[]>(symbols);
  for (int n = 0; n < symbols; ++n) allowed[n] = n % 5 != 1;
  Numbers states[4] = {Numbers(state), Numbers(state), Numbers(state), Numbers(state)};
  const stack::Layer layers[2] = {
      {size.table ? table.data() : w_x.data(), w_h.data(), b.data(), h.data(), c.data(),
       states[0].data(), states[1].data(), rounds},
      {w_x.data(), w_h.data(), b.data(), h.data(), c.data(), states[2].data(),
       states[3].data(), rounds}};
  stack::run(pool, threads, size,
             {given.data(), read, make, s.reverse ? noise.data() : nullptr, 0.5f,
              allowed.get(), embedding.data(), w_out.data(), b_out.data(), layers,
              made.data()});
  Numbers all(made.begin(), made.end());
  for (const Numbers& each : states) all.insert(all.end(), each.begin(), each.end());
  return all;
}

// Whether several threads, each with all of the pool, find what one finds.
bool agrees(Pool& pool, const std::function<Numbers(int)>& results) {
  const Numbers expected = results(1);
  std::atomic<bool> same{true};
  std::vector<std::thread> callers;
  for (int n = 0; n < 3; ++n)
    callers.emplace_back([&] {
      if (results(0) != expected) same = false;
    });
  for (auto& caller : callers) caller.join();
  return same;
}

}  // namespace

int main() {
  Pool pool(3);
  // Some have so many operations that they are divided, see `threads_of`.
  const Shape shapes[] = {{1, 1, 1, 1, 0, false},   {3, 15, 17, 50, 5, true},
                          {4, 3, 33, 16, 1, false}, {5, 33, 40, 99, 3, true},
                          {4, 24, 96, 130, 2, false},
                          {2, 3, 7, 160, 2, false},
                          {2, 9, 5, 150, 3, false}};
  for (const Shape& s : shapes) {
    const bool same =
        agrees(pool, [&](int threads) { return lstm<Float32>(pool, threads, s); }) &&
        agrees(pool, [&](int threads) { return lstm<Rounded>(pool, threads, s); }) &&
        agrees(pool, [&](int n) { return mogrified<Float32>(pool, n, s); }) &&
        agrees(pool, [&](int n) { return mogrified<Rounded>(pool, n, s); }) &&
        agrees(pool, [&](int n) { return projected<Float32>(pool, n, s); }) &&
        agrees(pool, [&](int n) { return projected<Rounded>(pool, n, s); }) &&
        agrees(pool,
               [&](int n) {
                 return summed<Float32>(pool, n, 99 * s.steps * s.batch, s.inputs, s.units);
               }) &&
        agrees(pool,
               [&](int n) {
                 return summed<Rounded>(pool, n, 99 * s.steps * s.batch, s.inputs, s.units);
               }) &&
        agrees(pool, [&](int n) { return written(pool, n, s); });
    std::printf("%d x %d rows, %d units: %s\n", s.steps, s.batch, s.units,
                same ? "as by one thread" : "not as by one thread");
    if (!same) return 1;
  }
  // More inputs than are laid out at a time, more outputs than are packed, and parts of
  // both.
  Pool six(6);
  const bool same =
      agrees(six, [&](int n) { return summed<Float32>(six, n, 515, 1100, 600); }) &&
      agrees(six, [&](int n) { return summed<Rounded>(six, n, 1025, 1100, 33); });
  std::printf("wide gradients: %s\n", same ? "as by one thread" : "not as by one thread");
  return same ? 0 : 1;
}
