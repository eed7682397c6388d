// SPDX-License-Identifier: Apache-2.0

#include "arguments.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct argument *find(const struct argument_table *table, const char *name) {
    for (size_t row = 0; row < table->row_count; row++) {
        if (strcmp(table->rows[row].name, name) == 0) {
            return &table->rows[row];
        }
    }
    return NULL;
}

// strtol and strtod accept an empty text, leading blanks and a rest behind the number; none is a
// number that the user can have meant.
static bool is_complete(const char *text, const char *end) {
    return end != text && *end == '\0' && text[0] != ' ' && text[0] != '\t' && errno == 0;
}

static bool read_whole(const struct argument *argument, const char *text) {
    char *end = NULL;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (!is_complete(text, end) || (double)value < argument->minimum ||
        (double)value > argument->maximum) {
        return false;
    }
    *argument->whole = value;
    return true;
}

static bool read_real(const struct argument *argument, const char *text) {
    char *end = NULL;
    errno = 0;
    double value = strtod(text, &end);
    if (!is_complete(text, end) || !isfinite(value) || value < argument->minimum ||
        value > argument->maximum) {
        return false;
    }
    *argument->real = value;
    return true;
}

static bool read_value(const struct argument *argument, const char *text) {
    return argument->whole != NULL ? read_whole(argument, text) : read_real(argument, text);
}

static const char *kind_of(const struct argument *argument) {
    return argument->whole != NULL ? "a whole number" : "a number";
}

enum arguments_outcome arguments_parse(const struct argument_table *table, int count, char **words,
                                       char *complaint, size_t complaint_size) {
    for (int word = 1; word < count; word++) {
        if (strcmp(words[word], "--help") == 0) {
            return ARGUMENTS_HELP;
        }
        const struct argument *argument = find(table, words[word]);
        if (argument == NULL) {
            snprintf(complaint, complaint_size, "unknown argument \"%s\"", words[word]);
            return ARGUMENTS_BAD;
        }
        if (argument->flag != NULL) {
            *argument->flag = true;
            continue;
        }
        if (word + 1 == count) {
            snprintf(complaint, complaint_size, "%s needs a value: %s from %.15g to %.15g",
                     argument->name, kind_of(argument), argument->minimum, argument->maximum);
            return ARGUMENTS_BAD;
        }
        word++;
        if (!read_value(argument, words[word])) {
            snprintf(complaint, complaint_size, "%s \"%s\": give %s from %.15g to %.15g",
                     argument->name, words[word], kind_of(argument), argument->minimum,
                     argument->maximum);
            return ARGUMENTS_BAD;
        }
    }
    return ARGUMENTS_GOOD;
}

void arguments_print_help(const struct argument_table *table, FILE *out) {
    fprintf(out, "%s: %s\n\nusage: %s [ARGUMENT...]\n", table->program, table->summary,
            table->program);
    for (size_t row = 0; row < table->row_count; row++) {
        const struct argument *argument = &table->rows[row];
        if (argument->flag != NULL) {
            fprintf(out, "  %-20s %s\n", argument->name, argument->meaning);
            continue;
        }
        double value = argument->whole != NULL ? (double)*argument->whole : *argument->real;
        fprintf(out, "  %-14s VALUE %s (%.15g to %.15g, default %.15g)\n", argument->name,
                argument->meaning, argument->minimum, argument->maximum, value);
    }
    fprintf(out, "  %-20s this text\n", "--help");
}
