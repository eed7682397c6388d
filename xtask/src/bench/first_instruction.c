// SPDX-License-Identifier: Apache-2.0
//
// A large static program that says when it began, by the clock that never jumps and by the one that
// container runtimes tell the time of: the benchmarks measure how long it takes from a job's
// submission to this. Its size is data that must be in the file, since a zeroed array is not.

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

unsigned char ballast[12 * 1024 * 1024] = {1};

// Longer than the period in which agents tell of their switches (200 ms): so the trace has this
// gang's time, whose end the report knows too. In a cluster, where a status is written once a
// second, the first argument gives another number of seconds.
static struct timespec life = {.tv_nsec = 600 * 1000 * 1000};

int main(int count, char **words) {
    struct timespec now, day;
    clock_gettime(CLOCK_MONOTONIC, &now);
    clock_gettime(CLOCK_REALTIME, &day);
    printf("first_instruction_ns=%lld first_instruction_unix_ns=%lld ballast=%d\n",
           now.tv_sec * 1000000000LL + now.tv_nsec, day.tv_sec * 1000000000LL + day.tv_nsec,
           (int)ballast[0]);
    fflush(stdout);
    if (count > 1) {
        life = (struct timespec){.tv_sec = strtol(words[1], NULL, 10)};
    }
    clock_nanosleep(CLOCK_MONOTONIC, 0, &life, NULL);
    return 0;
}
