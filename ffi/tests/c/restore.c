/* Snapshots are restored: files come back, and what cannot be restored is refused and changes nothing.
   WORK holds vm/ (Stopped) and standby/ (Standby), each with a disk.raw of bytes 7. */
#include "check.h"
#include "vm.h"

static hypeman_handle *hm;
static char disk[512], image[512];

/* Reads one byte of a file. */
static int get_byte(const char *path, long offset)
{
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL && fseek(file, offset, SEEK_SET) == 0);
    int byte = fgetc(file);
    fclose(file);
    return byte;
}

static hypeman_status restore(const char *snapshot, const char *vm, const char *target)
{
    hypeman_instance *restored;
    hypeman_restore_options options = HYPEMAN_RESTORE_OPTIONS_INIT;
    options.target_state = target;
    hypeman_status status = hypeman_snapshot_restore(hm, snapshot, vm, &options, &restored, &err);
    CHECK((restored != NULL) == (status == HYPEMAN_STATUS_OK));
    if (target != NULL && restored != NULL) CHECK(strcmp(hypeman_instance_state(restored), target) == 0);
    hypeman_instance_free(restored);
    return status;
}

static void a_stopped_vm_gets_its_disk_back(const char *snapshot)
{
    hypeman_instance *restored;
    put_byte(disk, 100, 1);
    DONE(hypeman_snapshot_restore(hm, snapshot, "vm", NULL, &restored, &err));
    CHECK(strcmp(hypeman_instance_name(restored), "vm") == 0);
    CHECK(strcmp(hypeman_instance_state(restored), "Stopped") == 0);
    hypeman_instance_free(restored);
    CHECK(get_byte(disk, 100) == 7);
    put_byte(disk, 100, 1);
    DONE(restore(snapshot, "vm", "Stopped"));
    CHECK(get_byte(disk, 100) == 7);
}

static void compressed_memory_comes_back_raw(const char *snapshot)
{
    CHECK(remove(image) == 0);
    DONE(restore(snapshot, "standby", "Standby"));
    CHECK(get_byte(image, 70000) == memory_at(70000) && get_byte(image, MEMORY_BYTES - 1) == 0);
    DONE(restore(snapshot, "standby", "Stopped"));
}

static void what_cannot_be_restored_is_refused_and_changes_nothing(const char *stopped, const char *standby)
{
    hypeman_instance *none;
    put_byte(disk, 100, 1);
    REFUSED(HYPEMAN_STATUS_NOT_FOUND, "nope", restore("nope", "vm", NULL));
    REFUSED(HYPEMAN_STATUS_NOT_FOUND, "nobody", restore(stopped, "nobody", NULL));
    REFUSED(HYPEMAN_STATUS_INVALID_REQUEST, "", restore(stopped, "standby", NULL));
    REFUSED(HYPEMAN_STATUS_INVALID_REQUEST, "target_state", restore(stopped, "vm", "Standby"));
    REFUSED(HYPEMAN_STATUS_INVALID_REQUEST, "Stopped, Standby, Running", restore(stopped, "vm", "Paused"));
    REFUSED(HYPEMAN_STATUS_INVALID_REQUEST, "\"running\"", restore(stopped, "vm", "running"));
    REFUSED(HYPEMAN_STATUS_NOT_SUPPORTED, "boot", restore(stopped, "vm", "Running"));
    REFUSED(HYPEMAN_STATUS_INVALID_REQUEST, "instance",
            hypeman_snapshot_restore(hm, stopped, NULL, NULL, &none, &err));

    hypeman_restore_options options = HYPEMAN_RESTORE_OPTIONS_INIT;
    options.on_demand = 1;
    options.uffd_socket = "/run/pager.sock";
    REFUSED(HYPEMAN_STATUS_INVALID_REQUEST, "on_demand",
            hypeman_snapshot_restore(hm, standby, "standby", &options, &none, &err));

    const hypeman_network_override twice[] = {{"eth0", "tap0"}, {"eth0", "tap1"}};
    hypeman_restore_options networks = HYPEMAN_RESTORE_OPTIONS_INIT;
    networks.network_overrides = twice;
    networks.network_override_count = 2;
    REFUSED(HYPEMAN_STATUS_INVALID_REQUEST, "eth0",
            hypeman_snapshot_restore(hm, standby, "standby", &networks, &none, &err));

    hypeman_cancel *token = hypeman_cancel_new();
    hypeman_call_options call = HYPEMAN_CALL_OPTIONS_INIT;
    hypeman_restore_options cancelled = HYPEMAN_RESTORE_OPTIONS_INIT;
    call.cancel = token;
    cancelled.call = &call;
    hypeman_cancel_request(token);
    REFUSED(HYPEMAN_STATUS_CANCELLED, "cancelled",
            hypeman_snapshot_restore(hm, stopped, "vm", &cancelled, &none, &err));
    hypeman_cancel_free(token);
    CHECK(get_byte(disk, 100) == 1);
}

int main(int argc, char **argv)
{
    char stopped[32], standby[32];
    CHECK(argc == 2);
    snprintf(disk, sizeof disk, "%s/vm/disk.raw", argv[1]);
    snprintf(image, sizeof image, "%s/standby/snapshots/snapshot-latest/memory", argv[1]);
    hm = open_store(argv[1]);
    register_vm(hm, argv[1], "vm");
    register_vm(hm, argv[1], "standby");
    snapshot_of(hm, "vm", HYPEMAN_KIND_STOPPED, NULL, stopped);
    snapshot_of(hm, "standby", HYPEMAN_KIND_STANDBY, "zstd", standby);

    a_stopped_vm_gets_its_disk_back(stopped);
    compressed_memory_comes_back_raw(standby);
    what_cannot_be_restored_is_refused_and_changes_nothing(stopped, standby);
    hypeman_close(hm);
    return 0;
}
