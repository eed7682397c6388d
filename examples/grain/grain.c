// SPDX-License-Identifier: Apache-2.0
//
// The worst case for a machine that shares its CPUs: compute for a few microseconds, wait for all
// other ranks, repeat. A rank whose peers are not running at the same time gets nothing done.
//
// The shape (fixed computation, then a global operation, the granularity being the one parameter)
// is that of the synthetic programs in E. Frachtenberg et al., "Flexible CoScheduling: mitigating
// load imbalance and improving utilization of heterogeneous resources", IPDPS 2003.

#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "arguments.h"
#include "program.h"
#include "progress.h"
#include "timing.h"

// Times of single iterations are kept to sort them at the end: 4 bytes each, so 40 MB at most.
enum { ITERATIONS_MOST = 10000000 };
enum { CALIBRATION_SAMPLES = 15 };
enum { DETAILS_SIZE = 256 };

// A sample this long makes the two clock reads around it (about 1 us) count for 0.05 %.
static const double CALIBRATION_SAMPLE_SECONDS = 0.002;

struct settings {
    long grain_us;
    long iterations;
    double seconds;      // of work; 0: iterations decides
    double loops_per_us; // 0: calibrate
};

// Real work: a chain of multiplications in which each needs the one before (the linear congruential
// step of D. E. Knuth's MMIX). It reads no clock, so being frozen does not shorten it. Not inlined:
// calibration and measurement must run the same instructions.
__attribute__((noinline)) static uint64_t work(uint64_t state, uint64_t loops) {
    for (uint64_t loop = 0; loop < loops; loop++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    }
    return state;
}

// Where results of work go, so that the compiler cannot leave it out.
static volatile uint64_t work_sink;

static double cpu_seconds_of(uint64_t loops) {
    double start = timing_cpu_seconds();
    work_sink = work(work_sink, loops);
    return timing_cpu_seconds() - start;
}

static int by_number(const void *left, const void *right) {
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

// Takes samples of the loops a microsecond of this CPU, by its CPU clock: time spent switched out
// does not count.
static void calibrate(double *samples) {
    uint64_t loops = 1024;
    while (cpu_seconds_of(loops) < CALIBRATION_SAMPLE_SECONDS) {
        loops *= 2;
    }
    for (int sample = 0; sample < CALIBRATION_SAMPLES; sample++) {
        samples[sample] = (double)loops / (cpu_seconds_of(loops) * 1e6);
    }
}

// One value for all ranks, so that all do the same work: the median of all samples of all ranks.
// Interrupts and cold caches make samples too slow, and on a busy virtual machine some came out up
// to 5 % too fast: neither end is to be trusted.
static double agree_on_loops_per_us(const struct settings *settings, struct world world) {
    if (settings->loops_per_us > 0.0) {
        return settings->loops_per_us;
    }
    size_t count = (size_t)world.size * CALIBRATION_SAMPLES;
    double own[CALIBRATION_SAMPLES];
    double *all = program_memory(count, sizeof *all);
    calibrate(own);
    MPI_Allgather(own, CALIBRATION_SAMPLES, MPI_DOUBLE, all, CALIBRATION_SAMPLES, MPI_DOUBLE,
                  MPI_COMM_WORLD);
    qsort(all, count, sizeof *all, by_number);
    double median = all[count / 2];
    free(all);
    return median;
}

// One iteration. Returns whether the sum over all ranks came out as it must: each rank gives its
// number plus the iteration's, so that a stale or missing contribution shows.
static bool iterate(struct world world, uint64_t loops, long iteration) {
    work_sink = work(work_sink, loops);
    int64_t size = world.size;
    int64_t own = world.rank + iteration;
    int64_t sum = 0;
    MPI_Allreduce(&own, &sum, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
    return sum == size * (size - 1) / 2 + size * iteration;
}

static int by_time(const void *left, const void *right) {
    float a = *(const float *)left;
    float b = *(const float *)right;
    return (a > b) - (a < b);
}

// The smallest of `count` sorted times that at least `share` of them do not exceed.
static double quantile(const float *sorted, long count, double share) {
    long place = (long)(share * (double)count);
    return sorted[place < count ? place : count - 1];
}

// The last rank's start, on the clock that all machines share as well as they are set: several runs
// can be put in order by it.
static double last_start(double own) {
    double last = own;
    MPI_Reduce(&own, &last, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
    return last;
}

static int measure(const struct argument_table *table, const struct settings *settings,
                   struct world world, double started) {
    struct progress progress;
    progress_start(&progress, world);
    double loops_per_us = agree_on_loops_per_us(settings, world);
    uint64_t loops = (uint64_t)(loops_per_us * (double)settings->grain_us + 0.5);
    if (world.rank == 0) {
        printf("grain: loops_per_us=%.3f\n", loops_per_us);
    }
    float *times_us = program_memory((size_t)settings->iterations, sizeof *times_us);
    bool correct = true;

    MPI_Barrier(MPI_COMM_WORLD);
    double start = timing_wall_seconds();
    for (long iteration = 0; iteration < settings->iterations; iteration++) {
        double before = timing_wall_seconds();
        correct = iterate(world, loops, iteration) && correct;
        times_us[iteration] = (float)((timing_wall_seconds() - before) * 1e6);
        progress_report(&progress, (double)(iteration + 1) / (double)settings->iterations);
    }
    double wall_seconds = timing_wall_seconds() - start;
    double ended = timing_unix_seconds();
    double all_started = last_start(started);

    qsort(times_us, (size_t)settings->iterations, sizeof *times_us, by_time);
    char details[DETAILS_SIZE];
    snprintf(details, sizeof details,
             "ranks=%d grain_us=%ld iterations=%ld loops_per_us=%.3f wall_s=%.6f median_us=%.1f "
             "p99_us=%.1f max_us=%.1f started_unix_s=%.6f ended_unix_s=%.6f",
             world.size, settings->grain_us, settings->iterations, loops_per_us, wall_seconds,
             quantile(times_us, settings->iterations, 0.5),
             quantile(times_us, settings->iterations, 0.99),
             (double)times_us[settings->iterations - 1], all_started, ended);
    free(times_us);
    int all_correct = 0;
    int own_correct = correct;
    MPI_Reduce(&own_correct, &all_correct, 1, MPI_INT, MPI_LAND, 0, MPI_COMM_WORLD);
    return program_end(table, world, all_correct != 0, details);
}

int main(int argc, char **argv) {
    double started = timing_unix_seconds();
    struct settings settings = {.grain_us = 100, .iterations = 20000};
    const struct argument rows[] = {
        {.name = "--grain-us", .whole = &settings.grain_us, .minimum = 0, .maximum = 1e6,
         .meaning = "microseconds of CPU time to compute in each iteration"},
        {.name = "--iterations", .whole = &settings.iterations, .minimum = 1,
         .maximum = ITERATIONS_MOST, .meaning = "computations, each with one allreduce"},
        {.name = "--seconds", .real = &settings.seconds, .minimum = 0, .maximum = 86400,
         .meaning = "seconds of work, as so many iterations; 0: --iterations decides"},
        {.name = "--loops-per-us", .real = &settings.loops_per_us, .minimum = 0, .maximum = 1e6,
         .meaning = "speed of the CPU, to make runs comparable; 0: calibrate at start"},
    };
    const struct argument_table table = {
        .program = "grain",
        .summary = "compute a grain of time, wait for all ranks, repeat",
        .rows = rows,
        .row_count = sizeof rows / sizeof rows[0],
    };
    struct world world;
    int code;
    if (!program_start(&table, &argc, &argv, &world, &code)) {
        return code;
    }
    if (settings.seconds > 0.0) {
        double iterations = settings.seconds * 1e6 / (double)settings.grain_us;
        // With a grain of 0 the quotient is infinite, which is also more than the limit.
        if (iterations < 1.0 || iterations > ITERATIONS_MOST) {
            return program_refuse(&table, world,
                                  "--seconds / --grain-us: give 1 to 10000000 iterations");
        }
        settings.iterations = (long)(iterations + 0.5);
    }
    return measure(&table, &settings, world, started);
}
