// SPDX-License-Identifier: Apache-2.0
//
// A large static program that says when it began: the benchmark measures how long it takes from a
// job's submission to this. Its size is data that must be in the file, since a zeroed array is not.

#include <stdio.h>
#include <time.h>

unsigned char ballast[12 * 1024 * 1024] = {1};

// Longer than the period in which agents tell of their switches (200 ms): so the trace has this
// gang's time, whose end the report knows too.
static const struct timespec life = {.tv_nsec = 600 * 1000 * 1000};

int main(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("first_instruction_ns=%lld ballast=%d\n", now.tv_sec * 1000000000LL + now.tv_nsec,
           (int)ballast[0]);
    fflush(stdout);
    clock_nanosleep(CLOCK_MONOTONIC, 0, &life, NULL);
    return 0;
}
