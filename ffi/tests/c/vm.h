/* What the programs about restored and verified snapshots share: a store, VMs, files. Include check.h first. */
#ifndef VM_H
#define VM_H

static hypeman_error *err;

/* The guest memory of `standby`: its first quarter is bytes i / 7, the rest zeros. */
enum { MEMORY_BYTES = 4 << 20 };

static unsigned char memory_at(size_t i)
{
    return i < MEMORY_BYTES / 4 ? (unsigned char)(i / 7) : 0;
}

static hypeman_handle *open_store(const char *work)
{
    char data[512];
    hypeman_handle *hm;
    snprintf(data, sizeof data, "%s/data", work);
    DONE(hypeman_open(data, NULL, &hm, &err));
    return hm;
}

/* Registers the VM whose directory is WORK/name. */
static void register_vm(hypeman_handle *hm, const char *work, const char *name)
{
    char directory[512];
    hypeman_instance *vm;
    hypeman_register_options options = HYPEMAN_REGISTER_OPTIONS_INIT;
    snprintf(directory, sizeof directory, "%s/%s", work, name);
    options.name = name;
    options.hypervisor = "qemu";
    options.directory = directory;
    DONE(hypeman_instance_register(hm, &options, &vm, &err));
    hypeman_instance_free(vm);
}

/* Takes a snapshot, compressed by `algorithm` unless that is NULL, waits for the end of that, and puts its id into
   `id`, which has room for 32. */
static void snapshot_of(hypeman_handle *hm, const char *vm, int32_t kind, const char *algorithm, char *id)
{
    hypeman_snapshot *made, *done;
    hypeman_compression compression = HYPEMAN_COMPRESSION_INIT;
    hypeman_create_options options = HYPEMAN_CREATE_OPTIONS_INIT;
    compression.algorithm = algorithm;
    options.kind = kind;
    if (algorithm != NULL) options.compression = &compression;
    DONE(hypeman_snapshot_create(hm, vm, &options, &made, &err));
    DONE(hypeman_snapshot_wait(hm, hypeman_snapshot_id(made), NULL, &done, &err));
    snprintf(id, 32, "%s", hypeman_snapshot_id(done));
    hypeman_snapshot_free(made);
    hypeman_snapshot_free(done);
}

/* Writes one byte into a file. */
static void put_byte(const char *path, long offset, int byte)
{
    FILE *file = fopen(path, "r+b");
    CHECK(file != NULL && fseek(file, offset, SEEK_SET) == 0 && fputc(byte, file) == byte && fclose(file) == 0);
}

#endif
