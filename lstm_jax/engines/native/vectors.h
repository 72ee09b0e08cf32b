// Vectors of numbers, as the processor has them, and what is made of each alone.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

using std::size_t;
#define INLINE inline __attribute__((always_inline))

namespace {

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

}  // namespace
