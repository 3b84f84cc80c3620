/* `calls ROOT THREADS COUNT SEED`: makes at least COUNT random calls, and prints how many there were.
 * `calls ROOT FILE...`: makes the calls of saved files. */
#include "calls.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static atomic_ullong done;
static unsigned long long wanted, seed;

static uint64_t step(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static void *work(void *number)
{
    uint64_t state = (seed + 1) * 0x9e3779b97f4a7c15u + (uintptr_t)number;
    uint8_t bytes[2048];
    while (atomic_load(&done) < wanted) {
        for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(step(&state) >> 32);
        atomic_fetch_add(&done, calls_play(bytes, sizeof bytes));
    }
    return NULL;
}

static int replay(const char *path)
{
    static uint8_t bytes[1 << 16];
    FILE *in = fopen(path, "r");
    if (in == NULL) return 2;
    size_t size = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    atomic_fetch_add(&done, calls_play(bytes, size));
    return 0;
}

int main(int count, char **arguments)
{
    char *end = NULL;
    if (count < 3) return 2;
    calls_prepare(arguments[1]);
    unsigned long threads = strtoul(arguments[2], &end, 10);
    if (*end != 0) {
        for (int i = 2; i < count; i++)
            if (replay(arguments[i]) != 0) return 2;
    } else {
        pthread_t all[64];
        if (count != 5 || threads == 0 || threads > 64) return 2;
        wanted = strtoull(arguments[3], NULL, 10);
        seed = strtoull(arguments[4], NULL, 10);
        for (uintptr_t i = 0; i < threads; i++)
            if (pthread_create(&all[i], NULL, work, (void *)i) != 0) return 2;
        for (unsigned long i = 0; i < threads; i++) pthread_join(all[i], NULL);
    }
    printf("%llu\n", (unsigned long long)atomic_load(&done));
    return 0;
}
