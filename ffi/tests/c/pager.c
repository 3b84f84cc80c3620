/* A pager is started, asked, and stopped. WORK holds standby/, a VM with guest memory. */
#include "check.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static hypeman_error *err;

static hypeman_handle *open_store(const char *work)
{
    char data[512];
    hypeman_handle *hm;
    snprintf(data, sizeof data, "%s/data", work);
    DONE(hypeman_open(data, NULL, &hm, &err));
    return hm;
}

/* Puts the id of a snapshot with memory that has pages into `id`, which has room for 32. */
static void snapshot_for_a_pager(hypeman_handle *hm, const char *work, char *id)
{
    char directory[512];
    hypeman_instance *vm;
    hypeman_snapshot *made, *done;
    hypeman_compression compression = HYPEMAN_COMPRESSION_INIT;
    hypeman_create_options creation = HYPEMAN_CREATE_OPTIONS_INIT;
    hypeman_register_options options = HYPEMAN_REGISTER_OPTIONS_INIT;
    snprintf(directory, sizeof directory, "%s/standby", work);
    options.name = "standby";
    options.hypervisor = "firecracker";
    options.directory = directory;
    DONE(hypeman_instance_register(hm, &options, &vm, &err));
    hypeman_instance_free(vm);
    creation.kind = HYPEMAN_KIND_STANDBY;
    creation.compression = &compression;
    DONE(hypeman_snapshot_create(hm, "standby", &creation, &made, &err));
    DONE(hypeman_snapshot_wait(hm, hypeman_snapshot_id(made), NULL, &done, &err));
    snprintf(id, 32, "%s", hypeman_snapshot_id(done));
    hypeman_snapshot_free(made);
    hypeman_snapshot_free(done);
}

/* Says what is no handshake, and hangs up when that was noticed. */
static void a_stranger_comes(hypeman_pager *pager)
{
    struct sockaddr_un address = {AF_UNIX, {0}};
    hypeman_metrics *metrics = NULL;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), tries = 0;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", hypeman_pager_socket(pager));
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(write(fd, "hello", 5) == 5);
    do {
        hypeman_metrics_free(metrics);
        CHECK(poll(NULL, 0, 10) == 0 && ++tries < 3000);
        DONE(hypeman_pager_metrics(pager, &metrics, &err));
    } while (hypeman_metrics_errors(metrics) == 0);
    CHECK(strstr(hypeman_metrics_last_error(metrics), "refused") != NULL);
    CHECK(hypeman_metrics_vms(metrics) + hypeman_metrics_vms_seen(metrics) + hypeman_metrics_vms_whole(metrics) == 0);
    CHECK(hypeman_metrics_faults(metrics) == 0 && hypeman_metrics_fault_us(metrics, 5) == 0);
    CHECK(hypeman_metrics_fault_us(metrics, 4000) == 0 && hypeman_metrics_copied_bytes(metrics) == 0);
    CHECK(hypeman_metrics_zero_bytes(metrics) + hypeman_metrics_prefetched_bytes(metrics)
              + hypeman_metrics_filled_bytes(metrics) == 0);
    {
        char *json = hypeman_metrics_to_json(metrics);
        CHECK(strstr(json, "\"faults\":0") != NULL);
        hypeman_string_free(json);
    }
    hypeman_metrics_free(metrics);
    close(fd);
}

int main(int argc, char **argv)
{
    char id[32], socket_path[512];
    uint32_t cpus[] = {0, 100000};
    struct stat found;
    hypeman_handle *hm;
    hypeman_pager *pager, *second;
    hypeman_metrics *metrics;
    hypeman_serve_options options = HYPEMAN_SERVE_OPTIONS_INIT;
    hypeman_call_options at_once = HYPEMAN_CALL_OPTIONS_INIT;
    CHECK(argc == 2);
    hm = open_store(argv[1]);
    snapshot_for_a_pager(hm, argv[1], id);

    DONE(hypeman_snapshot_serve_memory(hm, id, NULL, &pager, &err));
    CHECK(strcmp(hypeman_pager_snapshot_id(pager), id) == 0);
    CHECK(stat(hypeman_pager_socket(pager), &found) == 0 && (found.st_mode & 0777) == 0600);
    a_stranger_comes(pager);
    REFUSED(HYPEMAN_STATUS_BUSY, "being read", hypeman_snapshot_delete(hm, id, &err));
    at_once.timeout_ms = HYPEMAN_TIMEOUT_AT_ONCE;
    REFUSED(HYPEMAN_STATUS_TIMEOUT, "timeout", hypeman_pager_wait(pager, &at_once, &err));

    snprintf(socket_path, sizeof socket_path, "%s/p", argv[1]);
    options.socket = socket_path;
    options.cache_bytes = 1 << 20;
    options.cpus = cpus;
    options.cpu_count = 1;
    options.spin_us = -1;
    options.fill = 1;
    options.no_prefetch = 1;
    DONE(hypeman_snapshot_serve_memory(hm, id, &options, &second, &err));
    CHECK(strcmp(hypeman_pager_socket(second), socket_path) == 0);
    {
        hypeman_pager *none;
        REFUSED(HYPEMAN_STATUS_CONFLICT, "there already", hypeman_snapshot_serve_memory(hm, id, &options, &none, &err));
        CHECK(none == NULL);
        options.socket = "relative";
        REFUSED(HYPEMAN_STATUS_INVALID_REQUEST, "absolute", hypeman_snapshot_serve_memory(hm, id, &options, &none, &err));
        options.socket = NULL;
        options.cpus = cpus + 1;
        REFUSED(HYPEMAN_STATUS_INVALID_REQUEST, "cpus", hypeman_snapshot_serve_memory(hm, id, &options, &none, &err));
        options.cpu_count = 0;
        options.spin_us = 1001;
        REFUSED(HYPEMAN_STATUS_INVALID_REQUEST, "spin_us", hypeman_snapshot_serve_memory(hm, id, &options, &none, &err));
        REFUSED(HYPEMAN_STATUS_NOT_FOUND, "not found", hypeman_snapshot_serve_memory(hm, "x", NULL, &none, &err));
    }
    DONE(hypeman_pager_stop(second, &err));
    DONE(hypeman_pager_stop(second, &err));
    CHECK(stat(socket_path, &found) != 0);
    REFUSED(HYPEMAN_STATUS_CLOSED, "stopped", hypeman_pager_wait(second, NULL, &err));
    hypeman_pager_free(second);

    /* It ends with its handle; what it did can be asked after that. */
    snprintf(socket_path, sizeof socket_path, "%s", hypeman_pager_socket(pager));
    hypeman_close(hm);
    CHECK(stat(socket_path, &found) != 0);
    DONE(hypeman_pager_metrics(pager, &metrics, &err));
    CHECK(hypeman_metrics_errors(metrics) == 1);
    hypeman_metrics_free(metrics);
    hypeman_pager_free(pager);

    REFUSED(HYPEMAN_STATUS_INVALID_REQUEST, "the pager", hypeman_pager_stop(NULL, &err));
    CHECK(hypeman_pager_socket(NULL) == NULL && hypeman_metrics_vms(NULL) == 0 && hypeman_metrics_to_json(NULL) == NULL);
    hypeman_pager_free(NULL);
    hypeman_metrics_free(NULL);
    return 0;
}
