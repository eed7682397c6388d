/* Processes that resist the freezer in ways that a shell cannot.
 *
 * stubborn fault: the first process blocks in read(2) whose buffer is a page of a userfaultfd that nobody serves, so
 *   it waits inside the kernel and cannot reach the freezer. A byte on standard input serves the page.
 * stubborn traced: a process stopped by its tracer.
 *
 * Prints "ready PID" when process PID is in that state; ends at end of input, at the latest after the alarm. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONGEST_LIFE_SECONDS = 60 };

static void ready(pid_t pid) {
    printf("ready %d\n", (int)pid);
    fflush(stdout);
}

static int serve(int faults, struct uffdio_range page, pid_t blocked) {
    struct uffd_msg message;
    char byte;
    alarm(LONGEST_LIFE_SECONDS);
    if (read(faults, &message, sizeof message) != sizeof message)
        return 1;
    ready(blocked);
    if (read(0, &byte, 1) != 1)
        return 0;
    struct uffdio_zeropage zero = {.range = page};
    if (ioctl(faults, UFFDIO_ZEROPAGE, &zero) != 0)
        return 1;
    while (read(0, &byte, 1) == 1) {
    }
    return 0;
}

static int fault(void) {
    long size = sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int faults = syscall(SYS_userfaultfd, O_CLOEXEC);
    int zeroes = open("/dev/zero", O_RDONLY);
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register registration = {
        .range = {.start = (unsigned long)page, .len = size},
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    if (page == MAP_FAILED || zeroes < 0 || faults < 0 || ioctl(faults, UFFDIO_API, &api) != 0 ||
        ioctl(faults, UFFDIO_REGISTER, &registration) != 0) {
        perror("userfaultfd");
        return 1;
    }
    pid_t blocked = getpid();
    if (fork() == 0)
        return serve(faults, registration.range, blocked);
    alarm(LONGEST_LIFE_SECONDS);
    if (read(zeroes, page, size) != size)
        return 1;
    for (;;)
        pause();
}

static int traced(void) {
    char byte;
    int status;
    pid_t tracee = fork();
    alarm(LONGEST_LIFE_SECONDS);
    if (tracee == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        for (;;)
            pause();
    }
    if (waitpid(tracee, &status, 0) != tracee || !WIFSTOPPED(status))
        return 1;
    ready(tracee);
    while (read(0, &byte, 1) == 1) {
    }
    kill(tracee, SIGKILL);
    return 0;
}

int main(int count, char **arguments) {
    if (count == 2 && strcmp(arguments[1], "fault") == 0)
        return fault();
    if (count == 2 && strcmp(arguments[1], "traced") == 0)
        return traced();
    return 2;
}
