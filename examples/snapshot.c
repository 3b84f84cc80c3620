/* Takes a compressed snapshot of a running VM that is registered as `demo`.
 *
 * After `cargo xtask setup`, from the root of the clone:
 * cc -Iinclude examples/snapshot.c -Ltarget/release -lhypeman -Wl,-rpath,$PWD/target/release -o snapshot
 * ./snapshot DATA_DIR
 */
#include <hypeman.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    hypeman_handle *hm = NULL;
    hypeman_snapshot *snapshot = NULL;
    hypeman_error *error = NULL;
    hypeman_create_options options = HYPEMAN_CREATE_OPTIONS_INIT;
    hypeman_compression zstd = HYPEMAN_COMPRESSION_INIT;
    int taken;

    if (argc != 2) {
        fprintf(stderr, "usage: %s DATA_DIR\n", argv[0]);
        return 2;
    }
    options.kind = HYPEMAN_KIND_STANDBY;
    options.name = "from-c";
    options.compression = &zstd;
    taken = hypeman_open(argv[1], NULL, &hm, &error) == HYPEMAN_STATUS_OK
        && hypeman_snapshot_create(hm, "demo", &options, &snapshot, &error) == HYPEMAN_STATUS_OK;
    if (taken)
        printf("took %s (%s)\n", hypeman_snapshot_name(snapshot), hypeman_snapshot_id(snapshot));
    else
        fprintf(stderr, "%s\n", hypeman_error_message(error));
    hypeman_error_free(error);
    hypeman_snapshot_free(snapshot);
    hypeman_close(hm);
    return taken ? 0 : 1;
}
