/* A program that was compiled with the header of 0.1.0, whose options end where later ones go on.
   WORK holds vm/disk.raw of 65536 bytes; WORK/data is made here. */
#include "check.h"

static hypeman_error *err;

/* What follows a struct in the memory of a program is not the library's to read. */
typedef struct {
    hypeman_open_options options;
    unsigned char other[64];
} open_room;

typedef struct {
    hypeman_restore_options options;
    unsigned char other[64];
} restore_room;

int main(int argc, char **argv)
{
    char data[512], directory[512];
    CHECK(argc == 2 && strcmp(HYPEMAN_VERSION, "0.1.0") == 0);
    snprintf(data, sizeof data, "%s/data", argv[1]);
    snprintf(directory, sizeof directory, "%s/vm", argv[1]);

    const hypeman_open_options open_init = HYPEMAN_OPEN_OPTIONS_INIT;
    open_room open;
    memset(&open, 0xa5, sizeof open);
    open.options = open_init;
    open.options.durability = "relaxed";
    hypeman_handle *hm;
    DONE(hypeman_open(data, &open.options, &hm, &err));

    hypeman_register_options registration = HYPEMAN_REGISTER_OPTIONS_INIT;
    registration.name = "vm1";
    registration.hypervisor = "qemu";
    registration.directory = directory;
    hypeman_instance *vm;
    DONE(hypeman_instance_register(hm, &registration, &vm, &err));

    hypeman_create_options create = HYPEMAN_CREATE_OPTIONS_INIT;
    create.kind = HYPEMAN_KIND_STOPPED;
    create.name = "baseline";
    hypeman_snapshot *snapshot;
    DONE(hypeman_snapshot_create(hm, "vm1", &create, &snapshot, &err));
    CHECK(hypeman_snapshot_kind(snapshot) == HYPEMAN_KIND_STOPPED && hypeman_snapshot_size_bytes(snapshot) >= 65536);

    hypeman_list_options filter = HYPEMAN_LIST_OPTIONS_INIT;
    filter.name = "baseline";
    hypeman_snapshots *list;
    DONE(hypeman_snapshot_list(hm, &filter, &list, &err));
    CHECK(hypeman_snapshots_count(list) == 1);
    hypeman_snapshots_free(list);

    const hypeman_restore_options restore_init = HYPEMAN_RESTORE_OPTIONS_INIT;
    restore_room restore;
    memset(&restore, 0xa5, sizeof restore);
    restore.options = restore_init;
    hypeman_instance *restored;
    DONE(hypeman_snapshot_restore(hm, hypeman_snapshot_id(snapshot), "vm1", &restore.options, &restored, &err));
    CHECK(strcmp(hypeman_instance_state(restored), "Stopped") == 0);
    hypeman_instance_free(restored);

    DONE(hypeman_snapshot_delete(hm, hypeman_snapshot_id(snapshot), &err));
    hypeman_snapshot_free(snapshot);
    hypeman_instance_free(vm);
    hypeman_close(hm);
    return 0;
}
