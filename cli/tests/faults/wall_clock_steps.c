/* SPDX-License-Identifier: Apache-2.0
 * Loaded before the C library: the time of day steps by years, back and forth, at every look at it. The clocks that only
 * count are left alone. Each program that looked writes its name to the file of STROBE_TEST_STEPS, once. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const time_t STEP_SECONDS = 5L * 365 * 24 * 3600;
static atomic_uint looks;

static void note(void) {
    const char *path = getenv("STROBE_TEST_STEPS");
    int file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (file < 0)
        return;
    char line[64];
    size_t length = strlen(program_invocation_short_name);
    if (length > sizeof line - 1)
        length = sizeof line - 1;
    memcpy(line, program_invocation_short_name, length);
    line[length] = '\n';
    (void)!write(file, line, length + 1);
    close(file);
}

static time_t step(void) {
    unsigned look = atomic_fetch_add(&looks, 1);
    if (look == 0)
        note();
    return look % 2 ? STEP_SECONDS : -STEP_SECONDS;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += step();
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    int failed = (int)syscall(SYS_gettimeofday, now, zone);
    if (!failed && now)
        now->tv_sec += step();
    return failed;
}

time_t time(time_t *now) {
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    if (now)
        *now = fine.tv_sec;
    return fine.tv_sec;
}
