/* Plays a conformance case through the C API. ../README.md is the protocol. */
#include <cjson/cJSON.h>
#include <hypeman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hypeman_handle *hm;
static hypeman_error *err;
static cJSON *saved;

static void give_up(const char *what, const char *which)
{
    fprintf(stderr, "runner: %s: %s\n", what, which);
    exit(2);
}

static char *copy(const char *text)
{
    char *made = malloc(strlen(text) + 1);
    if (made == NULL) give_up("out of memory", text);
    return strcpy(made, text);
}

/* `text`, which it frees, with each `from` replaced by `to`. */
static char *replace(char *text, const char *from, const char *to)
{
    for (char *found = strstr(text, from); found != NULL;) {
        size_t before = (size_t)(found - text);
        char *made = malloc(strlen(text) + strlen(to) + 1);
        if (made == NULL) give_up("out of memory", from);
        memcpy(made, text, before);
        strcpy(made + before, to);
        strcat(made, found + strlen(from));
        free(text);
        text = made;
        found = strstr(text + before + strlen(to), from);
    }
    return text;
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) give_up("cannot read", path);
    long size = ftell(file);
    char *text = calloc(1, (size_t)size + 1);
    rewind(file);
    if (text == NULL || fread(text, 1, (size_t)size, file) != (size_t)size) give_up("cannot read", path);
    fclose(file);
    return text;
}

/* Replaces ${name.field} in every string beneath `value` by that field of a saved result. */
static void expand(cJSON *value)
{
    const cJSON *result, *field;
    cJSON *child;
    cJSON_ArrayForEach(child, value) expand(child);
    if (!cJSON_IsString(value)) return;
    char *text = copy(cJSON_GetStringValue(value));
    cJSON_ArrayForEach(result, saved) {
        cJSON_ArrayForEach(field, result) {
            char name[256];
            snprintf(name, sizeof name, "${%s.%s}", result->string, field->string);
            if (cJSON_IsString(field)) text = replace(text, name, cJSON_GetStringValue(field));
        }
    }
    cJSON_SetValuestring(value, text);
    free(text);
}

/* The arguments of a step, as the structs of the library. What is left out stays NULL. */

static const cJSON *item(const cJSON *args, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(args, name);
}

static const char *text(const cJSON *args, const char *name)
{
    return cJSON_GetStringValue(item(args, name));
}

static const hypeman_compression *compression(const cJSON *args, hypeman_compression *room)
{
    const hypeman_compression init = HYPEMAN_COMPRESSION_INIT;
    const cJSON *given = item(args, "compression"), *level = item(given, "level");
    if (given == NULL) return NULL;
    *room = init;
    room->enabled = cJSON_IsTrue(item(given, "enabled"));
    room->algorithm = text(given, "algorithm");
    room->has_level = level != NULL;
    room->level = level != NULL ? (int64_t)level->valuedouble : 0;
    return room;
}

static const hypeman_call_options *limit(const cJSON *args, hypeman_call_options *room)
{
    const hypeman_call_options init = HYPEMAN_CALL_OPTIONS_INIT;
    const cJSON *timeout = item(args, "timeout_ms");
    if (timeout == NULL) return NULL;
    *room = init;
    room->timeout_ms = timeout->valuedouble > 0 ? (uint64_t)timeout->valuedouble : HYPEMAN_TIMEOUT_AT_ONCE;
    return room;
}

static hypeman_tag *tags(const cJSON *args, size_t *count)
{
    const cJSON *given = item(args, "tags"), *tag;
    *count = 0;
    if (given == NULL) return NULL;
    hypeman_tag *made = calloc((size_t)cJSON_GetArraySize(given) + 1, sizeof *made);
    if (made == NULL) give_up("out of memory", "tags");
    cJSON_ArrayForEach(tag, given) {
        made[*count].key = tag->string;
        made[(*count)++].value = cJSON_GetStringValue(tag);
    }
    return made;
}

/* Results: a JSON text that the caller frees, NULL after a failure. */

static char *owned(char *given)
{
    if (given == NULL) give_up("not JSON", "a result");
    char *made = copy(given);
    hypeman_string_free(given);
    return made;
}

static char *an_instance(hypeman_instance *instance)
{
    if (instance == NULL) return NULL;
    char *json = owned(hypeman_instance_to_json(instance));
    hypeman_instance_free(instance);
    return json;
}

static char *a_snapshot(hypeman_snapshot *snapshot)
{
    if (snapshot == NULL) return NULL;
    char *json = owned(hypeman_snapshot_to_json(snapshot));
    hypeman_snapshot_free(snapshot);
    return json;
}

/* `array` with `element`, which it frees, at its end. */
static char *append(char *array, char *element)
{
    char *made = malloc(strlen(array) + strlen(element) + 3);
    if (made == NULL) give_up("out of memory", "a list");
    array[strlen(array) - 1] = '\0';
    sprintf(made, "%s%s%s]", array, strlen(array) > 1 ? "," : "", element);
    free(array);
    free(element);
    return made;
}

/* The calls. */

static char *register_instance(const cJSON *args)
{
    hypeman_compression room;
    hypeman_instance *instance;
    hypeman_register_options options = HYPEMAN_REGISTER_OPTIONS_INIT;
    const cJSON *given = item(args, "disks"), *disk;
    hypeman_disk *disks = calloc((size_t)cJSON_GetArraySize(given) + 1, sizeof *disks);
    if (disks == NULL) give_up("out of memory", "disks");
    cJSON_ArrayForEach(disk, given) {
        disks[options.disk_count].path = text(disk, "path");
        disks[options.disk_count++].readonly = cJSON_IsTrue(item(disk, "readonly"));
    }
    options.name = text(args, "name");
    options.hypervisor = text(args, "hypervisor");
    options.id = text(args, "id");
    options.api_socket = text(args, "api_socket");
    options.directory = text(args, "directory");
    options.disks = disks;
    options.compression = compression(args, &room);
    options.staging_directory = text(args, "staging_directory");
    options.staging_directory_in_vmm = text(args, "staging_directory_in_vmm");
    options.exclusive_snapshots = cJSON_IsTrue(item(args, "exclusive_snapshots"));
    hypeman_instance_register(hm, &options, &instance, &err);
    free(disks);
    return an_instance(instance);
}

static char *list_instances(void)
{
    hypeman_instances *list;
    if (hypeman_instance_list(hm, &list, &err) != HYPEMAN_STATUS_OK) return NULL;
    char *array = copy("[]");
    for (size_t i = 0; i < hypeman_instances_count(list); i++)
        array = append(array, owned(hypeman_instance_to_json(hypeman_instances_at(list, i))));
    hypeman_instances_free(list);
    return array;
}

static char *create(const cJSON *args)
{
    hypeman_compression settings;
    hypeman_call_options watched;
    hypeman_snapshot *snapshot;
    hypeman_create_options options = HYPEMAN_CREATE_OPTIONS_INIT;
    hypeman_tag *given = tags(args, &options.tag_count);
    options.kind_name = text(args, "kind");
    options.name = text(args, "name");
    options.tags = given;
    options.compression = compression(args, &settings);
    options.call = limit(args, &watched);
    hypeman_snapshot_create(hm, text(args, "id"), &options, &snapshot, &err);
    free(given);
    return a_snapshot(snapshot);
}

static char *restore(const cJSON *args)
{
    hypeman_instance *instance;
    hypeman_restore_options options = HYPEMAN_RESTORE_OPTIONS_INIT;
    options.target_state = text(args, "target_state");
    options.duplicates = text(args, "duplicates");
    hypeman_snapshot_restore(hm, text(args, "snapshot_id"), text(args, "id"), &options, &instance, &err);
    return an_instance(instance);
}

static char *fork_snapshot(const cJSON *args)
{
    hypeman_instance *instance;
    hypeman_disk_place disks[8];
    hypeman_restore_options restored = HYPEMAN_RESTORE_OPTIONS_INIT;
    hypeman_fork_options options = HYPEMAN_FORK_OPTIONS_INIT;
    const cJSON *place;
    cJSON_ArrayForEach(place, cJSON_GetObjectItemCaseSensitive(args, "disks")) {
        disks[options.disk_count].from = place->string;
        disks[options.disk_count++].to = place->valuestring;
    }
    restored.target_state = text(args, "target_state");
    restored.duplicates = text(args, "duplicates");
    options.directory = text(args, "directory");
    options.disks = disks;
    options.restore = &restored;
    hypeman_snapshot_fork(hm, text(args, "id"), text(args, "name"), &options, &instance, &err);
    return an_instance(instance);
}

static char *list_snapshots(const cJSON *args)
{
    hypeman_snapshots *list;
    hypeman_list_options options = HYPEMAN_LIST_OPTIONS_INIT;
    hypeman_tag *given = tags(args, &options.tag_count);
    options.kind_name = text(args, "kind");
    options.name = text(args, "name");
    options.source_instance_id = text(args, "source_instance_id");
    options.tags = given;
    hypeman_snapshot_list(hm, &options, &list, &err);
    free(given);
    if (list == NULL) return NULL;
    char *array = copy("[]");
    for (size_t i = 0; i < hypeman_snapshots_count(list); i++)
        array = append(array, owned(hypeman_snapshot_to_json(hypeman_snapshots_at(list, i))));
    hypeman_snapshots_free(list);
    return array;
}

static char *inspect(const char *id)
{
    hypeman_inspection *inspection;
    if (hypeman_snapshot_inspect(hm, id, &inspection, &err) != HYPEMAN_STATUS_OK) return NULL;
    char *json = owned(hypeman_inspection_to_json(inspection));
    hypeman_inspection_free(inspection);
    return json;
}

static char *verify(const char *id)
{
    hypeman_verification *report;
    if (hypeman_snapshot_verify(hm, id, NULL, &report, &err) != HYPEMAN_STATUS_OK) return NULL;
    char *json = owned(hypeman_verification_to_json(report));
    hypeman_verification_free(report);
    return json;
}

#include "opened.h"

static char *call(const char *name, const cJSON *args, const char *save)
{
    const char *id = text(args, "id");
    hypeman_instance *instance;
    hypeman_snapshot *snapshot;
    hypeman_call_options watched;
    hypeman_compression settings;

    if (item(args, "of") != NULL) return call_opened(name, args);
    if (strcmp(name, "snapshots.memory") == 0) return open_memory(id, save);
    if (strcmp(name, "snapshots.serve_memory") == 0) return serve_memory(args, save);
    if (strcmp(name, "instances.register") == 0) return register_instance(args);
    if (strcmp(name, "instances.list") == 0) return list_instances();
    if (strcmp(name, "instances.snapshots.create") == 0) return create(args);
    if (strcmp(name, "instances.snapshots.restore") == 0) return restore(args);
    if (strcmp(name, "snapshots.fork") == 0) return fork_snapshot(args);
    if (strcmp(name, "snapshots.list") == 0) return list_snapshots(args);
    if (strcmp(name, "snapshots.inspect") == 0) return inspect(id);
    if (strcmp(name, "snapshots.verify") == 0) return verify(id);
    if (strcmp(name, "instances.get") == 0) {
        hypeman_instance_get(hm, id, &instance, &err);
        return an_instance(instance);
    }
    if (strcmp(name, "instances.unregister") == 0)
        return hypeman_instance_unregister(hm, id, &err) == HYPEMAN_STATUS_OK ? copy("null") : NULL;
    if (strcmp(name, "snapshots.delete") == 0)
        return hypeman_snapshot_delete(hm, id, &err) == HYPEMAN_STATUS_OK ? copy("null") : NULL;
    if (strcmp(name, "finish") == 0)
        return hypeman_finish(hm, limit(args, &watched), &err) == HYPEMAN_STATUS_OK ? copy("null") : NULL;
    if (strcmp(name, "snapshots.get") == 0) {
        hypeman_snapshot_get(hm, id, &snapshot, &err);
    } else if (strcmp(name, "snapshots.wait") == 0) {
        hypeman_snapshot_wait(hm, id, limit(args, &watched), &snapshot, &err);
    } else if (strcmp(name, "snapshots.compress") == 0) {
        hypeman_snapshot_compress(hm, id, compression(args, &settings), &snapshot, &err);
    } else if (strcmp(name, "snapshots.cancel_compression") == 0) {
        hypeman_snapshot_cancel_compression(hm, id, &snapshot, &err);
    } else if (strcmp(name, "close") == 0) {
        hypeman_shutdown(hm);
        return copy("null");
    } else {
        give_up("no such call", name);
    }
    return a_snapshot(snapshot);
}

static void print_error(void)
{
    cJSON *line = cJSON_CreateObject(), *error = cJSON_AddObjectToObject(line, "error");
    cJSON_AddStringToObject(error, "code", hypeman_error_code(err));
    cJSON_AddStringToObject(error, "message", hypeman_error_message(err));
    if (hypeman_error_id(err) != NULL) cJSON_AddStringToObject(error, "id", hypeman_error_id(err));
    if (hypeman_error_path(err) != NULL) cJSON_AddStringToObject(error, "path", hypeman_error_path(err));
    char *json = cJSON_PrintUnformatted(line);
    puts(json);
    cJSON_free(json);
    cJSON_Delete(line);
    hypeman_error_free(err);
    err = NULL;
}

static void play(cJSON *step)
{
    cJSON *args = cJSON_GetObjectItemCaseSensitive(step, "args");
    if (args != NULL) expand(args);
    const char *name = text(step, "save");
    char *result = call(text(step, "call"), args, name);
    if (result == NULL) {
        print_error();
        return;
    }
    printf("{\"ok\":%s}\n", result);
    if (name != NULL) {
        cJSON_DeleteItemFromObjectCaseSensitive(saved, name);
        cJSON_AddItemToObject(saved, name, cJSON_Parse(result));
    }
    free(result);
}

static void open_store(const char *data, const cJSON *given)
{
    hypeman_compression room;
    hypeman_open_options options = HYPEMAN_OPEN_OPTIONS_INIT;
    const cJSON *threads = item(given, "threads");
    options.read_only = cJSON_IsTrue(item(given, "read_only"));
    options.compression = compression(given, &room);
    options.durability = text(given, "durability");
    options.threads = threads != NULL ? (uint32_t)threads->valuedouble : 0;
    hypeman_open(data, &options, &hm, &err);
}

int main(int argc, char **argv)
{
    if (argc != 4) give_up("usage", "runner CASE.json DATA_DIR WORK_DIR");
    char *source = replace(replace(read_file(argv[1]), "${work}", argv[3]), "${data}", argv[2]);
    cJSON *whole = cJSON_Parse(source), *step;
    free(source);
    if (whole == NULL) give_up("not JSON", argv[1]);
    saved = cJSON_CreateObject();
    open_store(argv[2], item(whole, "options"));
    if (hm == NULL) {
        print_error();
    } else {
        cJSON_ArrayForEach(step, item(whole, "steps")) play(step);
    }
    close_opened();
    hypeman_close(hm);
    cJSON_Delete(saved);
    cJSON_Delete(whole);
    return 0;
}
