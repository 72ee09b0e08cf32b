// Threads and memory of a call.

#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "vectors.h"

namespace {

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

// A thread's part of a whole.
struct Share {
  int first, count;
};

Share share_of(int whole, int parts, int part) {
  const int least = whole / parts, more = whole % parts;
  return {part * least + std::min(part, more), least + (part < more)};
}

constexpr int kFewestRows = 8;  // fewer per thread, and the weights are read for little

// Threads divide the rows of the batch: each takes its own through all steps and never
// waits for another.
struct Division {
  int parts;
  int rows;

  Division(int batch, int threads) : rows(batch) {
    parts = std::max(1, std::min(threads, batch / kFewestRows));
  }
  Share share(int part) const { return share_of(rows, parts, part); }
};

}  // namespace
