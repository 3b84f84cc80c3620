/* Bears a hostile store through the C API: runner ENTRIES DATA_DIR INSTANCE_DIR (see ../corpus/runner.rs). */
#include <hypeman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

static hypeman_handle *hm;
static hypeman_error *err;

/* "ok", or the code of the error, in static room. */
static const char *code(hypeman_status status)
{
    static char room[8][32];
    static int next;
    char *text = room[next++ % 8];
    snprintf(text, sizeof room[0], "%s", status == HYPEMAN_STATUS_OK ? "ok" : hypeman_error_code(err));
    hypeman_error_free(err);
    err = NULL;
    return text;
}

static const char *got(const char *id)
{
    hypeman_snapshot *snapshot = NULL;
    const char *told = code(hypeman_snapshot_get(hm, id, &snapshot, &err));
    hypeman_snapshot_free(snapshot);
    return told;
}

static const char *inspected(const char *id)
{
    hypeman_inspection *inspection = NULL;
    const char *told = code(hypeman_snapshot_inspect(hm, id, &inspection, &err));
    hypeman_inspection_free(inspection);
    return told;
}

static const char *verified(const char *id)
{
    hypeman_verification *report = NULL;
    const char *told = code(hypeman_snapshot_verify(hm, id, NULL, &report, &err));
    if (report != NULL)
        told = hypeman_verification_is_good(report)              ? "good"
               : hypeman_verification_defect_count(report) == 0 ? "unchecked"
                                                                 : "bad";
    hypeman_verification_free(report);
    return told;
}

static const char *memory_read(const char *id)
{
    static char buffer[MIB];
    hypeman_memory *image = NULL;
    hypeman_status status = hypeman_snapshot_memory(hm, id, &image, &err);
    uint64_t size = status == HYPEMAN_STATUS_OK ? hypeman_memory_size_bytes(image) : 0;
    uint64_t places[] = { 0, size / 2, size > MIB ? size - MIB : 0 };
    for (int i = 0; i < 3 && status == HYPEMAN_STATUS_OK; i++)
        status = hypeman_memory_read(image, places[i], buffer, sizeof buffer, NULL, &err);
    const char *told = code(status);
    hypeman_memory_free(image);
    return told;
}

static const char *restored(const char *id)
{
    hypeman_instance *instance = NULL;
    const char *told = code(hypeman_snapshot_restore(hm, id, "web", NULL, &instance, &err));
    hypeman_instance_free(instance);
    return told;
}

static const char *created(void)
{
    hypeman_snapshot *made = NULL, *done = NULL;
    hypeman_compression compression = HYPEMAN_COMPRESSION_INIT;
    hypeman_create_options options = HYPEMAN_CREATE_OPTIONS_INIT;
    compression.algorithm = "zstd";
    options.kind = HYPEMAN_KIND_STANDBY;
    options.compression = &compression;
    hypeman_status status = hypeman_snapshot_create(hm, "web", &options, &made, &err);
    if (status == HYPEMAN_STATUS_OK) status = hypeman_snapshot_wait(hm, hypeman_snapshot_id(made), NULL, &done, &err);
    const char *told = code(status);
    hypeman_snapshot_free(made);
    hypeman_snapshot_free(done);
    return told;
}

static void print_list(void)
{
    hypeman_snapshots *list = NULL;
    hypeman_status status = hypeman_snapshot_list(hm, NULL, &list, &err);
    if (status == HYPEMAN_STATUS_OK)
        printf("list %zu\n", hypeman_snapshots_count(list));
    else
        printf("list %s\n", code(status));
    hypeman_snapshots_free(list);
}

static long status_of(const char *name)
{
    char line[256];
    long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0) kib = atol(line + strlen(name) + 1);
    fclose(file);
    return kib * 1024;
}

#include "worker.h"

int main(int count, char **arguments)
{
    if (count == 5 && strcmp(arguments[1], "--work") == 0)
        return work(arguments[2], strtoull(arguments[3], NULL, 10), atof(arguments[4]));
    char line[512], memory_file[512];
    FILE *entries = count == 4 ? fopen(arguments[1], "r") : NULL;
    if (entries == NULL || hypeman_open(arguments[2], NULL, &hm, &err) != HYPEMAN_STATUS_OK) return 2;
    umask(0);
    snprintf(memory_file, sizeof memory_file, "%s/snapshots/snapshot-latest/memory", arguments[3]);
    print_list();
    FILE *clear = fopen("/proc/self/clear_refs", "w");
    if (clear == NULL || fputs("5", clear) < 0 || fclose(clear) != 0) return 2;
    long baseline = status_of("VmRSS:");
    while (fgets(line, sizeof line, entries) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *id = strchr(line, ' ');
        if (id == NULL) return 2;
        *id++ = '\0';
        const char *verify = verified(id), *get = got(id), *inspect = inspected(id);
        const char *memory = memory_read(id), *restore = restored(id);
        unlink(memory_file);
        printf("%s get=%s inspect=%s verify=%s memory=%s restore=%s delete=%s\n", line, get, inspect, verify, memory,
               restore, code(hypeman_snapshot_delete(hm, id, &err)));
    }
    fclose(entries);
    FILE *file = fopen(memory_file, "w");
    if (file == NULL || fputs("memory", file) < 0 || fclose(file) != 0) return 2;
    printf("create %s\n", created());
    print_list();
    hypeman_close(hm);
    long grown = status_of("VmHWM:") - baseline;
    printf("rss %ld\n", grown > 0 ? grown : 0);
    return 0;
}
