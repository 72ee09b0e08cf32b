// The Mogrifier, and text made symbol by symbol: compiled beside `lstm.cc`, in half the
// time of both.

#include "products.h"

#include "mogrifier.h"
#include "stack.h"
