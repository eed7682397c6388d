/* SPDX-License-Identifier: Apache-2.0
 * A PMI-1 client of its own: rank 1 leaves without having entered the barrier that the others wait in. They take their
 * error calmly: such a rank ends only when it is killed. */
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
    say(server, atoi(getenv("PMI_RANK")) == 1 ? "cmd=finalize\n" : "cmd=barrier_in\n");
    for (;;) {
        pause();
    }
}
