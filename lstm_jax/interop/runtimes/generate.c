/* Generate text: a network that lstm_jax has trained and exported, in C99 alone.

     cc -O3 -o generate THIS_FILE -lm
     ./generate "Once " 300 0.8 0       prompt, length, temperature, seed
     ./generate --encode <TEXT          the ids of a text
     ./generate --decode <IDS           the text of some ids
     ./generate --check                 compares it with what the original computes

   The equations are in `lstm` and `gru`. Matrices [rows][columns] stand row by row;
   those of eight bits have a scale for each column. */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHAR, BYTE, WORD, BPE, IDS };

/*@ARRAYS@*/

static float hs[LAYERS][OUTPUT], cs[LAYERS][HIDDEN], logits[SYMBOLS];

static float sigmoid(float x) { return 0.5f * tanhf(0.5f * x) + 0.5f; }

static float bounded(float x, float most) {
  return most > 0 ? fmaxf(-most, fminf(x, most)) : x;
}

static void refuse(const char *expected) {
  fprintf(stderr, "expected %s\n", expected);
  exit(2);
}

/* out += x [rows] times a matrix. */
static void multiply(const float *x, struct matrix m, float *out) {
  static float sums[LARGEST];
  memset(sums, 0, sizeof sums);
  for (int k = 0; k < m.rows; ++k)
    for (int j = 0; j < m.columns; ++j)
      sums[j] += x[k] * (float)m.of[(size_t)k * m.columns + j];
  for (int j = 0; j < m.columns; ++j) out[j] += sums[j] * (m.scale ? m.scale[j] : 1);
}

/* out [rows] += a matrix times x [columns]. */
static void multiply_transposed(const float *x, struct matrix m, float *out) {
  for (int k = 0; k < m.rows; ++k) {
    float sum = 0;
    for (int j = 0; j < m.columns; ++j)
      sum += x[j] * (m.scale ? m.scale[j] : 1) * (float)m.of[(size_t)k * m.columns + j];
    out[k] += sum;
  }
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

/* z = what the input opens of each gate: x times w_x, or a row of a table, + b. */
static void read_input(int layer, int symbol, const float *x, float *z) {
  if (layer == 0 && !EMBEDDED) {
    look_up(w_x[0], symbol, z);
  } else {
    memset(z, 0, BLOCKS * HIDDEN * sizeof *z);
    multiply(x, w_x[layer], z);
  }
  for (int j = 0; j < BLOCKS * HIDDEN; ++j) z[j] += b[layer][j];
}

/* A step of an LSTM, of whatever variant: h and c after it. */
static void lstm(int layer, int symbol, float *x, float *h, float *c) {
  float z[4 * HIDDEN], shown[HIDDEN];
  for (int n = 0; n < ROUNDS; ++n)
    if (n % 2 == 0)
      scale_each_other(h, rounds[layer][n], x);
    else
      scale_each_other(x, rounds[layer][n], h);
  read_input(layer, symbol, x, z);
  multiply(h, w_h[layer], z);
  const float *z_f = z + (COUPLED ? 0 : HIDDEN), *z_g = z_f + HIDDEN, *z_o = z_g + HIDDEN;
  const float *p_i = p[layer], *p_f = p_i ? p_i + (COUPLED ? 0 : HIDDEN) : NULL;
  const float *p_o = p_f ? p_f + HIDDEN : NULL;
  for (int j = 0; j < HIDDEN; ++j) {
    float f = sigmoid(bounded(z_f[j] + (p_f ? p_f[j] * c[j] : 0), CLIP)), i = 1 - f;
    if (!COUPLED) i = sigmoid(bounded(z[j] + (p_i ? p_i[j] * c[j] : 0), CLIP));
    if (CAPPED) i = fminf(i, 1 - f);
    c[j] = bounded(f * c[j] + i * tanhf(bounded(z_g[j], CLIP)), CELL_CLIP);
    float o = sigmoid(bounded(z_o[j] + (p_o ? p_o[j] * c[j] : 0), CLIP));
    shown[j] = o * tanhf(c[j]);
  }
  if (PROJECTED) {
    memset(h, 0, OUTPUT * sizeof *h);
    multiply(shown, w_hr[layer], h);
  } else {
    memcpy(h, shown, OUTPUT * sizeof *h);
  }
}

/* A step of a GRU: h after it. */
static void gru(int layer, int symbol, const float *x, float *h) {
  float z[BLOCKS * HIDDEN], fed[BLOCKS * HIDDEN] = {0}, reset[HIDDEN];
  float *fed_n = fed + 2 * HIDDEN;
  read_input(layer, symbol, x, z);
  multiply(h, w_h[layer], fed);
  for (int j = 0; j < HIDDEN; ++j) reset[j] = sigmoid(z[j] + fed[j]);
  if (RESET_AFTER) {
    for (int j = 0; j < HIDDEN; ++j)
      fed_n[j] = reset[j] * (fed_n[j] + (b_hn[layer] ? b_hn[layer][j] : 0));
  } else {
    for (int j = 0; j < HIDDEN; ++j) reset[j] *= h[j];
    multiply(reset, w_n[layer], fed_n);
  }
  for (int j = 0; j < HIDDEN; ++j) {
    float kept = sigmoid(z[HIDDEN + j] + fed[HIDDEN + j]);
    h[j] = (1 - kept) * tanhf(z[2 * HIDDEN + j] + fed_n[j]) + kept * h[j];
  }
}

/* The logits of the next symbol: those of a softmax over the outputs, h. */
static void score(void) {
  const float *shown = (const float *)hs + LAYERS * OUTPUT;
  memcpy(logits, b_out, sizeof logits);
  if (TIED)
    multiply_transposed(shown - OUTPUT, embedding, logits);
  else
    multiply(shown - w_out.rows, w_out, logits);
}

/* Read one symbol: the next states, and the logits of what may follow it. */
static void step(int symbol) {
  float x[OUTPUT] = {0};
  if (EMBEDDED) look_up(embedding, symbol, x);
  for (int layer = 0; layer < LAYERS; ++layer) {
    float *h = hs[layer], *c = cs[layer], old_h[OUTPUT], old_c[HIDDEN];
    memcpy(old_h, h, sizeof old_h);
    memcpy(old_c, c, sizeof old_c);
    if (GRU)
      gru(layer, symbol, x, h);
    else
      lstm(layer, symbol, x, h, c);
    if (ZONEOUT_H > 0)
      for (int j = 0; j < OUTPUT; ++j) h[j] = ZONEOUT_H * old_h[j] + (1 - ZONEOUT_H) * h[j];
    if (ZONEOUT_C > 0)
      for (int j = 0; j < HIDDEN; ++j) c[j] = ZONEOUT_C * old_c[j] + (1 - ZONEOUT_C) * c[j];
    memcpy(x, h, sizeof x);
  }
  score();
}

/* The id of a symbol that is written so; 0 for one that was never seen. */
static int id_of(const char *text, size_t size) {
  int low = 0, high = SORTED;
  while (low < high) {
    int middle = (low + high) / 2, id = by_bytes[middle];
    size_t other = (size_t)symbol_sizes[id];
    int order = memcmp(text, symbols[id], size < other ? size : other);
    if (order == 0) order = (size > other) - (size < other);
    if (order == 0) return id;
    if (order < 0)
      high = middle;
    else
      low = middle + 1;
  }
  return 0;
}

/* Whether a character is in one of some ranges, of letters or of white space. */
static int within(const uint32_t (*ranges)[2], int count, uint32_t code) {
  int low = 0, high = count;
  while (low < high) {
    int middle = (low + high) / 2;
    if (code > ranges[middle][1])
      low = middle + 1;
    else
      high = middle;
  }
  return low < count && code >= ranges[low][0];
}
static int is_letter(uint32_t c) { return within(letters, LETTERS, c); }
static int is_space(uint32_t c) { return within(spaces, SPACES, c); }
static int is_other(uint32_t c) { return !is_letter(c) && !is_space(c); }
static int is_tie(uint32_t c) { return c == '\'' || c == 0x2019 || c == '-'; }

/* How many characters the next word has: letters with the space before them and what
   ties them together, or punctuation, or white space but for the space of a word. */
static size_t word_size(const uint32_t *text, size_t left) {
  size_t begin = left > 1 && text[0] == ' ', end = begin + 1;
  if (is_letter(text[begin])) {
    for (; end < left && end < begin + LONGEST; ++end)
      if (!is_letter(text[end]) &&
          !(is_tie(text[end]) && end + 1 < left && is_letter(text[end + 1])))
        break;
    return end;
  }
  if (is_other(text[begin])) {
    while (end < left && end < begin + LONGEST && is_other(text[end])) ++end;
    return end;
  }
  for (end = 1; end < left && end < LONGEST && is_space(text[end]);) ++end;
  return end < left && !is_space(text[end]) && end > 1 ? end - 1 : end;
}

/* A word as ids: its own, or those of its characters, merged as they were learned.
   Character k stands at text + starts[k]; `starts` is changed. */
static int cut(const char *text, size_t *starts, size_t count, int *ids) {
  int whole = id_of(text + starts[0], starts[count] - starts[0]);
  if (whole) return *ids = whole, 1;
  while (KIND == BPE) {
    int best = 0;
    size_t first = 0; /* the size of what comes first in the best pair */
    for (size_t k = 0; k + 1 < count; ++k) {
      int id = id_of(text + starts[k], starts[k + 2] - starts[k]);
      if (id && (!best || id < best)) best = id, first = starts[k + 1] - starts[k];
    }
    if (!best) break;
    size_t kept = 0;
    for (size_t k = 0; k < count; ++kept) {
      size_t begin = starts[k];
      int pair = k + 1 < count && starts[k + 1] - begin == first &&
                 id_of(text + begin, starts[k + 2] - begin) == best;
      starts[kept] = begin;
      k += pair ? 2 : 1;
    }
    starts[kept] = starts[count];
    count = kept;
  }
  for (size_t k = 0; k < count; ++k)
    ids[k] = id_of(text + starts[k], starts[k + 1] - starts[k]);
  return (int)count;
}

/* How many bytes the next character of UTF-8 has, and its code; 0 if it is none. */
static size_t character(const unsigned char *text, size_t left, uint32_t *code) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  size_t size = *text < 0x80 ? 1 : *text < 0xc0 ? 0 : *text < 0xe0 ? 2 : *text < 0xf0 ? 3 : 4;
  if (size == 0 || size > left || *text > 0xf4) return 0;
  *code = size == 1 ? *text : *text & (0x7fu >> size);
  for (size_t k = 1; k < size; ++k) {
    if ((text[k] & 0xc0) != 0x80) return 0;
    *code = *code << 6 | (text[k] & 0x3f);
  }
  int valid = *code >= least[size] && *code <= 0x10ffff && (*code < 0xd800 || *code > 0xdfff);
  return valid ? size : 0;
}

/* The ids of numbers with spaces between them. */
static size_t read_ids(const char *text, int *ids) {
  size_t count = 0;
  for (char *end;; text = end) {
    text += strspn(text, " \t\n\r");
    if (!*text) return count;
    unsigned long id = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || id >= SYMBOLS) refuse("ids of the model");
    ids[count++] = (int)id;
  }
}

/* The ids of a text, which has room for as many as it has bytes; how many. */
static size_t encode(const char *text, size_t size, int *ids) {
  size_t count = 0, made = 0;
  if (KIND == IDS) return read_ids(text, ids);
  if (KIND == BYTE) {
    for (; made < size; ++made) ids[made] = (unsigned char)text[made];
    return made;
  }
  uint32_t *codes = malloc((size + 1) * sizeof *codes);
  size_t *starts = malloc((size + 1) * sizeof *starts), word[LONGEST + 2];
  if (!codes || !starts) refuse("more memory");
  for (size_t at = 0, bytes; at < size; at += bytes) {
    bytes = character((const unsigned char *)text + at, size - at, &codes[count]);
    if (!bytes) refuse("a text in UTF-8");
    starts[count++] = at;
  }
  starts[count] = size;
  for (size_t k = 0, length; k < count; k += length) {
    length = KIND == CHAR ? 1 : word_size(codes + k, count - k);
    memcpy(word, starts + k, (length + 1) * sizeof *word);
    made += cut(text, word, length, ids + made);
  }
  free(codes);
  free(starts);
  return made;
}

/* Write a byte of a text, or U+FFFD for what can't be UTF-8; -1 ends the text. */
static void write_byte(int byte) {
  static unsigned char held[4];
  static int count, missing, low = 0x80, high = 0xbf;
  if (missing && (byte < low || byte > high)) {
    fputs("\xef\xbf\xbd", stdout);
    missing = 0;
  }
  if (byte < 0) return;
  if (!missing) {
    count = 0;
    missing = byte < 0x80 ? 0 : byte < 0xc2 ? -1 : byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    if (missing < 0 || byte > 0xf4) {
      missing = 0;
      fputs("\xef\xbf\xbd", stdout);
      return;
    }
    low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
    high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
  } else {
    --missing;
    low = 0x80, high = 0xbf;
  }
  held[count++] = (unsigned char)byte;
  if (!missing) fwrite(held, 1, count, stdout);
}

/* Write the text of an id. */
static void decode(int id) {
  if (KIND == BYTE)
    write_byte(id);
  else if (KIND == IDS)
    printf("%d ", id);
  else
    fwrite(symbols[id], 1, symbol_sizes[id], stdout);
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
  int *ids = malloc((CHECK_BYTES + 1) * sizeof *ids);
  if (!ids) refuse("more memory");
  size_t count = encode(check_text, CHECK_BYTES, ids);
  if (count != CHECK_TEXT_IDS || memcmp(ids, check_text_ids, count * sizeof *ids)) {
    fputs("a text is cut into other symbols than those of the original\n", stderr);
    return 1;
  }
  free(ids);
  for (int t = 0; t < CHECKED; ++t) {
    step(check_ids[t]);
    for (int k = 0; k < SYMBOLS; ++k)
      worst = fmaxf(worst, fabsf(logits[k] - check_logits[t * SYMBOLS + k]));
  }
  printf("%.3e\n", worst);
  return 0;
}

/* All of the standard input, with a zero behind it. */
static char *read_all(size_t *size) {
  char *text = NULL;
  for (size_t room = 4096;; room *= 2) {
    text = realloc(text, room);
    if (!text) refuse("more memory");
    *size += fread(text + *size, 1, room - 1 - *size, stdin);
    if (*size < room - 1) return text[*size] = 0, text;
  }
}

static int encode_input(void) {
  size_t size = 0;
  char *text = read_all(&size);
  int *ids = malloc((size + 1) * sizeof *ids);
  if (!ids) refuse("more memory");
  size_t count = encode(text, size, ids);
  for (size_t k = 0; k < count; ++k) printf("%d ", ids[k]);
  putchar('\n');
  free(text);
  free(ids);
  return 0;
}

static int decode_input(void) {
  for (long id; scanf("%ld", &id) == 1; decode((int)id))
    if (id < 0 || id >= SYMBOLS) refuse("ids of the model");
  write_byte(-1);
  return 0;
}

/* A number of 0 or more. */
static double number(const char *word, const char *expected) {
  char *end;
  double found = strtod(word, &end);
  if (end == word || *end || !(found >= 0)) refuse(expected);
  return found;
}

int main(int count, char **words) {
  if (count > 1 && !strcmp(words[1], "--check")) return check();
  if (count > 1 && !strcmp(words[1], "--encode")) return encode_input();
  if (count > 1 && !strcmp(words[1], "--decode")) return decode_input();
  const char *prompt = count > 1 ? words[1] : "";
  double length = count > 2 ? number(words[2], "a length of 0 or more") : 300;
  double temperature = count > 3 ? number(words[3], "a temperature of 0 or more") : 0.8;
  uint64_t seed = count > 4 ? strtoull(words[4], NULL, 10) : 0;
  size_t size = strlen(prompt);
  int *ids = malloc((size + 1) * sizeof *ids);
  if (!ids) refuse("more memory");
  size_t read = encode(prompt, size, ids), unknown = 0;
  score();
  for (size_t k = 0; k < read; ++k) {
    unknown += ids[k] < FIRST;
    step(ids[k]);
  }
  if (unknown)
    fprintf(stderr, "note: %lu characters of the prompt are unknown to the model\n",
            (unsigned long)unknown);
  fputs(prompt, stdout);
  if (KIND == IDS) putchar(' ');
  for (double n = 0; n < length; ++n) {
    int symbol = choose(temperature, &seed);
    decode(symbol);
    fflush(stdout);
    step(symbol);
  }
  write_byte(-1);
  putchar('\n');
  free(ids);
  return 0;
}
