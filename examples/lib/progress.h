// SPDX-License-Identifier: Apache-2.0
//
// Lines `progress: 37%` on rank 0, the form that a live view's progress bar reads.

#ifndef STROBE_EXAMPLES_PROGRESS_H
#define STROBE_EXAMPLES_PROGRESS_H

#include "program.h"

struct progress {
    int rank;
    int percent;         // of the last line; -1 before the first
    double last_seconds; // wall clock of the last line
};

void progress_start(struct progress *progress, struct world world);

// Says that `fraction` (0 to 1) of the program is done. Prints a line only when the percentage has
// grown and at least 0.1 s have passed, so that calling it in every iteration is cheap; 100% is
// always printed, once. Does nothing on other ranks than 0.
void progress_report(struct progress *progress, double fraction);

#endif
