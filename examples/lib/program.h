// SPDX-License-Identifier: Apache-2.0
//
// The life of an example: start MPI, read the arguments, work, say the verdict, end.

#ifndef STROBE_EXAMPLES_PROGRAM_H
#define STROBE_EXAMPLES_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

#include "arguments.h"

// What a rank's exit code means.
enum exit_code { EXIT_OK = 0, EXIT_WRONG = 1, EXIT_USAGE = 2, EXIT_RESOURCES = 3 };

struct world {
    int rank;
    int size;
};

// Starts MPI and parses the arguments. When it returns false, MPI is ended already and the rank
// has to exit with `*code`: after --help, or after a complaint that rank 0 printed.
bool program_start(const struct argument_table *table, int *count, char ***words,
                   struct world *world, int *code);

// Ends the program with a complaint about its arguments that needs the number of ranks to be
// known. All ranks must call it. Returns the exit code.
int program_refuse(const struct argument_table *table, struct world world, const char *complaint);

// Ends the program. Rank 0's `correct` decides for all ranks and its `details` make the last line,
// `NAME: ok DETAILS` or `NAME: WRONG DETAILS`. Returns the exit code.
int program_end(const struct argument_table *table, struct world world, bool correct,
                const char *details);

// Memory of `count` elements, all bytes zero. Never NULL: ends all ranks when there is none.
void *program_memory(size_t count, size_t element_size);

#endif
