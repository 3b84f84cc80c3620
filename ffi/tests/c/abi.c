/* What needs no data directory: versions, statuses, NULL everywhere, options that cannot be, a panic. */
#include "check.h"

static hypeman_error *err;

static void the_library_is_as_old_as_its_header(void)
{
    char macros[32];
    snprintf(macros, sizeof macros, "%d.%d.%d", HYPEMAN_VERSION_MAJOR, HYPEMAN_VERSION_MINOR, HYPEMAN_VERSION_PATCH);
    CHECK(strcmp(hypeman_version(), HYPEMAN_VERSION) == 0);
    CHECK(strcmp(hypeman_version(), macros) == 0);
}

static void a_status_has_a_code_and_an_unknown_one_has_none(void)
{
    CHECK(strcmp(hypeman_status_code(HYPEMAN_STATUS_OK), "ok") == 0);
    CHECK(strcmp(hypeman_status_code(HYPEMAN_STATUS_INVALID_REQUEST), "invalid_request") == 0);
    CHECK(strcmp(hypeman_status_code(HYPEMAN_STATUS_INTERNAL), "internal") == 0);
    CHECK(hypeman_status_code(-1) == NULL);
    CHECK(hypeman_status_code(17) == NULL);
    CHECK(hypeman_status_http(HYPEMAN_STATUS_NOT_FOUND) == 404 && hypeman_status_http(17) == 0);
}

static void null_for_an_object_is_an_error_or_nothing(void)
{
    hypeman_snapshot *snapshot = (hypeman_snapshot *)&err; /* to be seen set to NULL */
    hypeman_instance *instance = NULL;
    hypeman_instances *instances = NULL;
    hypeman_snapshots *snapshots = NULL;
    hypeman_inspection *inspection = NULL;
    hypeman_create_options create = HYPEMAN_CREATE_OPTIONS_INIT;
    hypeman_register_options registration = HYPEMAN_REGISTER_OPTIONS_INIT;
    create.kind = HYPEMAN_KIND_STOPPED;
    registration.name = "vm1";
    registration.hypervisor = "qemu";

    const hypeman_status invalid = HYPEMAN_STATUS_INVALID_REQUEST;
    REFUSED(invalid, "the handle", hypeman_snapshot_create(NULL, "vm1", &create, &snapshot, &err));
    CHECK(snapshot == NULL);
    REFUSED(invalid, "instance must", hypeman_snapshot_create(NULL, NULL, &create, &snapshot, &err));
    REFUSED(invalid, "the output", hypeman_snapshot_create(NULL, "vm1", &create, NULL, &err));
    REFUSED(invalid, "the handle", hypeman_snapshot_list(NULL, NULL, &snapshots, &err));
    REFUSED(invalid, "the handle", hypeman_snapshot_get(NULL, "x", &snapshot, &err));
    REFUSED(invalid, "id must", hypeman_snapshot_get(NULL, NULL, &snapshot, &err));
    REFUSED(invalid, "the handle", hypeman_snapshot_delete(NULL, "x", &err));
    REFUSED(invalid, "the handle", hypeman_snapshot_wait(NULL, "x", NULL, &snapshot, &err));
    REFUSED(invalid, "the handle", hypeman_snapshot_compress(NULL, "x", NULL, &snapshot, &err));
    REFUSED(invalid, "the handle", hypeman_snapshot_cancel_compression(NULL, "x", &snapshot, &err));
    REFUSED(invalid, "the handle", hypeman_snapshot_inspect(NULL, "x", &inspection, &err));
    REFUSED(invalid, "the handle", hypeman_instance_register(NULL, &registration, &instance, &err));
    REFUSED(invalid, "name must", hypeman_instance_register(NULL, NULL, &instance, &err));
    REFUSED(invalid, "the handle", hypeman_instance_get(NULL, "x", &instance, &err));
    REFUSED(invalid, "the handle", hypeman_instance_list(NULL, &instances, &err));
    REFUSED(invalid, "the handle", hypeman_instance_unregister(NULL, "x", &err));
    REFUSED(invalid, "the output", hypeman_open("/nowhere", NULL, NULL, &err));
    CHECK(hypeman_snapshot_get(NULL, NULL, NULL, NULL) == invalid); /* and no error object is wanted */

    uint64_t bytes = 7;
    double ms = 7;
    CHECK(hypeman_snapshot_id(NULL) == NULL && hypeman_snapshot_size_bytes(NULL) == 0);
    CHECK(hypeman_snapshot_compressed_size_bytes(NULL, &bytes) == 0 && bytes == 0);
    CHECK(hypeman_snapshot_compressed_size_bytes(NULL, NULL) == 0);
    CHECK(hypeman_snapshot_tag_key(NULL, 0) == NULL && hypeman_snapshot_compression(NULL) == NULL);
    CHECK(hypeman_snapshot_to_json(NULL) == NULL && hypeman_snapshots_at(NULL, 0) == NULL);
    CHECK(hypeman_instance_id(NULL) == NULL && hypeman_instances_count(NULL) == 0);
    CHECK(hypeman_inspection_snapshot(NULL) == NULL);
    CHECK(hypeman_inspection_paused_ms(NULL, &ms) == 0 && ms == 0);
    CHECK(hypeman_error_status(NULL) == HYPEMAN_STATUS_OK && hypeman_error_message(NULL) == NULL);
    CHECK(hypeman_data_dir(NULL) == NULL);
    hypeman_cancel_request(NULL);
    hypeman_cancel_free(NULL);
    hypeman_shutdown(NULL);
    hypeman_close(NULL);
    hypeman_error_free(NULL);
    hypeman_string_free(NULL);
    hypeman_snapshot_free(NULL);
    hypeman_snapshots_free(NULL);
    hypeman_instance_free(NULL);
    hypeman_instances_free(NULL);
    hypeman_inspection_free(NULL);
}

static void options_that_cannot_be_are_refused_before_anything_else(void)
{
    hypeman_snapshot *snapshot;
    hypeman_snapshots *snapshots;
    hypeman_instance *instance;
    const hypeman_status invalid = HYPEMAN_STATUS_INVALID_REQUEST;

    hypeman_create_options create = HYPEMAN_CREATE_OPTIONS_INIT;
    create.struct_size = 0;
    REFUSED(invalid, "struct_size", hypeman_snapshot_create(NULL, "vm1", &create, &snapshot, &err));
    create.struct_size = sizeof create;
    create.reserved = 1;
    REFUSED(invalid, "reserved", hypeman_snapshot_create(NULL, "vm1", &create, &snapshot, &err));

    struct {
        hypeman_list_options known;
        uint64_t newer;
    } list = {HYPEMAN_LIST_OPTIONS_INIT, 1};
    list.known.struct_size = sizeof list;
    REFUSED(invalid, "newer than this library", hypeman_snapshot_list(NULL, &list.known, &snapshots, &err));
    list.newer = 0;
    REFUSED(invalid, "the handle", hypeman_snapshot_list(NULL, &list.known, &snapshots, &err));

    hypeman_list_options filter = HYPEMAN_LIST_OPTIONS_INIT;
    filter.name = "\xff\xfe";
    REFUSED(invalid, "name is not UTF-8", hypeman_snapshot_list(NULL, &filter, &snapshots, &err));
    filter.name = NULL;
    filter.tag_count = 1;
    REFUSED(invalid, "tags is NULL", hypeman_snapshot_list(NULL, &filter, &snapshots, &err));
    hypeman_tag tags[] = {{"team", "a"}, {"team", "b"}};
    filter.tags = tags;
    filter.tag_count = 2;
    REFUSED(invalid, "given twice", hypeman_snapshot_list(NULL, &filter, &snapshots, &err));
    tags[1].key = NULL;
    REFUSED(invalid, "key must not be NULL", hypeman_snapshot_list(NULL, &filter, &snapshots, &err));

    hypeman_compression compression = HYPEMAN_COMPRESSION_INIT;
    compression.level = 3;
    REFUSED(invalid, "has_level", hypeman_snapshot_compress(NULL, "x", &compression, &snapshot, &err));

    hypeman_disk disk = {"/disk.raw", 0, 1};
    hypeman_register_options registration = HYPEMAN_REGISTER_OPTIONS_INIT;
    registration.name = "vm1";
    REFUSED(invalid, "hypervisor must not be NULL", hypeman_instance_register(NULL, &registration, &instance, &err));
    registration.hypervisor = "qemu";
    registration.disks = &disk;
    registration.disk_count = 1;
    REFUSED(invalid, "reserved", hypeman_instance_register(NULL, &registration, &instance, &err));
}

static void a_panic_is_a_status_and_says_what_it_was(void)
{
    REFUSED(HYPEMAN_STATUS_INTERNAL, "self-test", hypeman_selftest_panic(&err));
    CHECK(hypeman_selftest_panic(NULL) == HYPEMAN_STATUS_INTERNAL);

    CHECK(hypeman_selftest_panic(&err) == HYPEMAN_STATUS_INTERNAL);
    char *json = hypeman_error_to_json(err);
    CHECK(strncmp(json, "{\"status\":16,\"code\":\"internal\",\"message\":\"", 42) == 0);
    CHECK(hypeman_error_path(err) == NULL && hypeman_error_id(err) == NULL && hypeman_error_errno(err) == 0);
    hypeman_string_free(json);
    hypeman_error_free(err);
    err = NULL;
}

int main(void)
{
    a_panic_is_a_status_and_says_what_it_was();
    the_library_is_as_old_as_its_header();
    a_status_has_a_code_and_an_unknown_one_has_none();
    null_for_an_object_is_an_error_or_nothing();
    options_that_cannot_be_are_refused_before_anything_else();
    return 0;
}
