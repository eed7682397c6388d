// SPDX-License-Identifier: Apache-2.0
//
// Red-black Successive Over Relaxation: the GENESIS talk's first application (docs: README.md).
//
// Laplace's equation on a rectangle. A cell's four neighbours all have the other colour of a
// chessboard, so that all red cells can be relaxed at once, then all black ones. Each rank has a
// band of rows and after each colour swaps its edge rows with its neighbours: two exchanges an
// iteration, which makes it fine-grained on small grids.
//
// Method: D. M. Young, "Iterative methods for solving partial difference equations of elliptic
// type", Trans. AMS 76 (1954), for the relaxation and its best factor; the red-black order by bands
// of rows as in C. Amza et al., "TreadMarks: shared memory computing on networks of workstations",
// IEEE Computer 29(2), 1996.

#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "program.h"
#include "progress.h"
#include "timing.h"

enum { RED, BLACK };
enum { TAG_UPWARDS, TAG_DOWNWARDS };
enum { SIDE_MOST = 16384 }; // 16384 x 16384 cells still count in the int of an MPI call
enum { DETAILS_SIZE = 256 };

struct settings {
    long rows; // of the whole grid, with its fixed border
    long columns;
    struct budget budget;
    bool unchecked;
};

// Rows of the grid: `count` rows that are relaxed here, and one more above and below, which belong
// to the border or to a neighbour.
struct band {
    long first; // row of the grid that cells' second row is
    long count;
    long columns;
    double *cells; // (count + 2) * columns
};

static double *row_of(const struct band *band, long row) {
    return band->cells + (row - band->first + 1) * band->columns;
}

// The values on the border, and what the inner cells converge to: x*x - y*y satisfies the
// five-point equation without any discretisation error.
static double exact_value(const struct settings *settings, long row, long column) {
    double scale = fmax((double)settings->rows, (double)settings->columns);
    double x = (double)column / scale;
    double y = (double)row / scale;
    return x * x - y * y;
}

// Young's best factor for this rectangle.
static double relaxation_factor(const struct settings *settings) {
    const double pi = acos(-1.0);
    double jacobi_radius = (cos(pi / (double)(settings->rows - 1)) +
                            cos(pi / (double)(settings->columns - 1))) /
                           2.0;
    return 2.0 / (1.0 + sqrt(1.0 - jacobi_radius * jacobi_radius));
}

// A band with the border's values; the cells inside start at 0.
static struct band band_create(const struct settings *settings, long first, long count) {
    struct band band = {.first = first, .count = count, .columns = settings->columns};
    band.cells = program_memory((size_t)(count + 2) * (size_t)band.columns, sizeof *band.cells);
    for (long row = first - 1; row <= first + count; row++) {
        bool on_border = row == 0 || row == settings->rows - 1;
        long step = on_border ? 1 : band.columns - 1;
        for (long column = 0; column < band.columns; column += step) {
            row_of(&band, row)[column] = exact_value(settings, row, column);
        }
    }
    return band;
}

// Relaxes one colour. Parallel and sequential runs share this very code and each cell reads only
// the other colour, so their results must agree to the last bit.
static void relax(const struct band *band, int colour, double factor) {
    for (long row = band->first; row < band->first + band->count; row++) {
        const double *above = row_of(band, row - 1);
        const double *below = row_of(band, row + 1);
        double *here = row_of(band, row);
        for (long column = 1 + (row + 1 + colour) % 2; column < band->columns - 1; column += 2) {
            double mean =
                0.25 * (above[column] + below[column] + here[column - 1] + here[column + 1]);
            here[column] += factor * (mean - here[column]);
        }
    }
}

// Sends the band's edge rows to the neighbours and gets theirs.
static void swap_edges(const struct band *band, struct world world) {
    int upper = world.rank > 0 ? world.rank - 1 : MPI_PROC_NULL;
    int lower = world.rank + 1 < world.size ? world.rank + 1 : MPI_PROC_NULL;
    long last = band->first + band->count - 1;
    int length = (int)band->columns;
    MPI_Sendrecv(row_of(band, band->first), length, MPI_DOUBLE, upper, TAG_UPWARDS,
                 row_of(band, last + 1), length, MPI_DOUBLE, lower, TAG_UPWARDS, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
    MPI_Sendrecv(row_of(band, last), length, MPI_DOUBLE, lower, TAG_DOWNWARDS,
                 row_of(band, band->first - 1), length, MPI_DOUBLE, upper, TAG_DOWNWARDS,
                 MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

// First inner row of a rank's band; that of rank `size` is the end of the last band.
static long first_row(const struct settings *settings, struct world world, int rank) {
    return 1 + (settings->rows - 2) * rank / world.size;
}

// The sequential check does the work of all ranks: in the progress it counts as that much.
static double parallel_share(const struct settings *settings, struct world world) {
    return settings->unchecked ? 1.0 : 1.0 / (1.0 + world.size);
}

// Relaxes until the budget is spent. Returns the number of iterations done.
static long run_parallel(struct settings *settings, struct world world, const struct band *band,
                         struct progress *progress) {
    double factor = relaxation_factor(settings);
    double share = parallel_share(settings, world);
    long done = 0;
    budget_start(&settings->budget);
    while (budget_continues(&settings->budget, world, done)) {
        for (int colour = RED; colour <= BLACK; colour++) {
            relax(band, colour, factor);
            swap_edges(band, world);
        }
        done++;
        progress_report(progress, share * budget_spent(&settings->budget, done));
    }
    return done;
}

// The whole grid by one rank alone.
static struct band run_sequential(const struct settings *settings, struct world world,
                                  long iterations, struct progress *progress) {
    struct band whole = band_create(settings, 1, settings->rows - 2);
    double factor = relaxation_factor(settings);
    double share = parallel_share(settings, world);
    for (long done = 1; done <= iterations; done++) {
        relax(&whole, RED, factor);
        relax(&whole, BLACK, factor);
        progress_report(progress, share + (1.0 - share) * (double)done / (double)iterations);
    }
    return whole;
}

// Brings all bands together on rank 0. The other ranks get an empty band.
static struct band gather(const struct settings *settings, struct world world,
                          const struct band *band) {
    struct band whole = {0};
    int *counts = program_memory((size_t)world.size, sizeof *counts);
    int *places = program_memory((size_t)world.size, sizeof *places);
    for (int rank = 0; rank < world.size; rank++) {
        long first = first_row(settings, world, rank);
        counts[rank] = (int)((first_row(settings, world, rank + 1) - first) * settings->columns);
        places[rank] = (int)((first - 1) * settings->columns);
    }
    if (world.rank == 0) {
        whole = band_create(settings, 1, settings->rows - 2);
    }
    MPI_Gatherv(row_of(band, band->first), counts[world.rank], MPI_DOUBLE,
                world.rank == 0 ? row_of(&whole, 1) : NULL, counts, places, MPI_DOUBLE, 0,
                MPI_COMM_WORLD);
    free(counts);
    free(places);
    return whole;
}

// The largest distance of any cell from the value it converges to.
static double largest_error(const struct settings *settings, const struct band *whole) {
    double largest = 0.0;
    for (long row = 1; row < settings->rows - 1; row++) {
        for (long column = 1; column < settings->columns - 1; column++) {
            double error = fabs(row_of(whole, row)[column] - exact_value(settings, row, column));
            largest = fmax(largest, error);
        }
    }
    return largest;
}

// Rank 0's verdict: does the parallel result equal the sequential one, bit for bit?
static bool matches_sequential(const struct settings *settings, struct world world,
                               const struct band *whole, long iterations,
                               struct progress *progress) {
    struct band expected = run_sequential(settings, world, iterations, progress);
    size_t bytes = (size_t)settings->rows * (size_t)settings->columns * sizeof *expected.cells;
    bool same = memcmp(whole->cells, expected.cells, bytes) == 0;
    free(expected.cells);
    return same;
}

static int solve(const struct argument_table *table, struct settings *settings,
                 struct world world) {
    long first = first_row(settings, world, world.rank);
    struct band band =
        band_create(settings, first, first_row(settings, world, world.rank + 1) - first);
    struct progress progress;
    progress_start(&progress, world);
    double start = timing_wall_seconds();
    long iterations = run_parallel(settings, world, &band, &progress);
    double parallel_seconds = timing_wall_seconds() - start;

    struct band whole = gather(settings, world, &band);
    bool correct = true;
    char details[DETAILS_SIZE] = "";
    if (world.rank == 0) {
        correct = settings->unchecked ||
                  matches_sequential(settings, world, &whole, iterations, &progress);
        snprintf(details, sizeof details,
                 "ranks=%d rows=%ld columns=%ld iterations=%ld largest_error=%.3e check=%s "
                 "parallel_s=%.3f",
                 world.size, settings->rows, settings->columns, iterations,
                 largest_error(settings, &whole), settings->unchecked ? "off" : "sequential",
                 parallel_seconds);
    }
    progress_report(&progress, 1.0);
    free(whole.cells);
    free(band.cells);
    return program_end(table, world, correct, details);
}

int main(int argc, char **argv) {
    // The defaults are the size that the GENESIS talk quotes from Rice.
    struct settings settings = {.rows = 512, .columns = 2048, .budget = {.rounds = 101}};
    const struct argument rows[] = {
        {.name = "--rows", .whole = &settings.rows, .minimum = 3, .maximum = SIDE_MOST,
         .meaning = "rows of the grid, the border's included"},
        {.name = "--columns", .whole = &settings.columns, .minimum = 3, .maximum = SIDE_MOST,
         .meaning = "columns of the grid, the border's included"},
        {.name = "--iterations", .whole = &settings.budget.rounds, .minimum = 1, .maximum = 1e9,
         .meaning = "red and black sweeps"},
        {.name = "--seconds", .real = &settings.budget.seconds, .minimum = 0, .maximum = 86400,
         .meaning = "CPU seconds of rank 0 to relax for; 0: --iterations decides"},
        {.name = "--no-check", .flag = &settings.unchecked,
         .meaning = "do not compare with a sequential run"},
    };
    const struct argument_table table = {
        .program = "sor",
        .summary = "red-black Successive Over Relaxation of Laplace's equation",
        .rows = rows,
        .row_count = sizeof rows / sizeof rows[0],
    };
    struct world world;
    int code;
    if (!program_start(&table, &argc, &argv, &world, &code)) {
        return code;
    }
    if (settings.rows - 2 < world.size) {
        return program_refuse(&table, world, "--rows: give at least two more than there are ranks");
    }
    return solve(&table, &settings, world);
}
