/* Works at random on a store that others work on, too: `runner --work DATA_DIR SEED SECONDS`. Prints `made ID` when a
   snapshot was acknowledged, `deleting ID` before it deletes one, and `BAD ...` for what must not be. */
#include <time.h>

static unsigned long long state;

static unsigned random_below(unsigned end)
{
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(state >> 33) % end;
}

/* What others bring about is no failure. */
static void judge(const char *what, hypeman_status status)
{
    if (status != HYPEMAN_STATUS_OK && status != HYPEMAN_STATUS_CONFLICT && status != HYPEMAN_STATUS_NOT_FOUND
        && status != HYPEMAN_STATUS_BUSY && status != HYPEMAN_STATUS_INVALID_STATE)
        printf("BAD %s: %s\n", what, hypeman_error_message(err));
    fflush(stdout);
    hypeman_error_free(err);
    err = NULL;
}

static void create_one(void)
{
    static const char *const algorithms[] = { NULL, "zstd", "lz4" };
    char vm[8], name[8];
    hypeman_snapshot *made = NULL;
    hypeman_compression compression = HYPEMAN_COMPRESSION_INIT;
    hypeman_create_options options = HYPEMAN_CREATE_OPTIONS_INIT;
    snprintf(vm, sizeof vm, "vm%u", random_below(3));
    snprintf(name, sizeof name, "n%u", random_below(6));
    compression.algorithm = algorithms[random_below(3)];
    options.kind = HYPEMAN_KIND_STANDBY;
    options.name = name;
    if (compression.algorithm != NULL) options.compression = &compression;
    hypeman_status status = hypeman_snapshot_create(hm, vm, &options, &made, &err);
    if (made != NULL) printf("made %s\n", hypeman_snapshot_id(made));
    judge("create", status);
    hypeman_snapshot_free(made);
}

static void work_once(void)
{
    hypeman_snapshots *list = NULL;
    hypeman_status status = hypeman_snapshot_list(hm, NULL, &list, &err);
    size_t count = hypeman_snapshots_count(list);
    if (status != HYPEMAN_STATUS_OK) printf("BAD list\n");
    judge("list", status);
    unsigned what = random_below(8);
    if (what < 3 || count == 0) {
        create_one();
    } else {
        const char *id = hypeman_snapshot_id(hypeman_snapshots_at(list, random_below((unsigned)count)));
        hypeman_snapshot *found = NULL;
        hypeman_memory *image = NULL;
        char first[12];
        switch (what) {
        case 3:
        case 4:
            printf("deleting %s\n", id);
            fflush(stdout);
            judge("delete", hypeman_snapshot_delete(hm, id, &err));
            break;
        case 5:
            status = hypeman_snapshot_memory(hm, id, &image, &err);
            if (status == HYPEMAN_STATUS_OK) {
                status = hypeman_memory_read(image, 0, first, sizeof first, NULL, &err);
                if (status == HYPEMAN_STATUS_OK && memcmp(first, "guest memory", 12) != 0) printf("BAD torn read\n");
            }
            judge("memory", status);
            hypeman_memory_free(image);
            break;
        default:
            judge("get", hypeman_snapshot_get(hm, id, &found, &err));
            hypeman_snapshot_free(found);
        }
    }
    hypeman_snapshots_free(list);
}

static int work(const char *data, unsigned long long seed, double seconds)
{
    struct timespec start, now;
    state = seed;
    if (hypeman_open(data, NULL, &hm, &err) != HYPEMAN_STATUS_OK) {
        printf("BAD open: %s\n", hypeman_error_message(err));
        return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        work_once();
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - start.tv_sec) < seconds);
    hypeman_close(hm);
    return 0;
}
