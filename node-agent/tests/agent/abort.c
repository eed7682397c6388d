/* SPDX-License-Identifier: Apache-2.0
 * A PMI-1 client of its own: rank 1 aborts with a text that no MPI library would send, and ends at once; the others
 * wait in a barrier, calmly until they are killed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void say(int server, const char *text) {
    if (write(server, text, strlen(text)) < 0) {
        exit(2);
    }
}

int main(void) {
    int server = atoi(getenv("PMI_FD"));
    say(server, "cmd=init pmi_version=1 pmi_subversion=1\n");
    if (atoi(getenv("PMI_RANK")) == 1) {
        say(server, "cmd=abort exitcode=-42 message=no convergence after 7 steps\n");
        return 3;
    }
    say(server, "cmd=barrier_in\n");
    for (;;) {
        pause();
    }
}
