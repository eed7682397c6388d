// SPDX-License-Identifier: Apache-2.0

#include "map.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "program.h"
#include "random.h"

enum { MAP_SIDE = 1000 }; // cities lie on a square of this side, in units of length

static void rank_neighbours(struct map *map, int city) {
    int *order = map->nearest_first[city];
    int known = 0;
    for (int other = 0; other < map->count; other++) {
        if (other == city) {
            continue;
        }
        int place = known++;
        while (place > 0 && map->distance[city][order[place - 1]] > map->distance[city][other]) {
            order[place] = order[place - 1];
            place--;
        }
        order[place] = other;
    }
    map->shortest[city] = map->distance[city][order[0]];
}

struct map map_create(int cities, uint64_t seed, long instance) {
    struct map map = {.count = cities};
    uint64_t map_seed = random_at(seed, (uint64_t)instance);
    double place[CITIES_MOST][2];
    for (int city = 0; city < map.count; city++) {
        for (int axis = 0; axis < 2; axis++) {
            uint64_t number = random_at(map_seed, (uint64_t)(2 * city + axis));
            place[city][axis] = (double)(number % MAP_SIDE);
        }
    }
    // Whole lengths, so that sums do not depend on the order of the additions.
    for (int from = 0; from < map.count; from++) {
        for (int to = 0; to < map.count; to++) {
            double distance = hypot(place[from][0] - place[to][0], place[from][1] - place[to][1]);
            map.distance[from][to] = (int)lround(distance);
        }
    }
    for (int city = 0; city < map.count; city++) {
        rank_neighbours(&map, city);
    }
    return map;
}

static int length_of(const struct map *map, const int *cities) {
    int length = 0;
    for (int place = 0; place < map->count; place++) {
        length += map->distance[cities[place]][cities[(place + 1) % map->count]];
    }
    return length;
}

struct tour map_greedy_tour(const struct map *map) {
    struct tour tour = {.length = 0};
    unsigned visited = 1;
    for (int place = 1; place < map->count; place++) {
        const int *order = map->nearest_first[tour.cities[place - 1]];
        int choice = 0;
        while (visited & (1u << order[choice])) {
            choice++;
        }
        tour.cities[place] = order[choice];
        visited |= 1u << order[choice];
    }
    tour.length = length_of(map, tour.cities);
    return tour;
}

// M. Held and R. M. Karp, "A dynamic programming approach to sequencing problems", J. SIAM 10,
// 1962.
// `table[set * inner + last]` is the shortest way
// from city 0 through all cities of `set` (bit i is city i + 1) that ends at city last + 1.
int map_shortest_length(const struct map *map) {
    int inner = map->count - 1;
    unsigned sets = 1u << inner;
    int *table = program_memory((size_t)sets * (size_t)inner, sizeof *table);
    for (unsigned set = 1; set < sets; set++) {
        for (int last = 0; last < inner; last++) {
            unsigned before = set & ~(1u << last);
            if (before == set) {
                continue;
            }
            int shortest = before == 0 ? map->distance[0][last + 1] : INT_MAX;
            for (int previous = 0; previous < inner; previous++) {
                if (before & (1u << previous)) {
                    int way = table[(size_t)before * (size_t)inner + (size_t)previous] +
                              map->distance[previous + 1][last + 1];
                    shortest = way < shortest ? way : shortest;
                }
            }
            table[(size_t)set * (size_t)inner + (size_t)last] = shortest;
        }
    }
    int optimum = INT_MAX;
    for (int last = 0; last < inner; last++) {
        int way = table[(size_t)(sets - 1) * (size_t)inner + (size_t)last] +
                  map->distance[last + 1][0];
        optimum = way < optimum ? way : optimum;
    }
    free(table);
    return optimum;
}

bool map_has_tour(const struct map *map, const struct tour *tour) {
    unsigned visited = 0;
    for (int place = 0; place < map->count; place++) {
        int city = tour->cities[place];
        if (city < 0 || city >= map->count || visited & (1u << city)) {
            return false;
        }
        visited |= 1u << city;
    }
    return length_of(map, tour->cities) == tour->length;
}
