// SPDX-License-Identifier: Apache-2.0
//
// The Traveling Salesman Problem by parallel branch and bound: the GENESIS talk's third application
// (README.md).
//
// The search tree is cut at a fixed depth into tasks (the tour's first cities). Rank 0 hands them
// out one by one to whoever asks and searches too, looking for messages every few thousand tree
// nodes. A shorter tour goes to rank 0 at once, and its length from there to all ranks: the shared
// bound.
//
// Method: J. D. C. Little et al., "An algorithm for the traveling salesman problem", Operations
// Research 11, 1963, for branch and bound; tasks of partial tours with one bound for all as in
// C. Amza et al., "TreadMarks", IEEE Computer 29(2), 1996. The check (map.c) shares nothing with
// the search.
//
// Ranks never wait for each other in a circle: a bound or a tour is sent only when the last message
// to that rank has left, and a rank that has asked for a task is ready to receive.

#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "map.h"
#include "program.h"
#include "progress.h"
#include "timing.h"

enum { CITIES_LEAST = 5 };      // a task fixes the first city and three more
enum { NODES_PER_POLL = 4096 }; // some 100 us of search, the delay of a message
enum { DETAILS_SIZE = 256 };

// To rank 0: give me a task (with my best tour); I found a shorter tour. From rank 0: search this
// task; the bound has sunk; there are no more tasks.
enum tag { TAG_REQUEST, TAG_FOUND, TAG_TASK, TAG_BOUND, TAG_STOP };

enum { NO_TASK = -1 };

struct settings {
    long cities;
    long seed;
    struct budget budget;
    bool unchecked;
};

// What travels, whatever the tag. Plain ints, sent as such. Of rank 0's tour only the length
// counts.
struct message {
    struct tour tour;
    int task;
};

enum { MESSAGE_INTS = sizeof(struct message) / sizeof(int) };

// One message under way at a time to one rank.
struct outbox {
    MPI_Request request;
    struct message message;
    int last_length; // that the other side knows
};

// A rank's search of one instance. Rank 0's `best` is everyone's best.
struct search {
    const struct map *map;
    struct world world;
    struct tour best; // the shortest tour known here
    int bound;        // length to beat; below best.length when another rank's tour is shorter
    int path[CITIES_MOST];
    unsigned visited;        // a bit a city
    long nodes;              // of the tree, visited here
    struct outbox *outboxes; // to each rank on rank 0; elsewhere one, to rank 0
    int next_task;           // on rank 0
    int task_count;
    int stopped; // ranks that have been told, on rank 0
    struct progress *progress;
    double progress_start;
    double progress_share; // of the whole run that this instance makes
};

// === Messages ===

static void outbox_wait(struct outbox *outbox) {
    MPI_Wait(&outbox->request, MPI_STATUS_IGNORE);
}

static bool outbox_is_free(struct outbox *outbox) {
    int free = 0;
    MPI_Test(&outbox->request, &free, MPI_STATUS_IGNORE);
    return free != 0;
}

// The outbox must be free.
static void outbox_send(struct outbox *outbox, int rank, enum tag tag, const struct tour *tour,
                        int task) {
    outbox->message = (struct message){.tour = *tour, .task = task};
    outbox->last_length = tour->length;
    MPI_Isend(&outbox->message, MESSAGE_INTS, MPI_INT, rank, tag, MPI_COMM_WORLD, &outbox->request);
}

// Probed first: between nodes, receives from any source never complete in MPICH 5.0.2 as PyPI has it
// (over UCX; seen with its own mpiexec and MPIR_CVAR_NOLOCAL=1), and probes do.
static enum tag receive(int source, struct message *message, int *sender) {
    MPI_Status status;
    MPI_Probe(source, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
    MPI_Recv(message, MESSAGE_INTS, MPI_INT, status.MPI_SOURCE, status.MPI_TAG, MPI_COMM_WORLD,
             MPI_STATUS_IGNORE);
    *sender = status.MPI_SOURCE;
    return (enum tag)status.MPI_TAG;
}

static void adopt(struct search *search, const struct tour *tour) {
    if (tour->length < search->best.length) {
        search->best = *tour;
    }
    if (tour->length < search->bound) {
        search->bound = tour->length;
    }
}

static void answer_request(struct search *search, int rank) {
    struct outbox *outbox = &search->outboxes[rank];
    outbox_wait(outbox);
    bool more = search->next_task < search->task_count;
    outbox_send(outbox, rank, more ? TAG_TASK : TAG_STOP, &search->best,
                more ? search->next_task++ : NO_TASK);
    if (!more) {
        outbox->last_length = 0; // nothing is shorter: no bound is sent after the stop
        search->stopped++;
    }
}

static void spread_bound(struct search *search) {
    for (int rank = 1; rank < search->world.size; rank++) {
        struct outbox *outbox = &search->outboxes[rank];
        if (search->best.length < outbox->last_length && outbox_is_free(outbox)) {
            outbox_send(outbox, rank, TAG_BOUND, &search->best, NO_TASK);
        }
    }
}

// Rank 0: takes one message of any rank and does what it asks for.
static void serve_one(struct search *search) {
    struct message message;
    int sender;
    enum tag tag = receive(MPI_ANY_SOURCE, &message, &sender);
    adopt(search, &message.tour);
    if (tag == TAG_REQUEST) {
        answer_request(search, sender);
    }
}

static bool message_waits(void) {
    int waits = 0;
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &waits, MPI_STATUS_IGNORE);
    return waits != 0;
}

static void poll_on_root(struct search *search) {
    while (message_waits()) {
        serve_one(search);
    }
    spread_bound(search);
    double done = (double)search->next_task / (double)search->task_count;
    progress_report(search->progress, search->progress_start + search->progress_share * done);
}

// Another rank, while it searches: only bounds can come in, and only a shorter tour goes out.
static void poll_elsewhere(struct search *search) {
    while (message_waits()) {
        struct message message;
        int sender;
        receive(0, &message, &sender);
        search->bound = message.tour.length < search->bound ? message.tour.length : search->bound;
    }
    struct outbox *outbox = search->outboxes;
    if (search->best.length < outbox->last_length && outbox_is_free(outbox)) {
        outbox_send(outbox, 0, TAG_FOUND, &search->best, NO_TASK);
    }
}

static void poll(struct search *search) {
    if (search->world.rank == 0) {
        poll_on_root(search);
    } else {
        poll_elsewhere(search);
    }
}

// === The search ===

static void finish_tour(struct search *search, int length) {
    if (length < search->bound) {
        search->bound = length;
        search->best.length = length;
        memcpy(search->best.cities, search->path, sizeof search->path);
    }
}

// Extends the path of `depth` cities. `to_leave` is the least that leaving its last city and all
// unvisited ones can cost: what the rest of the tour is at least as long as.
static void extend(struct search *search, int depth, int length, int to_leave) {
    const struct map *map = search->map;
    if (++search->nodes % NODES_PER_POLL == 0) {
        poll(search);
    }
    int last = search->path[depth - 1];
    if (depth == map->count) {
        finish_tour(search, length + map->distance[last][search->path[0]]);
        return;
    }
    for (int choice = 0; choice < map->count - 1; choice++) {
        int city = map->nearest_first[last][choice];
        int longer = length + map->distance[last][city];
        int rest = to_leave - map->shortest[last];
        if (longer + rest >= search->bound) {
            return; // and so are all later choices, which are farther away
        }
        if (search->visited & (1u << city)) {
            continue;
        }
        search->visited |= 1u << city;
        search->path[depth] = city;
        extend(search, depth + 1, longer, rest);
        search->visited &= ~(1u << city);
    }
}

// Task numbers count the choices of the tour's second, third and fourth city, near cities first.
static int count_tasks(const struct map *map) {
    return (map->count - 1) * (map->count - 2) * (map->count - 3);
}

static int choose_unvisited(const struct search *search, int from, int choice) {
    const int *order = search->map->nearest_first[from];
    int place = 0;
    for (;; place++) {
        if (!(search->visited & (1u << order[place])) && choice-- == 0) {
            return order[place];
        }
    }
}

static void search_task(struct search *search, int task) {
    const struct map *map = search->map;
    const int choices[] = {task / ((map->count - 2) * (map->count - 3)),
                           task / (map->count - 3) % (map->count - 2), task % (map->count - 3)};
    int length = 0;
    int to_leave = 0;
    for (int city = 0; city < map->count; city++) {
        to_leave += map->shortest[city];
    }
    search->visited = 1;
    search->path[0] = 0;
    for (int depth = 1; depth <= 3; depth++) {
        int last = search->path[depth - 1];
        int city = choose_unvisited(search, last, choices[depth - 1]);
        length += map->distance[last][city];
        to_leave -= map->shortest[last];
        search->visited |= 1u << city;
        search->path[depth] = city;
    }
    if (length + to_leave < search->bound) {
        extend(search, 4, length, to_leave);
    }
}

static void run_root(struct search *search) {
    while (search->next_task < search->task_count) {
        search_task(search, search->next_task++);
        poll_on_root(search);
    }
    // The others are on their last tasks: their tours and requests are all there is left to do.
    while (search->stopped < search->world.size - 1) {
        serve_one(search);
        spread_bound(search);
    }
    for (int rank = 1; rank < search->world.size; rank++) {
        outbox_wait(&search->outboxes[rank]);
    }
}

static void run_elsewhere(struct search *search) {
    struct outbox *outbox = search->outboxes;
    for (;;) {
        outbox_wait(outbox);
        outbox_send(outbox, 0, TAG_REQUEST, &search->best, NO_TASK);
        struct message message;
        int sender;
        enum tag tag;
        while ((tag = receive(0, &message, &sender)) == TAG_BOUND) {
            search->bound =
                message.tour.length < search->bound ? message.tour.length : search->bound;
        }
        search->bound =
            message.tour.length < search->bound ? message.tour.length : search->bound;
        if (tag == TAG_STOP) {
            outbox_wait(outbox);
            return;
        }
        search_task(search, message.task);
    }
}

// === The whole ===

static struct outbox *outboxes_create(struct world world, int known_length) {
    int count = world.rank == 0 ? world.size : 1;
    struct outbox *outboxes = program_memory((size_t)count, sizeof *outboxes);
    for (int box = 0; box < count; box++) {
        outboxes[box] = (struct outbox){.request = MPI_REQUEST_NULL, .last_length = known_length};
    }
    return outboxes;
}

struct result {
    bool correct;      // on rank 0
    long nodes;        // visited by all ranks; on rank 0
    long total_length; // of the tours; on rank 0
    double parallel_seconds;
};

// Solves one map and adds to the result.
static void solve(const struct settings *settings, struct search *search, long instance,
                  struct result *result) {
    struct map map = map_create((int)settings->cities, (uint64_t)settings->seed, instance);
    search->map = &map;
    search->best = map_greedy_tour(&map);
    search->bound = search->best.length;
    search->nodes = 0;
    search->next_task = 0;
    search->stopped = 0;
    search->task_count = count_tasks(&map);
    search->outboxes = outboxes_create(search->world, search->best.length);
    double start = timing_wall_seconds();
    if (search->world.rank == 0) {
        run_root(search);
    } else {
        run_elsewhere(search);
    }
    // Also keeps a rank's first request for the next map away from rank 0's end of this one.
    long nodes = 0;
    MPI_Allreduce(&search->nodes, &nodes, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
    result->parallel_seconds += timing_wall_seconds() - start;
    result->nodes += nodes;
    result->total_length += search->best.length;
    free(search->outboxes);
    if (search->world.rank == 0 && !settings->unchecked) {
        bool shortest = search->best.length == map_shortest_length(&map);
        result->correct = map_has_tour(&map, &search->best) && shortest && result->correct;
    }
}

static int solve_all(const struct argument_table *table, struct settings *settings,
                     struct world world) {
    struct progress progress;
    struct search search = {.world = world, .progress = &progress};
    struct result result = {.correct = true};
    long instances = 0;
    progress_start(&progress, world);
    budget_start(&settings->budget);
    while (budget_continues(&settings->budget, world, instances)) {
        search.progress_start = budget_spent(&settings->budget, instances);
        // How many maps fit in a time is not known before: then progress steps map by map.
        search.progress_share =
            settings->budget.seconds > 0.0 ? 0.0 : 1.0 / (double)settings->budget.rounds;
        solve(settings, &search, instances, &result);
        instances++;
    }
    progress_report(&progress, 1.0);
    char details[DETAILS_SIZE];
    snprintf(details, sizeof details,
             "ranks=%d cities=%ld instances=%ld total_length=%ld nodes=%ld check=%s "
             "parallel_s=%.3f",
             world.size, settings->cities, instances, result.total_length, result.nodes,
             settings->unchecked ? "off" : "held-karp", result.parallel_seconds);
    return program_end(table, world, result.correct, details);
}

int main(int argc, char **argv) {
    struct settings settings = {.cities = 14, .seed = 1, .budget = {.rounds = 10}};
    const struct argument rows[] = {
        {.name = "--cities", .whole = &settings.cities, .minimum = CITIES_LEAST,
         .maximum = CITIES_MOST, .meaning = "cities of each map"},
        {.name = "--seed", .whole = &settings.seed, .minimum = 0, .maximum = INT_MAX,
         .meaning = "start of the random maps"},
        {.name = "--instances", .whole = &settings.budget.rounds, .minimum = 1, .maximum = 1e9,
         .meaning = "maps to solve, one after the other"},
        {.name = "--seconds", .real = &settings.budget.seconds, .minimum = 0, .maximum = 86400,
         .meaning = "CPU seconds of rank 0 to start maps for; 0: --instances decides"},
        {.name = "--no-check", .flag = &settings.unchecked,
         .meaning = "do not compare with a sequential run (Held and Karp's)"},
    };
    const struct argument_table table = {
        .program = "tsp",
        .summary = "shortest round trips by parallel branch and bound",
        .rows = rows,
        .row_count = sizeof rows / sizeof rows[0],
    };
    struct world world;
    int code;
    if (!program_start(&table, &argc, &argv, &world, &code)) {
        return code;
    }
    return solve_all(&table, &settings, world);
}
