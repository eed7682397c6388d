// SPDX-License-Identifier: Apache-2.0
//
// Clocks. A gang that is switched out is frozen: the wall clock runs on, its CPU clock does
// not. What measures work uses the CPU clock, what measures response uses the wall clock.

#ifndef STROBE_EXAMPLES_TIMING_H
#define STROBE_EXAMPLES_TIMING_H

#include <stdbool.h>

#include "program.h"

// Monotonic wall clock, seconds.
double timing_wall_seconds(void);

// Seconds since 1970, to tell what came first in several runs.
double timing_unix_seconds(void);

// CPU time of the calling thread, seconds.
double timing_cpu_seconds(void);

// How long to go on: a number of rounds, or seconds of rank 0's CPU time when `seconds` is not 0.
struct budget {
    long rounds;
    double seconds;
    double cpu_start; // set by budget_start
};

void budget_start(struct budget *budget);

// Rank 0's share of the budget that is spent after `done` rounds, 0 to 1.
double budget_spent(const struct budget *budget, long done);

// Whether a further round is to be done after `done` of them. All ranks must call it: with a budget
// of seconds, rank 0's clock decides for all.
bool budget_continues(const struct budget *budget, struct world world, long done);

#endif
