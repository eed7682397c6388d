// SPDX-License-Identifier: Apache-2.0
//
// Command line arguments as a table: one row an argument, which serves parsing, limits and --help.

#ifndef STROBE_EXAMPLES_ARGUMENTS_H
#define STROBE_EXAMPLES_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

// One `--name VALUE`, or `--name` for a flag. Exactly one of whole, real and flag is set; what it
// points at holds the default before parsing.
struct argument {
    const char *name;    // with its dashes
    long *whole;         // a whole number
    double *real;        // a number with a fraction
    bool *flag;          // set to true when the argument is there
    double minimum;      // both limits are inclusive; unused for a flag
    double maximum;
    const char *meaning; // with the unit, for --help
};

struct argument_table {
    const char *program;
    const char *summary; // what the program does, for --help
    const struct argument *rows;
    size_t row_count;
};

enum arguments_outcome { ARGUMENTS_GOOD, ARGUMENTS_HELP, ARGUMENTS_BAD };

// Fills the values that the table points at. On ARGUMENTS_BAD, `complaint` says in one line what is
// wrong and what would be right.
enum arguments_outcome arguments_parse(const struct argument_table *table, int count, char **words,
                                       char *complaint, size_t complaint_size);

// Writes the text of --help.
void arguments_print_help(const struct argument_table *table, FILE *out);

#endif
