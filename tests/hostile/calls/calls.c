/* Calls of the C ABI, chosen by bytes: any function after any other, with objects of earlier calls, with NULL, with texts
 * that are good, wrong, not UTF-8 or huge, and with options of any size. Whatever it is, the library answers as its
 * header says: a status that exists, an error exactly where something failed, an object exactly where nothing did.
 *
 * What no library can notice is left out: pointers that were freed, and options that claim more bytes than there are.
 */
#include "calls.h"

#include <hypeman.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SLOTS 4
#define COUNT(array) (sizeof(array) / sizeof *(array))

static void broken(const char *what, const char *call)
{
    fprintf(stderr, "%s: %s\n", call, what);
    abort();
}

/* The input. */
struct bytes {
    const uint8_t *at, *end;
};

static unsigned next(struct bytes *b)
{
    return b->at < b->end ? *b->at++ : 0;
}

/* What one sequence has made and not given back. */
struct objects {
    hypeman_handle *handle[SLOTS];
    hypeman_snapshot *snapshot[SLOTS];
    hypeman_snapshots *snapshots[SLOTS];
    hypeman_instance *instance[SLOTS];
    hypeman_instances *instances[SLOTS];
    hypeman_inspection *inspection[SLOTS];
    hypeman_verification *verification[SLOTS];
    hypeman_memory *memory[SLOTS];
    hypeman_extents *extents[SLOTS];
    hypeman_ranges *ranges[SLOTS];
    hypeman_pager *pager[SLOTS];
    hypeman_metrics *metrics[SLOTS];
    hypeman_cancel *cancel[SLOTS];
    hypeman_error *error[SLOTS];
};

/* Where it plays, and texts for every purpose; those of paths lie in `root`. */
static char data[256], vm[256], disk[256], fork_place[256], file[256], socket_place[256], nowhere[256], odd[256];
static char huge[70000];
static hypeman_handle *shared;
static char known_id[64];

static const char *path(struct bytes *b)
{
    const char *all[] = {NULL, data, vm, disk, fork_place, file, socket_place, nowhere, odd, ""};
    return all[next(b) % COUNT(all)];
}

static const char *word(struct bytes *b)
{
    const char *all[] = {NULL,     known_id,  "vm",       "fork",    "",         "Standby", "Stopped", "Running",
                         "qemu",   "firecracker", "zstd", "lz4",     "full",     "relaxed", "allow",   "a-name",
                         "UPPER",  "\xff\xfe", "../..",  "a/b",     huge,       "deny",    "cloud-hypervisor", "vm2"};
    return all[next(b) % COUNT(all)];
}

/* A size that options may have: right, one of an older library, of a newer one, or nonsense. */
static size_t size_of(struct bytes *b, size_t right)
{
    switch (next(b) % 8) {
    case 0: return right - 8;
    case 1: return right + 8 * (next(b) % 5);
    case 2: return next(b) % (right + 33);
    default: return right;
    }
}

/* Options with zeros, or others, behind them. */
#define OPTIONS(type, name)                                                                                    \
    struct {                                                                                                   \
        type given;                                                                                            \
        uint8_t behind[32];                                                                                    \
    } name;                                                                                                    \
    memset(&name, 0, sizeof name);                                                                             \
    name.given.struct_size = size_of(b, sizeof(type));                                                         \
    if (next(b) % 16 == 0) name.behind[next(b) % 32] = 1

#define OR_NULL(pointer) (next(b) % 8 == 0 ? NULL : (pointer))
#define SLOT(kind) (o->kind[next(b) % SLOTS])

/* The handle of this sequence, or the one that all threads share; never one that is freed. */
static const hypeman_handle *any_handle(struct bytes *b, struct objects *o)
{
    unsigned which = next(b) % 8;
    return which < SLOTS ? o->handle[which] : shared;
}

static int go_on(const hypeman_progress *progress, void *user)
{
    (void)progress;
    return user != NULL;
}

static const char *text_of(const char *text)
{
    /* Reads it to its end. */
    if (text != NULL && strlen(text) > 1 << 20) broken("a text without an end", "lent");
    return text;
}

/* What must hold after each call that fails or not. */
static void answered(const char *call, hypeman_status status, const void *made, int has_out, hypeman_error **err,
                     struct objects *o, struct bytes *b)
{
    if (hypeman_status_code(status) == NULL || status == HYPEMAN_STATUS_INTERNAL) broken("an impossible status", call);
    if (has_out && (made != NULL) != (status == HYPEMAN_STATUS_OK)) broken("an object without success, or the reverse", call);
    if (err == NULL) return;
#ifdef CALLS_CONTROL
    /* As if the library had forgotten one. */
    if (*err != NULL && status == HYPEMAN_STATUS_NOT_FOUND) hypeman_error_free(*err), *err = NULL;
#endif
    if ((*err != NULL) != (status != HYPEMAN_STATUS_OK)) broken("an error without failure, or the reverse", call);
    if (*err == NULL) return;
    if (hypeman_error_status(*err) != status || text_of(hypeman_error_message(*err)) == NULL) broken("another error", call);
    hypeman_error **kept = &SLOT(error);
    hypeman_error_free(*kept);
    *kept = *err;
}

/* A call that makes an object, into a slot whose old object is given back. */
#define MAKES(kind, type, free_it, call, ...)                                                                  \
    do {                                                                                                       \
        type *made = (type *)1;                                                                                \
        hypeman_error *error = (hypeman_error *)1, **err = OR_NULL(&error);                                    \
        type **out = OR_NULL(&made);                                                                           \
        hypeman_status status = call(__VA_ARGS__, out, err);                                                   \
        answered(#call, status, out == NULL ? NULL : made, out != NULL, err, o, b);                            \
        if (out == NULL) {                                                                                     \
            if (status == HYPEMAN_STATUS_OK) broken("success without a place for it", #call);                  \
        } else if (made != NULL) {                                                                             \
            type **slot = &SLOT(kind);                                                                         \
            free_it(*slot);                                                                                    \
            *slot = made;                                                                                      \
        }                                                                                                      \
    } while (0)

#define DOES(call, ...)                                                                                        \
    do {                                                                                                       \
        hypeman_error *error = (hypeman_error *)1, **err = OR_NULL(&error);                                    \
        hypeman_status status = call(__VA_ARGS__, err);                                                        \
        answered(#call, status, NULL, 0, err, o, b);                                                           \
    } while (0)

#define JSON(call, object)                                                                                     \
    do {                                                                                                       \
        char *json = call(object);                                                                             \
        text_of(json);                                                                                         \
        hypeman_string_free(json);                                                                             \
    } while (0)

/* Calls that change something. */
static void change(struct bytes *b, struct objects *o)
{
    OPTIONS(hypeman_compression, compression);
    compression.given.enabled = (int32_t)(next(b) % 3);
    compression.given.has_level = (int32_t)(next(b) % 2);
    compression.given.level = (int64_t)(int8_t)next(b);
    compression.given.algorithm = next(b) % 2 ? "zstd" : word(b);
    OPTIONS(hypeman_call_options, call);
    /* Never without an end: someone may be waited for who never comes. */
    call.given.timeout_ms = next(b) % 4 == 0 ? HYPEMAN_TIMEOUT_AT_ONCE : 1 + next(b);
    call.given.cancel = SLOT(cancel);
    call.given.progress = next(b) % 4 == 0 ? go_on : NULL;
    call.given.user = next(b) % 2 ? &call : NULL;
    call.given.struct_size = sizeof(hypeman_call_options);
    hypeman_tag tags[2] = {{"team", word(b)}, {word(b), "v"}};
    const hypeman_handle *hm = any_handle(b, o);

    switch (next(b) % 16) {
    case 0: {
        OPTIONS(hypeman_open_options, open);
        open.given.read_only = (int32_t)(next(b) % 2);
        open.given.threads = next(b) % 3;
        open.given.durability = next(b) % 2 ? NULL : word(b);
        open.given.compression = OR_NULL(&compression.given);
        const char *where = path(b);
        /* NULL is /var/lib/hypeman. */
        MAKES(handle, hypeman_handle, hypeman_close, hypeman_open, where == NULL ? data : where, OR_NULL(&open.given));
        return;
    }
    case 1: {
        hypeman_handle **slot = &SLOT(handle);
        if (next(b) % 2) {
            hypeman_shutdown(*slot);
        } else {
            hypeman_close(*slot);
            *slot = NULL;
        }
        return;
    }
    case 2: DOES(hypeman_finish, hm, &call.given); return;
    case 3: {
        OPTIONS(hypeman_register_options, request);
        hypeman_disk disks[2] = {{path(b), 0, 0}, {disk, 1, next(b) % 8 == 0}};
        request.given.name = word(b);
        request.given.hypervisor = word(b);
        request.given.id = next(b) % 2 ? NULL : word(b);
        request.given.api_socket = next(b) % 2 ? NULL : path(b);
        request.given.directory = path(b);
        request.given.disks = OR_NULL(disks);
        request.given.disk_count = next(b) % 3;
        request.given.compression = OR_NULL(&compression.given);
        MAKES(instance, hypeman_instance, hypeman_instance_free, hypeman_instance_register, hm, OR_NULL(&request.given));
        return;
    }
    case 4: DOES(hypeman_instance_unregister, hm, word(b)); return;
    case 5:
    case 6: {
        OPTIONS(hypeman_create_options, create);
        create.given.kind = (int32_t)(next(b) % 5) - 1;
        create.given.kind_name = next(b) % 4 ? NULL : word(b);
        create.given.name = next(b) % 4 ? NULL : word(b);
        create.given.tags = OR_NULL(tags);
        create.given.tag_count = next(b) % 3;
        create.given.compression = next(b) % 2 ? NULL : &compression.given;
        create.given.call = &call.given;
        MAKES(snapshot, hypeman_snapshot, hypeman_snapshot_free, hypeman_snapshot_create, hm, next(b) % 2 ? "vm" : word(b),
              OR_NULL(&create.given));
        return;
    }
    case 7:
    case 8: {
        const char *id = next(b) % 4 ? hypeman_snapshot_id(SLOT(snapshot)) : word(b);
        /* The one that is known stays. */
        if (id == NULL || strcmp(id, known_id) != 0) DOES(hypeman_snapshot_delete, hm, id);
        return;
    }
    case 9:
        MAKES(snapshot, hypeman_snapshot, hypeman_snapshot_free, hypeman_snapshot_compress, hm,
              hypeman_snapshot_id(SLOT(snapshot)), OR_NULL(&compression.given));
        return;
    case 10:
        MAKES(snapshot, hypeman_snapshot, hypeman_snapshot_free, hypeman_snapshot_cancel_compression, hm,
              hypeman_snapshot_id(SLOT(snapshot)));
        return;
    case 11:
        MAKES(snapshot, hypeman_snapshot, hypeman_snapshot_free, hypeman_snapshot_wait, hm, word(b), &call.given);
        return;
    case 12:
    case 13: {
        OPTIONS(hypeman_restore_options, restore);
        OPTIONS(hypeman_fork_options, fork);
        hypeman_network_override override = {word(b), word(b)};
        hypeman_disk_place place = {disk, path(b)};
        restore.given.target_state = next(b) % 2 ? NULL : word(b);
        restore.given.api_socket = next(b) % 4 ? NULL : path(b);
        restore.given.network_overrides = &override;
        restore.given.network_override_count = next(b) % 8 == 0;
        restore.given.on_demand = next(b) % 8 == 0;
        restore.given.duplicates = next(b) % 4 ? NULL : word(b);
        restore.given.call = &call.given;
        if (next(b) % 2) {
            MAKES(instance, hypeman_instance, hypeman_instance_free, hypeman_snapshot_restore, hm, word(b), word(b),
                  OR_NULL(&restore.given));
        } else {
            fork.given.directory = next(b) % 2 ? fork_place : path(b);
            fork.given.disks = &place;
            fork.given.disk_count = next(b) % 2;
            fork.given.restore = OR_NULL(&restore.given);
            MAKES(instance, hypeman_instance, hypeman_instance_free, hypeman_snapshot_fork, hm, word(b), word(b),
                  OR_NULL(&fork.given));
        }
        return;
    }
    case 14: {
        OPTIONS(hypeman_serve_options, serve);
        uint32_t cpus[1] = {next(b)};
        serve.given.socket = next(b) % 2 ? socket_place : path(b);
        serve.given.cache_bytes = next(b);
        serve.given.cpus = OR_NULL(cpus);
        serve.given.cpu_count = next(b) % 8 == 0;
        MAKES(pager, hypeman_pager, hypeman_pager_free, hypeman_snapshot_serve_memory, hm, word(b), OR_NULL(&serve.given));
        return;
    }
    default:
        switch (next(b) % 4) {
        case 0: DOES(hypeman_pager_wait, SLOT(pager), &call.given); return;
        case 1: DOES(hypeman_pager_stop, SLOT(pager)); return;
        case 2: {
            hypeman_cancel **slot = &SLOT(cancel);
            hypeman_cancel_free(*slot);
            *slot = hypeman_cancel_new();
            return;
        }
        default: hypeman_cancel_request(SLOT(cancel)); return;
        }
    }
}

/* Calls that read of the store. */
static void look(struct bytes *b, struct objects *o)
{
    const hypeman_handle *hm = any_handle(b, o);
    const char *id = next(b) % 2 ? known_id : word(b);
    switch (next(b) % 10) {
    case 0: {
        OPTIONS(hypeman_list_options, list);
        hypeman_tag tags[1] = {{word(b), word(b)}};
        list.given.kind = (int32_t)(next(b) % 4) - 1;
        list.given.name = next(b) % 2 ? NULL : word(b);
        list.given.tags = OR_NULL(tags);
        list.given.tag_count = next(b) % 2;
        MAKES(snapshots, hypeman_snapshots, hypeman_snapshots_free, hypeman_snapshot_list, hm, OR_NULL(&list.given));
        return;
    }
    case 1: MAKES(snapshot, hypeman_snapshot, hypeman_snapshot_free, hypeman_snapshot_get, hm, id); return;
    case 2: MAKES(inspection, hypeman_inspection, hypeman_inspection_free, hypeman_snapshot_inspect, hm, id); return;
    case 3: MAKES(verification, hypeman_verification, hypeman_verification_free, hypeman_snapshot_verify, hm, id, NULL); return;
    case 4: MAKES(memory, hypeman_memory, hypeman_memory_free, hypeman_snapshot_memory, hm, id); return;
    case 5: MAKES(instance, hypeman_instance, hypeman_instance_free, hypeman_instance_get, hm, word(b)); return;
    case 6: MAKES(instances, hypeman_instances, hypeman_instances_free, hypeman_instance_list, hm); return;
    case 7: MAKES(extents, hypeman_extents, hypeman_extents_free, hypeman_memory_extents, SLOT(memory)); return;
    case 8: MAKES(ranges, hypeman_ranges, hypeman_ranges_free, hypeman_memory_ranges, SLOT(memory)); return;
    default: MAKES(metrics, hypeman_metrics, hypeman_metrics_free, hypeman_pager_metrics, SLOT(pager)); return;
    }
}

/* Calls that read of an object. */
static void read_of(struct bytes *b, struct objects *o)
{
    size_t at = next(b) % 4 == 0 ? SIZE_MAX - next(b) : next(b) % 4;
    uint64_t number;
    double ms;
    switch (next(b) % 12) {
    case 0: {
        uint8_t buffer[512];
        size_t read = 0;
        uint64_t offset = next(b) % 4 == 0 ? UINT64_MAX - next(b) : next(b) * 700ull;
        DOES(hypeman_memory_read, SLOT(memory), offset, OR_NULL(buffer), sizeof buffer - next(b), OR_NULL(&read));
        if (read > sizeof buffer) broken("more than there is room for", "hypeman_memory_read");
        return;
    }
    case 1: {
        const hypeman_snapshot *s = SLOT(snapshot);
        if (next(b) % 2) s = hypeman_snapshots_at(SLOT(snapshots), at);
        text_of(hypeman_snapshot_id(s)), text_of(hypeman_snapshot_name(s)), text_of(hypeman_snapshot_created_at(s));
        text_of(hypeman_snapshot_kind_name(s)), text_of(hypeman_snapshot_compression_state(s));
        text_of(hypeman_snapshot_compression_error(s)), text_of(hypeman_snapshot_tag_key(s, at));
        text_of(hypeman_snapshot_tag_value(s, at)), text_of(hypeman_snapshot_source_instance_name(s));
        hypeman_snapshot_compressed_size_bytes(s, OR_NULL(&number));
        hypeman_snapshot_uncompressed_size_bytes(s, OR_NULL(&number));
        hypeman_snapshot_compression(s), hypeman_snapshot_size_bytes(s), hypeman_snapshot_created_at_unix_ms(s);
        JSON(hypeman_snapshot_to_json, s);
        return;
    }
    case 2: {
        const hypeman_instance *i = SLOT(instance);
        if (next(b) % 2) i = hypeman_instances_at(SLOT(instances), at);
        text_of(hypeman_instance_id(i)), text_of(hypeman_instance_name(i)), text_of(hypeman_instance_state(i));
        text_of(hypeman_instance_origin(i)), text_of(hypeman_instance_disk_path(i, at));
        hypeman_instance_disk_readonly(i, at), hypeman_instance_generation(i, OR_NULL(&number));
        text_of(hypeman_instance_api_socket(i)), text_of(hypeman_instance_directory(i));
        JSON(hypeman_instance_to_json, i);
        return;
    }
    case 3: {
        const hypeman_inspection *i = SLOT(inspection);
        text_of(hypeman_inspection_file_path(i, at)), hypeman_inspection_file_size_bytes(i, at);
        hypeman_inspection_file_allocated_bytes(i, at), hypeman_inspection_paused_ms(i, OR_NULL(&ms));
        text_of(hypeman_inspection_memory_file(i)), text_of(hypeman_inspection_memory_format(i));
        hypeman_inspection_snapshot(i), hypeman_inspection_generation(i);
        JSON(hypeman_inspection_to_json, i);
        return;
    }
    case 4: {
        const hypeman_verification *v = SLOT(verification);
        text_of(hypeman_verification_file_path(v, at)), text_of(hypeman_verification_file_status(v, at));
        text_of(hypeman_verification_defect_path(v, at)), text_of(hypeman_verification_defect_message(v, at));
        hypeman_verification_defect_offset(v, at, OR_NULL(&number)), hypeman_verification_is_good(v);
        JSON(hypeman_verification_to_json, v);
        return;
    }
    case 5: {
        const hypeman_error *e = SLOT(error);
        text_of(hypeman_error_code(e)), text_of(hypeman_error_path(e)), text_of(hypeman_error_id(e));
        hypeman_error_errno(e);
        JSON(hypeman_error_to_json, e);
        return;
    }
    case 6: {
        const hypeman_metrics *m = SLOT(metrics);
        hypeman_metrics_vms(m), hypeman_metrics_fault_us(m, at), text_of(hypeman_metrics_last_error(m));
        JSON(hypeman_metrics_to_json, m);
        return;
    }
    case 7: text_of(hypeman_memory_path(SLOT(memory))), hypeman_memory_size_bytes(SLOT(memory)); return;
    case 8: hypeman_extents_at(SLOT(extents), at), hypeman_extents_count(SLOT(extents)); return;
    case 9: hypeman_ranges_at(SLOT(ranges), at), hypeman_ranges_count(SLOT(ranges)); return;
    case 10: text_of(hypeman_pager_socket(SLOT(pager))), text_of(hypeman_pager_snapshot_id(SLOT(pager))); return;
    default:
        text_of(hypeman_data_dir(any_handle(b, o))), text_of(hypeman_status_code((int32_t)(int8_t)next(b)));
        hypeman_status_http((int32_t)(int8_t)next(b)), hypeman_string_free(NULL);
        return;
    }
}

static void give_back(struct objects *o, unsigned slot)
{
#define FREE(kind, free_it) free_it(o->kind[slot]), o->kind[slot] = NULL
    FREE(pager, hypeman_pager_free);
    FREE(metrics, hypeman_metrics_free);
    FREE(extents, hypeman_extents_free);
    FREE(ranges, hypeman_ranges_free);
    FREE(memory, hypeman_memory_free);
    FREE(verification, hypeman_verification_free);
    FREE(inspection, hypeman_inspection_free);
    FREE(snapshots, hypeman_snapshots_free);
    FREE(snapshot, hypeman_snapshot_free);
    FREE(instances, hypeman_instances_free);
    FREE(instance, hypeman_instance_free);
    FREE(error, hypeman_error_free);
    FREE(cancel, hypeman_cancel_free);
    FREE(handle, hypeman_close);
}

uint64_t calls_play(const uint8_t *bytes, size_t size)
{
    struct bytes input = {bytes, bytes + size}, *b = &input;
    struct objects objects = {0}, *o = &objects;
    uint64_t count = 0;
    for (; b->at < b->end; count++) {
        unsigned what = next(b);
        if (what < 24)
            change(b, o);
        else if (what < 80)
            look(b, o);
        else if (what < 250)
            read_of(b, o);
        else
            give_back(o, what % SLOTS);
    }
    for (unsigned slot = 0; slot < SLOTS; slot++) give_back(o, slot);
    return count;
}

static void put(const char *at, const char *name, const void *bytes, size_t size)
{
    char to[600];
    snprintf(to, sizeof to, "%s/%s", at, name);
    FILE *out = fopen(to, "w");
    if (out == NULL || fwrite(bytes, 1, size, out) != size || fclose(out) != 0) broken(to, "fopen");
}

void calls_prepare(const char *root)
{
    char image[300];
    static const char memory[20000];
    snprintf(data, sizeof data, "%s/data", root);
    snprintf(vm, sizeof vm, "%s/vm", root);
    snprintf(disk, sizeof disk, "%s/disk.raw", root);
    snprintf(fork_place, sizeof fork_place, "%s/fork", root);
    snprintf(file, sizeof file, "%s/file", root);
    snprintf(socket_place, sizeof socket_place, "%s/socket", root);
    snprintf(nowhere, sizeof nowhere, "%s/no/such", root);
    snprintf(odd, sizeof odd, "%s/odd\xff", root);
    memset(huge, 'x', sizeof huge - 1);
    mkdir(vm, 0700);
    snprintf(image, sizeof image, "%s/snapshots", vm);
    mkdir(image, 0700);
    strcat(image, "/snapshot-latest");
    mkdir(image, 0700);
    put(image, "memory", memory, sizeof memory);
    put(root, "disk.raw", "a disk", 6);
    put(root, "file", "a file", 6);
    hypeman_register_options request = HYPEMAN_REGISTER_OPTIONS_INIT;
    hypeman_create_options create = HYPEMAN_CREATE_OPTIONS_INIT;
    hypeman_snapshot *made = NULL;
    request.name = "vm", request.hypervisor = "firecracker", request.directory = vm;
    create.kind = HYPEMAN_KIND_STANDBY;
    hypeman_instance *instance = NULL;
    if (hypeman_open(data, NULL, &shared, NULL) != HYPEMAN_STATUS_OK) broken("no store", "hypeman_open");
    if (hypeman_instance_register(shared, &request, &instance, NULL) != HYPEMAN_STATUS_OK) broken("no VM", "register");
    if (hypeman_snapshot_create(shared, "vm", &create, &made, NULL) != HYPEMAN_STATUS_OK) broken("no snapshot", "create");
    snprintf(known_id, sizeof known_id, "%s", hypeman_snapshot_id(made));
    hypeman_instance_free(instance);
    hypeman_snapshot_free(made);
}
