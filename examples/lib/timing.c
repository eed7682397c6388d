// SPDX-License-Identifier: Apache-2.0

#include "timing.h"

#include <mpi.h>
#include <time.h>

static double read_clock(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double timing_wall_seconds(void) {
    return read_clock(CLOCK_MONOTONIC);
}

double timing_unix_seconds(void) {
    return read_clock(CLOCK_REALTIME);
}

double timing_cpu_seconds(void) {
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

void budget_start(struct budget *budget) {
    budget->cpu_start = timing_cpu_seconds();
}

double budget_spent(const struct budget *budget, long done) {
    double spent = budget->seconds > 0.0
                       ? (timing_cpu_seconds() - budget->cpu_start) / budget->seconds
                       : (double)done / (double)budget->rounds;
    return spent < 1.0 ? spent : 1.0;
}

bool budget_continues(const struct budget *budget, struct world world, long done) {
    if (budget->seconds <= 0.0) {
        return done < budget->rounds;
    }
    int go_on = world.rank == 0 && budget_spent(budget, done) < 1.0;
    MPI_Bcast(&go_on, 1, MPI_INT, 0, MPI_COMM_WORLD);
    return go_on != 0;
}
