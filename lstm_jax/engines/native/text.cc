// The Mogrifier, and text made symbol by symbol: apart from `lstm.cc`, so that two
// compilers share the work.

#include "products.h"

#include "mogrifier.h"
#include "stack.h"
