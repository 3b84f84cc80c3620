/* The life of a snapshot of a stopped VM, and of the objects that speak of it.
   WORK holds vm/disk.raw of 65536 bytes; WORK/data is made here. */
#include "check.h"

static hypeman_error *err;

static int heard_of_the_capture;

static void hear_log(int32_t level, const char *message, const char *id, void *user)
{
    if (level == HYPEMAN_LOG_LEVEL_INFO && strstr(message, "captured instance vm1id") && id[0]) *(int *)user += 1;
}

static hypeman_handle *open_store(const char *work)
{
    char data[512];
    hypeman_handle *hm;
    hypeman_open_options options = HYPEMAN_OPEN_OPTIONS_INIT;
    options.threads = 2;
    options.durability = "relaxed";
    options.log = hear_log;
    options.log_user = &heard_of_the_capture;
    snprintf(data, sizeof data, "%s/data", work);
    DONE(hypeman_open(data, &options, &hm, &err));
    CHECK(strcmp(hypeman_data_dir(hm), data) == 0);
    options.durability = "maybe";
    hypeman_handle *none;
    REFUSED(HYPEMAN_STATUS_INVALID_REQUEST, "durability", hypeman_open(data, &options, &none, &err));
    return hm;
}

static void register_vm(hypeman_handle *hm, const char *work)
{
    char directory[512], path[512];
    snprintf(directory, sizeof directory, "%s/vm", work);
    snprintf(path, sizeof path, "%s/vm/disk.raw", work);
    hypeman_disk disk = {path, 1, 0};
    hypeman_compression compression = HYPEMAN_COMPRESSION_INIT;
    compression.algorithm = "lz4";
    compression.has_level = 1;
    hypeman_register_options options = HYPEMAN_REGISTER_OPTIONS_INIT;
    options.name = "vm1";
    options.hypervisor = "qemu";
    options.id = "vm1id";
    options.directory = directory;
    options.disks = &disk;
    options.disk_count = 1;
    options.compression = &compression;

    hypeman_instance *vm;
    DONE(hypeman_instance_register(hm, &options, &vm, &err));
    CHECK(strcmp(hypeman_instance_id(vm), "vm1id") == 0);
    CHECK(strcmp(hypeman_instance_name(vm), "vm1") == 0);
    CHECK(strcmp(hypeman_instance_hypervisor(vm), "qemu") == 0);
    CHECK(strcmp(hypeman_instance_state(vm), "Stopped") == 0);
    CHECK(strcmp(hypeman_instance_origin(vm), "registered") == 0);
    CHECK(strcmp(hypeman_instance_directory(vm), directory) == 0);
    CHECK(hypeman_instance_api_socket(vm) == NULL);
    CHECK(hypeman_instance_disk_count(vm) == 1);
    CHECK(strcmp(hypeman_instance_disk_path(vm, 0), path) == 0 && hypeman_instance_disk_path(vm, 1) == NULL);
    CHECK(hypeman_instance_disk_readonly(vm, 0) == 1 && hypeman_instance_disk_readonly(vm, 1) == 0);
    const hypeman_compression *kept = hypeman_instance_compression(vm);
    CHECK(kept->enabled && strcmp(kept->algorithm, "lz4") == 0 && kept->has_level && kept->level == 0);
    char *json = hypeman_instance_to_json(vm);
    CHECK(strstr(json, "\"name\":\"vm1\"") != NULL);
    hypeman_string_free(json);
    hypeman_instance_free(vm);

    hypeman_instances *all;
    DONE(hypeman_instance_list(hm, &all, &err));
    CHECK(hypeman_instances_count(all) == 1 && hypeman_instances_at(all, 1) == NULL);
    CHECK(strcmp(hypeman_instance_name(hypeman_instances_at(all, 0)), "vm1") == 0);
    hypeman_instances_free(all);
    DONE(hypeman_instance_get(hm, "vm1i", &vm, &err));
    hypeman_instance_free(vm);
    REFUSED(HYPEMAN_STATUS_NOT_FOUND, "nobody", hypeman_instance_get(hm, "nobody", &vm, &err));
}

static int hear(const hypeman_progress *progress, void *user)
{
    *(int *)user |= 1 << progress->phase;
    return 0;
}

static hypeman_snapshot *create(hypeman_handle *hm)
{
    const hypeman_tag tags[] = {{"team", "backend"}, {"env", ""}};
    int heard = 0;
    hypeman_call_options call = HYPEMAN_CALL_OPTIONS_INIT;
    call.timeout_ms = 60000;
    call.progress = hear;
    call.user = &heard;
    hypeman_create_options options = HYPEMAN_CREATE_OPTIONS_INIT;
    options.kind = HYPEMAN_KIND_STOPPED;
    options.name = "baseline";
    options.tags = tags;
    options.tag_count = 2;
    options.call = &call;

    hypeman_snapshot *s;
    DONE(hypeman_snapshot_create(hm, "vm1", &options, &s, &err));
    CHECK(heard & 1 << HYPEMAN_PHASE_SYNCING);
    hypeman_snapshot *second;
    REFUSED(HYPEMAN_STATUS_CONFLICT, "baseline", hypeman_snapshot_create(hm, "vm1", &options, &second, &err));
    CHECK(second == NULL);
    return s;
}

static void every_field_is_there(const hypeman_snapshot *s)
{
    uint64_t bytes = 7;
    CHECK(strlen(hypeman_snapshot_id(s)) == 24);
    CHECK(hypeman_snapshot_created_at(s)[10] == 'T' && hypeman_snapshot_created_at_unix_ms(s) > 1700000000000);
    CHECK(hypeman_snapshot_kind(s) == HYPEMAN_KIND_STOPPED);
    CHECK(strcmp(hypeman_snapshot_kind_name(s), "Stopped") == 0);
    CHECK(hypeman_snapshot_size_bytes(s) >= 65536);
    CHECK(strcmp(hypeman_snapshot_source_hypervisor(s), "qemu") == 0);
    CHECK(strcmp(hypeman_snapshot_source_instance_id(s), "vm1id") == 0);
    CHECK(strcmp(hypeman_snapshot_source_instance_name(s), "vm1") == 0);
    CHECK(strcmp(hypeman_snapshot_name(s), "baseline") == 0);
    CHECK(hypeman_snapshot_tag_count(s) == 2 && hypeman_snapshot_tag_key(s, 2) == NULL);
    CHECK(strcmp(hypeman_snapshot_tag_key(s, 0), "env") == 0 && strcmp(hypeman_snapshot_tag_value(s, 0), "") == 0);
    CHECK(strcmp(hypeman_snapshot_tag_value(s, 1), "backend") == 0);
    /* Memory is what is compressed, and a stopped VM has none. */
    CHECK(hypeman_snapshot_compression(s) == NULL && hypeman_snapshot_compression_error(s) == NULL);
    CHECK(hypeman_snapshot_compressed_size_bytes(s, &bytes) == 0 && bytes == 0);
    CHECK(hypeman_snapshot_uncompressed_size_bytes(s, &bytes) == 0 && bytes == 0);
    const char *state = hypeman_snapshot_compression_state(s);
    CHECK(state == NULL || strcmp(state, "none") == 0);
    char *json = hypeman_snapshot_to_json(s);
    CHECK(strstr(json, hypeman_snapshot_id(s)) != NULL && strstr(json, "null") == NULL);
    hypeman_string_free(json);
}

static hypeman_snapshots *list(hypeman_handle *hm, const char *kind, const char *team)
{
    hypeman_snapshots *found;
    const hypeman_tag tag = {"team", team};
    hypeman_list_options options = HYPEMAN_LIST_OPTIONS_INIT;
    options.kind_name = kind;
    options.tags = &tag;
    options.tag_count = 1;
    DONE(hypeman_snapshot_list(hm, &options, &found, &err));
    return found;
}

static void inspect(hypeman_handle *hm, const char *id)
{
    hypeman_inspection *inspection;
    double ms;
    DONE(hypeman_snapshot_inspect(hm, id, &inspection, &err));
    CHECK(strcmp(hypeman_snapshot_id(hypeman_inspection_snapshot(inspection)), id) == 0);
    CHECK(hypeman_inspection_allocated_bytes(inspection) > 0);
    CHECK(hypeman_inspection_paused_ms(inspection, &ms) == 0); /* it did not run */
    CHECK(strcmp(hypeman_inspection_source_state(inspection), "Stopped") == 0);
    CHECK(strcmp(hypeman_inspection_libhypeman_version(inspection), HYPEMAN_VERSION) == 0);
    uint64_t disk = 0;
    for (size_t i = 0; i < hypeman_inspection_file_count(inspection); i++)
        if (strstr(hypeman_inspection_file_path(inspection, i), "disk.raw") != NULL)
            disk = hypeman_inspection_file_size_bytes(inspection, i);
    CHECK(disk == 65536);
    char *json = hypeman_inspection_to_json(inspection);
    CHECK(strstr(json, "\"host\"") != NULL);
    hypeman_string_free(json);
    hypeman_inspection_free(inspection);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    hypeman_handle *hm = open_store(argv[1]);
    register_vm(hm, argv[1]);
    hypeman_snapshot *made = create(hm);
    every_field_is_there(made);
    CHECK(heard_of_the_capture == 1);

    hypeman_snapshots *found = list(hm, "Stopped", "backend");
    hypeman_snapshots *none = list(hm, "Standby", "backend");
    CHECK(hypeman_snapshots_count(found) == 1 && hypeman_snapshots_at(found, 1) == NULL);
    CHECK(hypeman_snapshots_count(none) == 0 && hypeman_snapshots_at(none, 0) == NULL);
    hypeman_snapshots_free(none);

    const char *id = hypeman_snapshot_id(made);
    hypeman_snapshot *got;
    DONE(hypeman_snapshot_get(hm, id, &got, &err));
    every_field_is_there(got);
    hypeman_snapshot_free(got);
    REFUSED(HYPEMAN_STATUS_NOT_FOUND, "baseline", hypeman_snapshot_get(hm, "baseline", &got, &err));
    DONE(hypeman_snapshot_wait(hm, id, NULL, &got, &err)); /* nothing to wait for */
    hypeman_snapshot_free(got);
    inspect(hm, id);

    DONE(hypeman_snapshot_delete(hm, id, &err));
    CHECK(hypeman_snapshot_get(hm, id, &got, &err) == HYPEMAN_STATUS_NOT_FOUND);
    CHECK(got == NULL && strcmp(hypeman_error_id(err), id) == 0);
    hypeman_error_free(err);
    err = NULL;
    DONE(hypeman_instance_unregister(hm, "vm1", &err));
    DONE(hypeman_finish(hm, NULL, &err));
    hypeman_close(hm);

    /* Objects outlive the handle, and what they speak of. */
    every_field_is_there(made);
    every_field_is_there(hypeman_snapshots_at(found, 0));
    hypeman_snapshot_free(made);
    hypeman_snapshots_free(found);
    return 0;
}
