/* SPDX-License-Identifier: Apache-2.0
 * A PMI-1 client of its own, for two nodes of two ranks: the pairs of ranks {0,2} and {1,3} go through barriers of their
 * own, one after the other, until rank 0 and rank 1 find the file "finish", and check after each that they have each
 * other's newest key. Rank 3 enters none while the file "wait-3" is there. In the end the ranks of a node meet, by both
 * of its names, and then all. */
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 4096, BARRIERS_A_LINE = 10 };

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
    reply[strcspn(reply, "\n")] = 0;
    if (strncmp(reply, expected, strlen(expected)) != 0) {
        printf("unexpected reply to %s: %s\n", line, reply);
        exit(3);
    }
}

static void put(int rank, long value) {
    char line[2 * LINE_BYTES];
    snprintf(line, sizeof line, "cmd=put kvsname=%s key=of-%d value=%ld", space, rank, value);
    ask(line, "cmd=put_result rc=0");
}

static long get(int rank) {
    char line[2 * LINE_BYTES];
    snprintf(line, sizeof line, "cmd=get kvsname=%s key=of-%d", space, rank);
    ask(line, "cmd=get_result rc=0");
    return strtol(strstr(reply, "value=") + strlen("value="), NULL, 10);
}

static void barrier(const char *group, int tag) {
    char line[LINE_BYTES], out[LINE_BYTES];
    snprintf(line, sizeof line, "cmd=barrier_in group=%s:%d", group, tag);
    snprintf(out, sizeof out, "cmd=barrier_out tag=%d", tag);
    ask(line, out);
    if (strcmp(reply, out) != 0) {
        exit(4);
    }
}

int main(int count, char **arguments) {
    int server = atoi(getenv("PMI_FD")), rank = atoi(getenv("PMI_RANK"));
    if (count != 1) {
        return 5;
    }
    strncpy(folder, dirname(arguments[0]), sizeof folder - 1);
    to_server = fdopen(server, "w");
    from_server = fdopen(dup(server), "r");
    ask("cmd=init pmi_version=1 pmi_subversion=1", "cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=2");
    ask("cmd=get_my_kvsname", "cmd=my_kvsname kvsname=");
    strncpy(space, strstr(reply, "kvsname=") + strlen("kvsname="), sizeof space - 1);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("begun\n");
    while (rank == 3 && is_there("wait-3")) {
        usleep(1000);
    }
    int partner = (rank + 2) % 4;
    const char *pair = rank % 2 == 0 ? "0,2" : "1,3";
    for (long number = 1;; number++) {
        put(rank, rank < 2 && is_there("finish") ? -number : number);
        barrier(pair, rank % 2);
        long theirs = get(partner);
        if (labs(theirs) != number) {
            printf("rank %d has %ld of rank %d in barrier %ld\n", rank, theirs, partner, number);
            return 6;
        }
        if (get(rank < 2 ? rank : partner) < 0) {
            break;
        }
        if (number % BARRIERS_A_LINE == 0) {
            printf("pair %s\n", pair);
        }
    }
    barrier("NODE", 5);
    barrier(rank < 2 ? "0,1" : "3,2", 6);
    ask("cmd=barrier_in", "cmd=barrier_out");
    for (int other = 0; other < 4; other++) {
        get(other);
    }
    ask("cmd=finalize", "cmd=finalize_ack");
    return 0;
}
