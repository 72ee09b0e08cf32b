/* Generate text: an LSTM that lstm_jax has trained and exported, in C99 alone.

     cc -O3 -o generate THIS_FILE -lm
     ./generate "Once " 300 0.8 0       prompt, length, temperature, seed
     ./generate --check                 compares it with what the original computes

   The equations are in `step`. Matrices [rows][columns] stand row by row; those of
   eight bits have a scale for each column. */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*@ARRAYS@*/

static float hs[LAYERS][HIDDEN], cs[LAYERS][HIDDEN], logits[SYMBOLS];

static float sigmoid(float x) { return 0.5f * tanhf(0.5f * x) + 0.5f; }

/* out += x [rows] times a matrix. */
static void multiply(const float *x, struct matrix m, float *out) {
  static float sums[LARGEST];
  memset(sums, 0, sizeof sums);
  for (int k = 0; k < m.rows; ++k)
    for (int j = 0; j < m.columns; ++j)
      sums[j] += x[k] * (float)m.of[(size_t)k * m.columns + j];
  for (int j = 0; j < m.columns; ++j) out[j] += sums[j] * (m.scale ? m.scale[j] : 1);
}

/* out = row k of a matrix. */
static void look_up(struct matrix m, int k, float *out) {
  for (int j = 0; j < m.columns; ++j)
    out[j] = (float)m.of[(size_t)k * m.columns + j] * (m.scale ? m.scale[j] : 1);
}

/* target = 2 sigmoid(source times q) * target: a round of a Mogrifier. */
static void scale_each_other(const float *source, struct matrix q, float *target) {
  float z[HIDDEN] = {0};
  multiply(source, q, z);
  for (int j = 0; j < q.columns; ++j) target[j] *= 2 * sigmoid(z[j]);
}

/* Read one symbol: the next states, and the logits of what may follow it. */
static void step(int symbol) {
  static float shown[LAYERS * HIDDEN];
  float x[HIDDEN], z[4 * HIDDEN];
  if (EMBEDDED) look_up(EMBEDDING, symbol, x);
  for (int layer = 0; layer < LAYERS; ++layer) {
    float *h = hs[layer], *c = cs[layer];
    for (int n = 0; n < ROUNDS; ++n)
      if (n % 2 == 0)
        scale_each_other(h, rounds[layer][n], x);
      else
        scale_each_other(x, rounds[layer][n], h);
    if (layer == 0 && !EMBEDDED) {
      look_up(w_x[0], symbol, z); /* a table */
    } else {
      memset(z, 0, sizeof z);
      multiply(x, w_x[layer], z);
    }
    multiply(h, w_h[layer], z);
    for (int j = 0; j < HIDDEN; ++j) {
      const float *b = biases[layer];
      float i = sigmoid(z[j] + b[j]), f = sigmoid(z[HIDDEN + j] + b[HIDDEN + j]);
      float g = tanhf(z[2 * HIDDEN + j] + b[2 * HIDDEN + j]);
      float o = sigmoid(z[3 * HIDDEN + j] + b[3 * HIDDEN + j]);
      if (CAPPED && i > 1 - f) i = 1 - f;
      c[j] = f * c[j] + i * g;
      h[j] = x[j] = o * tanhf(c[j]);
    }
    memcpy(shown + layer * HIDDEN, h, sizeof hs[layer]);
  }
  memcpy(logits, b_out, sizeof logits);
  multiply(shown + LAYERS * HIDDEN - w_out.rows, w_out, logits);
}

/* The id of the symbol that a text begins with, and how many bytes it takes. */
static int next_id(const char *text, int *size) {
  for (int k = FIRST; k < SYMBOLS; ++k) {
    int bytes = symbol_sizes[k];
    if (strlen(text) >= (size_t)bytes && !memcmp(text, symbols[k], bytes)) {
      *size = bytes;
      return k;
    }
  }
  /* A character that was never seen in training: all of its bytes, and id 0. */
  for (*size = 1; ((unsigned char)text[*size] & 0xc0) == 0x80; ++*size) continue;
  return 0;
}

/* A number in [0, 1): splitmix64. */
static double chance(uint64_t *seed) {
  uint64_t z = (*seed += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

static int choose(double temperature, uint64_t *seed) {
  int best = FIRST;
  for (int k = FIRST; k < SYMBOLS; ++k)
    if (logits[k] > logits[best]) best = k;
  if (temperature <= 0) return best;
  double sum = 0, top = logits[best];
  for (int k = FIRST; k < SYMBOLS; ++k) sum += exp((logits[k] - top) / temperature);
  double left = chance(seed) * sum;
  for (int k = FIRST; k < SYMBOLS; ++k)
    if ((left -= exp((logits[k] - top) / temperature)) < 0) return k;
  return best;
}

static int check(void) {
  float worst = 0;
  for (int t = 0; t < CHECKED; ++t) {
    step(check_ids[t]);
    for (int k = 0; k < SYMBOLS; ++k)
      worst = fmaxf(worst, fabsf(logits[k] - check_logits[t * SYMBOLS + k]));
  }
  printf("%.3e\n", worst);
  return 0;
}

int main(int count, char **words) {
  if (count > 1 && !strcmp(words[1], "--check")) return check();
  const char *prompt = count > 1 ? words[1] : "";
  long length = count > 2 ? atol(words[2]) : 300;
  double temperature = count > 3 ? atof(words[3]) : 0.8;
  uint64_t seed = count > 4 ? strtoull(words[4], NULL, 10) : 0;
  fputs(prompt, stdout);
  for (int size; *prompt; prompt += size) step(next_id(prompt, &size));
  for (long n = 0; n < length; ++n) {
    int symbol = choose(temperature, &seed);
    fwrite(symbols[symbol], 1, symbol_sizes[symbol], stdout);
    fflush(stdout);
    step(symbol);
  }
  putchar('\n');
  return 0;
}
