/* Processes that resist the freezer in ways that a shell cannot.
 *
 * stubborn fault: the child blocks in read(2) whose buffer is a page of a userfaultfd that nobody serves, so it waits
 *   inside the kernel and cannot reach the freezer. A byte on standard input serves the page.
 * stubborn traced: the child is stopped by its tracer, the parent.
 *
 * The child leads a process group of its own. Prints "ready PID" of the child when it is in that state; at end of input
 * the parent kills and reaps the child and ends. Both end at the latest by their alarms. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
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

/* What the child tells its parent, which shares its table of files. */
struct trap {
    int faults;
    struct uffdio_range page;
};

static void ready(pid_t child) {
    printf("ready %d\n", (int)child);
    fflush(stdout);
}

static int finish(pid_t child) {
    char byte;
    while (read(0, &byte, 1) == 1) {
    }
    kill(child, SIGKILL);
    return waitpid(child, NULL, 0) == child ? 0 : 1;
}

static int block(int handover) {
    long size = sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int zeroes = open("/dev/zero", O_RDONLY);
    struct trap trap = {
        .faults = syscall(SYS_userfaultfd, O_CLOEXEC),
        .page = {.start = (unsigned long)page, .len = size},
    };
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register registration = {.range = trap.page, .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (page == MAP_FAILED || zeroes < 0 || trap.faults < 0 || ioctl(trap.faults, UFFDIO_API, &api) != 0 ||
        ioctl(trap.faults, UFFDIO_REGISTER, &registration) != 0) {
        perror("userfaultfd");
        return 1;
    }
    if (write(handover, &trap, sizeof trap) != sizeof trap || read(zeroes, page, size) != size)
        return 1;
    for (;;)
        pause();
}

static int fault(void) {
    int handover[2];
    struct trap trap;
    struct uffd_msg message;
    char byte;
    if (pipe(handover) != 0)
        return 1;
    pid_t child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
    alarm(LONGEST_LIFE_SECONDS);
    if (child == 0) {
        setpgid(0, 0);
        _exit(block(handover[1]));
    }
    if (read(handover[0], &trap, sizeof trap) != sizeof trap ||
        read(trap.faults, &message, sizeof message) != sizeof message)
        return 1;
    ready(child);
    struct uffdio_zeropage zero = {.range = trap.page};
    if (read(0, &byte, 1) == 1 && ioctl(trap.faults, UFFDIO_ZEROPAGE, &zero) != 0)
        return 1;
    return finish(child);
}

static int traced(void) {
    int status;
    pid_t child = fork();
    alarm(LONGEST_LIFE_SECONDS);
    if (child == 0) {
        setpgid(0, 0);
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        for (;;)
            pause();
    }
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
        return 1;
    ready(child);
    return finish(child);
}

int main(int count, char **arguments) {
    if (count == 2 && strcmp(arguments[1], "fault") == 0)
        return fault();
    if (count == 2 && strcmp(arguments[1], "traced") == 0)
        return traced();
    return 2;
}
