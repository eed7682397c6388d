// SPDX-License-Identifier: Apache-2.0
//
// Parallel quicksort on any number of ranks: the GENESIS talk's second application (README.md).
//
// A group of ranks agrees on a pivot, each rank partitions its values by it, the lower half of the
// ranks takes all values up to the pivot and the upper half the others, and both halves go on by
// themselves until each is one rank, which sorts what it has. The values then stand in rank order.
//
// Method: C. A. R. Hoare, "Quicksort", The Computer Journal 5(1), 1962; B. Wagar, "Hyperquicksort:
// a fast sorting algorithm for hypercubes", 1987. Unlike hyperquicksort, a group may have any size:
// the pivot is the quantile that belongs to the share of the ranks that go to the lower half.

#include <limits.h>
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "program.h"
#include "progress.h"
#include "random.h"
#include "timing.h"

enum { VALUES_MOST = 1 << 27 }; // 512 MB on rank 0, and counts fit in the int of an MPI call
enum { SAMPLES = 63 };          // values a rank shows for the choice of a pivot
enum { INSERTION_MOST = 16 };   // below this many values insertion is faster than partitioning
enum { LEVELS_MOST = 32 };      // halvings until a group of INT_MAX ranks is one rank
enum { DETAILS_SIZE = 256 };

struct settings {
    long values;
    long seed;
    struct budget budget;
    bool unchecked;
};

// A rank's values.
struct share {
    int32_t *values;
    long count;
};

// One halving: the ranks of `group` up to `lower_size` are the lower half.
struct level {
    MPI_Comm group;
    int rank;
    int size;
    int lower_size;
};

// The halvings that this rank takes part in. They depend on the number of ranks only, so they are
// made once and serve all rounds.
struct ladder {
    struct level levels[LEVELS_MOST];
    int count;
};

// A run of values in the order of the ranks of a group: [start, end).
struct run {
    long start;
    long end;
};

// === The sequential sort ===

static void swap(int32_t *left, int32_t *right) {
    int32_t kept = *left;
    *left = *right;
    *right = kept;
}

static void insertion_sort(int32_t *values, long count) {
    for (long next = 1; next < count; next++) {
        int32_t value = values[next];
        long place = next;
        for (; place > 0 && values[place - 1] > value; place--) {
            values[place] = values[place - 1];
        }
        values[place] = value;
    }
}

static int32_t median_of_three(int32_t a, int32_t b, int32_t c) {
    int32_t low = a < b ? a : b;
    int32_t high = a < b ? b : a;
    return c < low ? low : (c > high ? high : c);
}

// Hoare's partition. Stops at values equal to the pivot from both sides, so that many equal values
// still make two halves of like size. Returns how many values form the lower part, of which none
// exceeds one of the upper part; both parts are smaller than the whole.
static long hoare_partition(int32_t *values, long count) {
    int32_t pivot = median_of_three(values[0], values[(count - 1) / 2], values[count - 2]);
    long low = -1;
    long high = count;
    for (;;) {
        do {
            low++;
        } while (values[low] < pivot);
        do {
            high--;
        } while (values[high] > pivot);
        if (low >= high) {
            return high + 1;
        }
        swap(&values[low], &values[high]);
    }
}

static void quicksort(int32_t *values, long count) {
    while (count > INSERTION_MOST) {
        long lower = hoare_partition(values, count);
        // Recursion into the smaller part keeps the stack at log2(count) frames.
        if (lower < count - lower) {
            quicksort(values, lower);
            values += lower;
            count -= lower;
        } else {
            quicksort(values + lower, count - lower);
            count = lower;
        }
    }
    insertion_sort(values, count);
}

// === One halving of a group ===

static int by_value(const void *left, const void *right) {
    int32_t a = *(const int32_t *)left;
    int32_t b = *(const int32_t *)right;
    return (a > b) - (a < b);
}

// A value with about `lower_size / size` of the group's values below it. All ranks see the same
// samples and so choose the same one.
static int32_t choose_pivot(const struct level *level, const struct share *share) {
    int32_t own[SAMPLES + 1] = {0}; // how many, then the samples
    own[0] = share->count < SAMPLES ? (int32_t)share->count : SAMPLES;
    for (long sample = 0; sample < own[0]; sample++) {
        own[sample + 1] = share->values[share->count * sample / own[0]];
    }
    int32_t *all = program_memory((size_t)level->size * (SAMPLES + 1), sizeof *all);
    MPI_Allgather(own, SAMPLES + 1, MPI_INT32_T, all, SAMPLES + 1, MPI_INT32_T, level->group);
    long count = 0;
    for (int rank = 0; rank < level->size; rank++) {
        const int32_t *theirs = all + (long)rank * (SAMPLES + 1);
        int32_t samples = theirs[0];
        // Closes the gaps towards the front; never writes behind what it reads.
        memmove(all + count, theirs + 1, (size_t)samples * sizeof *all);
        count += samples;
    }
    qsort(all, (size_t)count, sizeof *all, by_value);
    // A group without any value may take any pivot.
    int32_t pivot = count == 0 ? 0 : all[count * level->lower_size / level->size];
    free(all);
    return pivot;
}

// Puts values up to the pivot first. Returns how many they are.
static long partition_by(const struct share *share, int32_t pivot) {
    long lower = 0;
    for (long place = 0; place < share->count; place++) {
        if (share->values[place] <= pivot) {
            swap(&share->values[place], &share->values[lower]);
            lower++;
        }
    }
    return lower;
}

static long overlap(struct run left, struct run right) {
    long start = left.start > right.start ? left.start : right.start;
    long end = left.end < right.end ? left.end : right.end;
    return end > start ? end - start : 0;
}

// The part of one half's `total` values that goes to a rank of the group: equal parts for the ranks
// of that half, nothing for the others.
static struct run part_of(const struct level *level, int rank, bool upper, long total) {
    int first = upper ? level->lower_size : 0;
    int size = upper ? level->size - level->lower_size : level->lower_size;
    int place = rank - first;
    if (place < 0 || place >= size) {
        return (struct run){0, 0};
    }
    return (struct run){total * place / size, total * (place + 1) / size};
}

// How many values this rank sends to each rank and receives from each. `counts` holds, for each
// rank, the number of its values for the lower and for the upper half.
static void plan_exchange(const struct level *level, const long (*counts)[2], int *sent,
                          int *received) {
    long totals[2] = {0, 0};
    for (int rank = 0; rank < level->size; rank++) {
        totals[0] += counts[rank][0];
        totals[1] += counts[rank][1];
    }
    for (int half = 0; half < 2; half++) {
        struct run mine = part_of(level, level->rank, half == 1, totals[half]);
        long start = 0;
        for (int rank = 0; rank < level->size; rank++) {
            struct run theirs = {start, start + counts[rank][half]};
            received[rank] += (int)overlap(theirs, mine);
            if (rank == level->rank) {
                for (int to = 0; to < level->size; to++) {
                    struct run part = part_of(level, to, half == 1, totals[half]);
                    sent[to] += (int)overlap(theirs, part);
                }
            }
            start = theirs.end;
        }
    }
}

static long running_sum(const int *counts, int *places, int size) {
    long sum = 0;
    for (int rank = 0; rank < size; rank++) {
        places[rank] = (int)sum;
        sum += counts[rank];
    }
    return sum;
}

// Sends each value to the half it belongs to. The partition has put the values in the order of
// their destinations, so they go as they lie.
static void exchange(const struct level *level, struct share *share, long lower) {
    size_t size = (size_t)level->size;
    long own[2] = {lower, share->count - lower};
    long(*counts)[2] = program_memory(size, sizeof *counts);
    int *sent = program_memory(4 * size, sizeof *sent);
    int *received = sent + size;
    int *sent_places = sent + 2 * size;
    int *received_places = sent + 3 * size;
    MPI_Allgather(own, 2, MPI_LONG, counts, 2, MPI_LONG, level->group);
    plan_exchange(level, (const long(*)[2])counts, sent, received);
    running_sum(sent, sent_places, level->size);
    long count = running_sum(received, received_places, level->size);
    int32_t *values = program_memory((size_t)count, sizeof *values);
    MPI_Alltoallv(share->values, sent, sent_places, MPI_INT32_T, values, received, received_places,
                  MPI_INT32_T, level->group);
    free(share->values);
    *share = (struct share){.values = values, .count = count};
    free(sent);
    free(counts);
}

// === The whole ===

static struct ladder ladder_create(void) {
    struct ladder ladder = {.count = 0};
    MPI_Comm group;
    MPI_Comm_dup(MPI_COMM_WORLD, &group);
    for (;;) {
        struct level *level = &ladder.levels[ladder.count++];
        level->group = group;
        MPI_Comm_rank(group, &level->rank);
        MPI_Comm_size(group, &level->size);
        level->lower_size = level->size / 2;
        if (level->size == 1) {
            return ladder;
        }
        MPI_Comm_split(level->group, level->rank >= level->lower_size, level->rank, &group);
    }
}

static void ladder_free(struct ladder *ladder) {
    while (ladder->count > 0) {
        MPI_Comm_free(&ladder->levels[--ladder->count].group);
    }
}

static void sort_together(const struct ladder *ladder, struct share *share) {
    // The last level is this rank alone.
    for (int step = 0; step < ladder->count - 1; step++) {
        const struct level *level = &ladder->levels[step];
        int32_t pivot = choose_pivot(level, share);
        exchange(level, share, partition_by(share, pivot));
    }
    quicksort(share->values, share->count);
}

// The values [first, first + count) of a round's input.
static struct share make_input(const struct settings *settings, long round, long first,
                               long count) {
    struct share share = {.values = program_memory((size_t)count, sizeof *share.values),
                          .count = count};
    uint64_t seed = random_at((uint64_t)settings->seed, (uint64_t)round);
    for (long place = 0; place < count; place++) {
        share.values[place] = (int32_t)(random_at(seed, (uint64_t)(first + place)) >> 32);
    }
    return share;
}

// Brings the sorted values together on rank 0, in rank order.
static struct share gather(const struct settings *settings, struct world world,
                           const struct share *share) {
    struct share whole = {.values = NULL, .count = world.rank == 0 ? settings->values : 0};
    whole.values = program_memory((size_t)whole.count, sizeof *whole.values);
    int *counts = program_memory(2 * (size_t)world.size, sizeof *counts);
    int *places = counts + world.size;
    int own = (int)share->count;
    MPI_Gather(&own, 1, MPI_INT, counts, 1, MPI_INT, 0, MPI_COMM_WORLD);
    running_sum(counts, places, world.size);
    MPI_Gatherv(share->values, own, MPI_INT32_T, whole.values, counts, places, MPI_INT32_T, 0,
                MPI_COMM_WORLD);
    free(counts);
    return whole;
}

// The sequential run is the C library's sort, so that an error in ours cannot hide in both.
static bool matches_sequential(const struct settings *settings, long round,
                               const struct share *whole) {
    struct share expected = make_input(settings, round, 0, settings->values);
    qsort(expected.values, (size_t)expected.count, sizeof *expected.values, by_value);
    size_t bytes = (size_t)expected.count * sizeof *expected.values;
    bool same = memcmp(whole->values, expected.values, bytes) == 0;
    free(expected.values);
    return same;
}

// Makes, sorts and checks one input. Returns rank 0's verdict; adds the sort's wall time.
static bool run_round(const struct settings *settings, struct world world,
                      const struct ladder *ladder, long round, double *parallel_seconds) {
    long first = settings->values * world.rank / world.size;
    long end = settings->values * (world.rank + 1) / world.size;
    struct share share = make_input(settings, round, first, end - first);
    double start = timing_wall_seconds();
    sort_together(ladder, &share);
    MPI_Barrier(MPI_COMM_WORLD);
    *parallel_seconds += timing_wall_seconds() - start;
    bool correct = true;
    if (!settings->unchecked) {
        struct share whole = gather(settings, world, &share);
        correct = world.rank != 0 || matches_sequential(settings, round, &whole);
        free(whole.values);
    }
    free(share.values);
    return correct;
}

static int run_rounds(const struct argument_table *table, struct settings *settings,
                      struct world world) {
    struct ladder ladder = ladder_create();
    struct progress progress;
    double parallel_seconds = 0.0;
    bool correct = true;
    long rounds = 0;
    progress_start(&progress, world);
    budget_start(&settings->budget);
    while (budget_continues(&settings->budget, world, rounds)) {
        correct = run_round(settings, world, &ladder, rounds, &parallel_seconds) && correct;
        rounds++;
        progress_report(&progress, budget_spent(&settings->budget, rounds));
    }
    progress_report(&progress, 1.0);
    ladder_free(&ladder);
    char details[DETAILS_SIZE];
    snprintf(details, sizeof details, "ranks=%d values=%ld rounds=%ld check=%s parallel_s=%.3f",
             world.size, settings->values, rounds, settings->unchecked ? "off" : "sequential",
             parallel_seconds);
    return program_end(table, world, correct, details);
}

int main(int argc, char **argv) {
    // The default is the size that the GENESIS talk quotes from Rice: 256 x 1024 integers.
    struct settings settings = {.values = 256 * 1024, .seed = 1, .budget = {.rounds = 10}};
    const struct argument rows[] = {
        {.name = "--values", .whole = &settings.values, .minimum = 1, .maximum = VALUES_MOST,
         .meaning = "integers to sort"},
        {.name = "--seed", .whole = &settings.seed, .minimum = 0, .maximum = INT_MAX,
         .meaning = "start of the random numbers"},
        {.name = "--rounds", .whole = &settings.budget.rounds, .minimum = 1, .maximum = 1e9,
         .meaning = "inputs to sort, one after the other"},
        {.name = "--seconds", .real = &settings.budget.seconds, .minimum = 0, .maximum = 86400,
         .meaning = "CPU seconds of rank 0 to start rounds for; 0: --rounds decides"},
        {.name = "--no-check", .flag = &settings.unchecked,
         .meaning = "do not compare with a sequential sort"},
    };
    const struct argument_table table = {
        .program = "quicksort",
        .summary = "parallel quicksort of random integers",
        .rows = rows,
        .row_count = sizeof rows / sizeof rows[0],
    };
    struct world world;
    int code;
    if (!program_start(&table, &argc, &argv, &world, &code)) {
        return code;
    }
    return run_rounds(&table, &settings, world);
}
