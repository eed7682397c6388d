// SPDX-License-Identifier: Apache-2.0
//
// A map of cities, round trips on it, and the sequential answer that the parallel search has to
// find.

#ifndef STROBE_EXAMPLES_TSP_MAP_H
#define STROBE_EXAMPLES_TSP_MAP_H

#include <stdbool.h>
#include <stdint.h>

// map_shortest_length needs 4 * (cities - 1) * 2^(cities - 1) bytes: 40 MB for 20 cities.
enum { CITIES_MOST = 20 };

struct map {
    int count;
    int distance[CITIES_MOST][CITIES_MOST];
    int nearest_first[CITIES_MOST][CITIES_MOST]; // the other cities of each, near ones first
    int shortest[CITIES_MOST];                   // distance to the nearest
};

struct tour {
    int length;
    int cities[CITIES_MOST];
};

// The map number `instance` of the random maps of `seed`; 2 to CITIES_MOST cities.
struct map map_create(int cities, uint64_t seed, long instance);

// The tour from city 0 that always goes on to the nearest city not yet visited.
struct tour map_greedy_tour(const struct map *map);

// Does the tour visit each city once, and is it as long as it says?
bool map_has_tour(const struct map *map, const struct tour *tour);

// The length of the shortest tour, by one rank alone, with a method other than branch and bound.
int map_shortest_length(const struct map *map);

#endif
