// SPDX-License-Identifier: Apache-2.0
//
// Random numbers by position instead of by sequence, so that any rank, and the sequential check,
// can make any part of the input without making what comes before it.

#ifndef STROBE_EXAMPLES_RANDOM_H
#define STROBE_EXAMPLES_RANDOM_H

#include <stdint.h>

// The number at place `index` of the sequence `seed`: SplitMix64 of G. L. Steele, D. Lea and
// C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
static inline uint64_t random_at(uint64_t seed, uint64_t index) {
    uint64_t mixed = seed + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

#endif
