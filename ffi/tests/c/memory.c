/* Guest memory is read at any offset, and every damaged byte is found.
   WORK holds standby/, a VM in Standby, and vm/, one that is Stopped. */
#include "check.h"
#include "vm.h"

static hypeman_handle *hm;

static void every_byte_is_the_guests(const hypeman_memory *memory)
{
    static unsigned char bytes[MEMORY_BYTES + 100];
    const struct { uint64_t offset; size_t length; } parts[] = {{0, 1}, {4095, 2}, {65530, 70000}, {0, sizeof bytes}};
    CHECK(hypeman_memory_size_bytes(memory) == MEMORY_BYTES);
    for (size_t part = 0; part < sizeof parts / sizeof *parts; part++) {
        size_t read = 99, left = MEMORY_BYTES - (size_t)parts[part].offset;
        memset(bytes, 0xAA, sizeof bytes);
        DONE(hypeman_memory_read(memory, parts[part].offset, bytes, parts[part].length, &read, &err));
        CHECK(read == (parts[part].length < left ? parts[part].length : left)); /* short only at the end */
        for (size_t i = 0; i < read; i++) CHECK(bytes[i] == memory_at((size_t)parts[part].offset + i));
    }
    size_t read = 99;
    DONE(hypeman_memory_read(memory, UINT64_MAX, bytes, 1, &read, &err));
    CHECK(read == 0);
    DONE(hypeman_memory_read(memory, 0, NULL, 0, NULL, &err));
    read = 99;
    REFUSED(HYPEMAN_STATUS_INVALID_REQUEST, "NULL", hypeman_memory_read(memory, 0, NULL, 1, &read, &err));
    CHECK(read == 0);
}

static void extents_have_no_gap(const hypeman_memory *memory, int compressed)
{
    hypeman_extents *extents;
    uint64_t end = 0;
    int zeros = 0;
    DONE(hypeman_memory_extents(memory, &extents, &err));
    for (size_t i = 0; i < hypeman_extents_count(extents); i++) {
        const hypeman_extent *extent = hypeman_extents_at(extents, i);
        CHECK(extent->offset == end);
        zeros |= extent->kind == HYPEMAN_EXTENT_KIND_ZERO && extent->offset == MEMORY_BYTES / 4;
        end += extent->size_bytes;
    }
    CHECK(end == MEMORY_BYTES && zeros == compressed);
    CHECK(hypeman_extents_at(extents, hypeman_extents_count(extents)) == NULL);
    hypeman_extents_free(extents);
}

static void memory_is_read(const char *algorithm, const char *suffix)
{
    char id[32];
    hypeman_memory *memory;
    hypeman_ranges *ranges;
    snapshot_of(hm, "standby", HYPEMAN_KIND_STANDBY, algorithm, id);
    DONE(hypeman_snapshot_memory(hm, id, &memory, &err));
    CHECK(strcmp(hypeman_memory_snapshot_id(memory), id) == 0);
    CHECK(strstr(hypeman_memory_path(memory), suffix) != NULL);
    every_byte_is_the_guests(memory);
    extents_have_no_gap(memory, algorithm != NULL);
    /* Where a guest sees its memory is not in QEMU's file. */
    REFUSED(HYPEMAN_STATUS_NOT_SUPPORTED, "", hypeman_memory_ranges(memory, &ranges, &err));
    REFUSED(HYPEMAN_STATUS_BUSY, id, hypeman_snapshot_delete(hm, id, &err));
    hypeman_memory_free(memory);
    DONE(hypeman_snapshot_delete(hm, id, &err));
    REFUSED(HYPEMAN_STATUS_NOT_FOUND, id, hypeman_snapshot_memory(hm, id, &memory, &err));
}

/* A report on a snapshot whose checksums are there: they are made in the background. */
static hypeman_verification *verified(const char *id)
{
    for (;;) {
        hypeman_verification *report;
        int waiting = 0;
        DONE(hypeman_snapshot_verify(hm, id, NULL, &report, &err));
        for (size_t i = 0; i < hypeman_verification_file_count(report); i++)
            waiting |= strcmp(hypeman_verification_file_status(report, i), "unchecked") == 0;
        if (!waiting) return report;
        hypeman_verification_free(report);
    }
}

static void damage_is_found_where_it_is(const char *work)
{
    char id[32], disk[512];
    uint64_t offset = 7, bytes = 7;
    snapshot_of(hm, "vm", HYPEMAN_KIND_STOPPED, NULL, id);
    snprintf(disk, sizeof disk, "%s/data/snapshots/%s/guest/disk.raw", work, id);

    hypeman_verification *good = verified(id);
    CHECK(hypeman_verification_is_good(good) == 1 && hypeman_verification_defect_count(good) == 0);
    CHECK(strcmp(hypeman_verification_snapshot_id(good), id) == 0);
    CHECK(hypeman_verification_file_count(good) == 1 && hypeman_verification_file_size_bytes(good, 0) == 65536);
    CHECK(strcmp(hypeman_verification_file_path(good, 0), "guest/disk.raw") == 0);
    CHECK(hypeman_verification_file_path(good, 1) == NULL && hypeman_verification_defect_path(good, 0) == NULL);
    CHECK(hypeman_verification_defect_offset(good, 0, &offset) == 0 && offset == 0);
    hypeman_verification_free(good);

    put_byte(disk, 100, 1);
    hypeman_verification *damaged = verified(id);
    CHECK(hypeman_verification_is_good(damaged) == 0 && hypeman_verification_defect_count(damaged) == 1);
    CHECK(strcmp(hypeman_verification_file_status(damaged, 0), "damaged") == 0);
    CHECK(strcmp(hypeman_verification_defect_path(damaged, 0), "guest/disk.raw") == 0);
    CHECK(strcmp(hypeman_verification_defect_kind(damaged, 0), "content") == 0);
    CHECK(strlen(hypeman_verification_defect_message(damaged, 0)) > 0);
    CHECK(hypeman_verification_defect_offset(damaged, 0, &offset) == 1 && offset == 0);
    CHECK(hypeman_verification_defect_size_bytes(damaged, 0, &bytes) == 1 && bytes == 65536);
    char *json = hypeman_verification_to_json(damaged);
    CHECK(strstr(json, "\"kind\":\"content\"") != NULL && strstr(json, "null") == NULL);
    hypeman_string_free(json);
    hypeman_verification_free(damaged);
}

static void what_cannot_be_read_is_refused(void)
{
    char id[32];
    hypeman_memory *memory;
    hypeman_verification *report;
    snapshot_of(hm, "vm", HYPEMAN_KIND_STOPPED, NULL, id);
    REFUSED(HYPEMAN_STATUS_INVALID_STATE, "no guest memory", hypeman_snapshot_memory(hm, id, &memory, &err));
    REFUSED(HYPEMAN_STATUS_NOT_FOUND, "nope", hypeman_snapshot_verify(hm, "nope", NULL, &report, &err));
    hypeman_call_options late = HYPEMAN_CALL_OPTIONS_INIT;
    late.timeout_ms = HYPEMAN_TIMEOUT_AT_ONCE;
    REFUSED(HYPEMAN_STATUS_TIMEOUT, "", hypeman_snapshot_verify(hm, id, &late, &report, &err));
    CHECK(report == NULL && hypeman_verification_is_good(NULL) == 0 && hypeman_memory_size_bytes(NULL) == 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    hm = open_store(argv[1]);
    register_vm(hm, argv[1], "vm");
    register_vm(hm, argv[1], "standby");
    memory_is_read(NULL, "snapshot-latest/memory");
    memory_is_read("zstd", ".zst");
    memory_is_read("lz4", ".lz4");
    damage_is_found_where_it_is(argv[1]);
    what_cannot_be_read_is_refused();
    hypeman_close(hm);
    return 0;
}
