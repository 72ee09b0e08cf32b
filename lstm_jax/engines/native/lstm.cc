// An LSTM layer on a CPU, as XLA calls it.
//
// XLA multiplies the state by the weights at every step as if it had never seen them,
// and writes every intermediate result to memory. Here the weights are packed once per
// call, the state stays in the layout that the product reads, and the pointwise part of
// a step is done while its gates are in the cache.

#include "products.h"

#include "lstm.h"
#include "project.h"
#include "weights.h"
