/* What steps of a case have opened: memory images and pagers, by the name under which they were saved. Part of runner.c. */

enum { MOST_OPENED = 8 };

static struct opened {
    const char *name;
    hypeman_memory *memory;
    hypeman_pager *pager;
} opened[MOST_OPENED];

static struct opened *find_opened(const char *name)
{
    for (int i = 0; i < MOST_OPENED && opened[i].name != NULL; i++)
        if (strcmp(opened[i].name, name) == 0) return &opened[i];
    give_up("nothing was opened as", name);
    return NULL;
}

static void keep_opened(const char *name, hypeman_memory *memory, hypeman_pager *pager)
{
    int i = 0;
    while (i < MOST_OPENED && opened[i].name != NULL) i++;
    if (name == NULL || i == MOST_OPENED) give_up("no room for", name != NULL ? name : "what has no name");
    opened[i] = (struct opened){name, memory, pager};
}

static void close_opened(void)
{
    for (int i = 0; i < MOST_OPENED; i++) {
        hypeman_memory_free(opened[i].memory);
        hypeman_pager_free(opened[i].pager);
    }
}

static uint64_t number(const cJSON *args, const char *name)
{
    const cJSON *given = item(args, name);
    return given != NULL ? (uint64_t)given->valuedouble : 0;
}

/* `object` as text, which it frees. */
static char *printed(cJSON *object)
{
    char *json = cJSON_PrintUnformatted(object), *made = copy(json);
    cJSON_free(json);
    cJSON_Delete(object);
    return made;
}

static char *open_memory(const char *id, const char *save)
{
    hypeman_memory *memory;
    if (hypeman_snapshot_memory(hm, id, &memory, &err) != HYPEMAN_STATUS_OK) return NULL;
    keep_opened(save, memory, NULL);
    cJSON *told = cJSON_CreateObject();
    cJSON_AddStringToObject(told, "snapshot_id", hypeman_memory_snapshot_id(memory));
    cJSON_AddStringToObject(told, "path", hypeman_memory_path(memory));
    cJSON_AddNumberToObject(told, "size_bytes", (double)hypeman_memory_size_bytes(memory));
    return printed(told);
}

static char *read_memory(const hypeman_memory *memory, const cJSON *args)
{
    size_t length = number(args, "length"), done;
    unsigned char *bytes = malloc(length + 1);
    char *text = malloc(2 * length + 3), *end = text;
    if (bytes == NULL || text == NULL) give_up("out of memory", "a read");
    hypeman_status status = hypeman_memory_read(memory, number(args, "offset"), bytes, length, &done, &err);
    *end++ = '"';
    for (size_t i = 0; i < done; i++) end += sprintf(end, "%02x", bytes[i]);
    strcpy(end, "\"");
    free(bytes);
    if (status == HYPEMAN_STATUS_OK) return text;
    free(text);
    return NULL;
}

static char *extents(const hypeman_memory *memory)
{
    static const char *const kinds[] = {"", "data", "zero", "hole"};
    hypeman_extents *list;
    if (hypeman_memory_extents(memory, &list, &err) != HYPEMAN_STATUS_OK) return NULL;
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < hypeman_extents_count(list); i++) {
        const hypeman_extent *extent = hypeman_extents_at(list, i);
        cJSON *one = cJSON_CreateObject();
        cJSON_AddNumberToObject(one, "offset", (double)extent->offset);
        cJSON_AddNumberToObject(one, "size_bytes", (double)extent->size_bytes);
        cJSON_AddStringToObject(one, "kind", kinds[extent->kind]);
        cJSON_AddItemToArray(array, one);
    }
    hypeman_extents_free(list);
    return printed(array);
}

static char *ranges(const hypeman_memory *memory)
{
    hypeman_ranges *list;
    if (hypeman_memory_ranges(memory, &list, &err) != HYPEMAN_STATUS_OK) return NULL;
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < hypeman_ranges_count(list); i++) {
        const hypeman_range *range = hypeman_ranges_at(list, i);
        cJSON *one = cJSON_CreateObject();
        cJSON_AddNumberToObject(one, "guest_address", (double)range->guest_address);
        cJSON_AddNumberToObject(one, "offset", (double)range->offset);
        cJSON_AddNumberToObject(one, "size_bytes", (double)range->size_bytes);
        cJSON_AddItemToArray(array, one);
    }
    hypeman_ranges_free(list);
    return printed(array);
}

static char *serve_memory(const cJSON *args, const char *save)
{
    hypeman_pager *pager;
    hypeman_serve_options options = HYPEMAN_SERVE_OPTIONS_INIT;
    const cJSON *spin = item(args, "spin_us"), *cpu;
    uint32_t cpus[8];
    cJSON_ArrayForEach(cpu, item(args, "cpus")) cpus[options.cpu_count++] = (uint32_t)cpu->valuedouble;
    options.cpus = options.cpu_count > 0 ? cpus : NULL;
    options.socket = text(args, "socket");
    options.cache_bytes = number(args, "cache_bytes");
    options.no_prefetch = cJSON_IsFalse(item(args, "prefetch"));
    options.fill = cJSON_IsTrue(item(args, "fill"));
    if (spin != NULL) options.spin_us = spin->valuedouble > 0 ? (int32_t)spin->valuedouble : -1;
    if (hypeman_snapshot_serve_memory(hm, text(args, "id"), &options, &pager, &err) != HYPEMAN_STATUS_OK)
        return NULL;
    keep_opened(save, NULL, pager);
    cJSON *told = cJSON_CreateObject();
    cJSON_AddStringToObject(told, "snapshot_id", hypeman_pager_snapshot_id(pager));
    cJSON_AddStringToObject(told, "socket", hypeman_pager_socket(pager));
    return printed(told);
}

static char *metrics(const hypeman_pager *pager)
{
    hypeman_metrics *told;
    if (hypeman_pager_metrics(pager, &told, &err) != HYPEMAN_STATUS_OK) return NULL;
    char *json = owned(hypeman_metrics_to_json(told));
    hypeman_metrics_free(told);
    return json;
}

/* A call on what was opened. */
static char *call_opened(const char *name, const cJSON *args)
{
    hypeman_call_options watched;
    struct opened *of = find_opened(text(args, "of"));
    if (strcmp(name, "memory.read_at") == 0) return read_memory(of->memory, args);
    if (strcmp(name, "memory.extents") == 0) return extents(of->memory);
    if (strcmp(name, "memory.ranges") == 0) return ranges(of->memory);
    if (strcmp(name, "pager.metrics") == 0) return metrics(of->pager);
    if (strcmp(name, "pager.wait") == 0)
        return hypeman_pager_wait(of->pager, limit(args, &watched), &err) == HYPEMAN_STATUS_OK ? copy("null") : NULL;
    if (strcmp(name, "pager.stop") == 0)
        return hypeman_pager_stop(of->pager, &err) == HYPEMAN_STATUS_OK ? copy("null") : NULL;
    if (strcmp(name, "memory.close") != 0) give_up("no such call", name);
    hypeman_memory_free(of->memory);
    of->memory = NULL;
    return copy("null");
}
