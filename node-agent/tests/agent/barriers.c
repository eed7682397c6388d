/* SPDX-License-Identifier: Apache-2.0
 * A PMI-1 client of its own: goes through one barrier after the other until rank 0 has found the file "finish", and
 * checks after each that the keys of all ranks are there. Files beside the program say what else it does: it enters no
 * barrier while "wait-RANK" is there, and puts more keys than one barrier can hold when "large" is there.
 * A barrier that fails is taken calmly: such a rank ends only when it is killed. */
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 4096, LARGE_KEYS = 600, LARGE_VALUE_BYTES = 1000, BARRIERS_A_LINE = 10 };

static char folder[LINE_BYTES], space[LINE_BYTES], reply[LINE_BYTES];
static FILE *to_server, *from_server;

static int is_there(const char *name) {
    char path[2 * LINE_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static void ask(const char *line, const char *expected) {
    fprintf(to_server, "%s\n", line);
    fflush(to_server);
    if (!fgets(reply, sizeof reply, from_server)) {
        exit(2);
    }
    if (strncmp(reply, "cmd=barrier_failed", strlen("cmd=barrier_failed")) == 0) {
        printf("the barrier failed\n");
        for (;;) {
            pause();
        }
    }
    if (strncmp(reply, expected, strlen(expected)) != 0) {
        printf("unexpected reply: %s", reply);
        exit(3);
    }
}

static void put(const char *key, const char *value) {
    char line[LINE_BYTES * 2];
    snprintf(line, sizeof line, "cmd=put kvsname=%s key=%s value=%s", space, key, value);
    ask(line, "cmd=put_result rc=0");
}

static long get(const char *key) {
    char line[LINE_BYTES * 2];
    snprintf(line, sizeof line, "cmd=get kvsname=%s key=%s", space, key);
    ask(line, "cmd=get_result rc=0");
    return strtol(strstr(reply, "value=") + strlen("value="), NULL, 10);
}

static void put_large_keys(int rank) {
    char key[64], value[LARGE_VALUE_BYTES + 1];
    memset(value, 'x', LARGE_VALUE_BYTES);
    value[LARGE_VALUE_BYTES] = 0;
    for (int number = 0; number < LARGE_KEYS; number++) {
        snprintf(key, sizeof key, "large-%d-%d", rank, number);
        put(key, value);
    }
}

static int last_barrier(int rank, int size, long number) {
    char text[64];
    snprintf(text, sizeof text, "%ld", number);
    char key[64];
    snprintf(key, sizeof key, "from-%d", rank);
    put(key, text);
    if (rank == 0) {
        put("last", is_there("finish") ? "1" : "0");
    }
    ask("cmd=barrier_in", "cmd=barrier_out");
    for (int other = 0; other < size; other++) {
        snprintf(key, sizeof key, "from-%d", other);
        if (get(key) != number) {
            printf("barrier %ld was left without rank %d: %s", number, other, reply);
            exit(4);
        }
    }
    return get("last") == 1;
}

int main(int argc, char **argv) {
    int rank = atoi(getenv("PMI_RANK")), size = atoi(getenv("PMI_SIZE"));
    char wait[64], program[LINE_BYTES];
    snprintf(program, sizeof program, "%s", argv[argc - 1]);
    snprintf(folder, sizeof folder, "%s", dirname(program));
    snprintf(wait, sizeof wait, "wait-%d", rank);
    to_server = fdopen(atoi(getenv("PMI_FD")), "w");
    from_server = fdopen(dup(fileno(to_server)), "r");
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    printf("begun\n");
    ask("cmd=init pmi_version=1 pmi_subversion=1", "cmd=response_to_init rc=0");
    ask("cmd=get_my_kvsname", "cmd=my_kvsname kvsname=");
    sscanf(reply, "cmd=my_kvsname kvsname=%4000s", space);
    if (is_there("large")) {
        put_large_keys(rank);
    }
    for (long number = 1, last = 0; !last; number++) {
        while (is_there(wait)) {
            usleep(1000);
        }
        last = last_barrier(rank, size, number);
        if (number % BARRIERS_A_LINE == 0) {
            printf("barrier %ld\n", number);
        }
    }
    ask("cmd=finalize", "cmd=finalize_ack");
    return 0;
}
