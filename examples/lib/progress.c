// SPDX-License-Identifier: Apache-2.0

#include "progress.h"

#include <stdio.h>

#include "timing.h"

// More lines than this are noise to a reader and load for whoever carries the output.
static const double LEAST_SECONDS_BETWEEN_LINES = 0.1;

void progress_start(struct progress *progress, struct world world) {
    *progress = (struct progress){.rank = world.rank, .percent = -1, .last_seconds = 0.0};
    progress_report(progress, 0.0);
}

void progress_report(struct progress *progress, double fraction) {
    int percent = (int)(fraction * 100.0);
    if (progress->rank != 0 || percent <= progress->percent) {
        return;
    }
    double now = timing_wall_seconds();
    bool first_or_last = progress->percent < 0 || percent >= 100;
    if (!first_or_last && now - progress->last_seconds < LEAST_SECONDS_BETWEEN_LINES) {
        return;
    }
    progress->percent = percent;
    progress->last_seconds = now;
    printf("progress: %d%%\n", percent);
    fflush(stdout);
}
