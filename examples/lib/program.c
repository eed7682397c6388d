// SPDX-License-Identifier: Apache-2.0

#include "program.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { COMPLAINT_SIZE = 256 };

bool program_start(const struct argument_table *table, int *count, char ***words,
                   struct world *world, int *code) {
    MPI_Init(count, words);
    MPI_Comm_rank(MPI_COMM_WORLD, &world->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world->size);
    // Whole lines, so that the lines of several ranks in one pipe are never torn.
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);

    // Every rank parses the same words and comes to the same outcome; only rank 0 says it.
    char complaint[COMPLAINT_SIZE];
    switch (arguments_parse(table, *count, *words, complaint, sizeof complaint)) {
    case ARGUMENTS_GOOD:
        return true;
    case ARGUMENTS_HELP:
        if (world->rank == 0) {
            arguments_print_help(table, stdout);
        }
        MPI_Finalize();
        *code = EXIT_OK;
        return false;
    case ARGUMENTS_BAD:
        break;
    }
    *code = program_refuse(table, *world, complaint);
    return false;
}

int program_refuse(const struct argument_table *table, struct world world, const char *complaint) {
    if (world.rank == 0) {
        fprintf(stderr, "%s: %s\n%s: --help lists the arguments\n", table->program, complaint,
                table->program);
    }
    MPI_Finalize();
    return EXIT_USAGE;
}

int program_end(const struct argument_table *table, struct world world, bool correct,
                const char *details) {
    int verdict = correct ? EXIT_OK : EXIT_WRONG;
    MPI_Bcast(&verdict, 1, MPI_INT, 0, MPI_COMM_WORLD);
    if (world.rank == 0) {
        printf("%s: %s %s\n", table->program, correct ? "ok" : "WRONG", details);
        fflush(stdout);
    }
    MPI_Finalize();
    return verdict;
}

void *program_memory(size_t count, size_t element_size) {
    // calloc of nothing may answer NULL, which is no failure: ask for at least one element.
    void *memory = calloc(count > 0 ? count : 1, element_size);
    if (memory == NULL) {
        fprintf(stderr, "no memory for %zu elements of %zu bytes\n", count, element_size);
        MPI_Abort(MPI_COMM_WORLD, EXIT_RESOURCES);
        abort(); // not reached: MPI_Abort does not return
    }
    return memory;
}
