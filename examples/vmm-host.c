/* A VM host: it runs a VM under QEMU, takes a checkpoint every few seconds, keeps the newest ones, and when the VM dies
 * it brings it back from the newest. SIGINT and SIGTERM end the host and its VM.
 *
 * After `cargo xtask setup`, from the root of the clone:
 * cc -Iinclude examples/vmm-host.c -Ltarget/release -lhypeman -Wl,-rpath,$PWD/target/release -o vmm-host
 * ./vmm-host DATA_DIR VM_DIR SECONDS qemu-system-x86_64 -m 1G -drive file=VM_DIR/disk.raw,if=virtio,format=raw ...
 *
 * VM_DIR, an absolute path, has the disks of the VM, which QEMU's arguments name, and a directory `logs` for what is
 * not to be captured. The host adds a monitor for the library.
 */
#define _POSIX_C_SOURCE 200809L
#include <hypeman.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { KEPT = 3, TICK_MS = 50, START_MS = 10000 };

static const char *const VM = "guest";
static hypeman_cancel *cancel;
static volatile sig_atomic_t is_over;

/* What a call that is under way hears, too: it ends, and the VM runs on until we end it. */
static void end(int signal)
{
    (void)signal;
    is_over = 1;
    hypeman_cancel_request(cancel);
}

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* Says what went wrong, unless it is the end that was asked for, and frees it. Returns 0. */
static int failed(const char *what, hypeman_error *error)
{
    if (!is_over)
        fprintf(stderr, "vmm-host: %s: %s\n", what, error ? hypeman_error_message(error) : strerror(errno));
    hypeman_error_free(error);
    return 0;
}

static void log_event(int32_t level, const char *message, const char *id, void *user)
{
    (void)user;
    if (level == HYPEMAN_LOG_LEVEL_WARNING)
        fprintf(stderr, "vmm-host: %s: %s\n", id, message);
}

struct host {
    hypeman_handle *hm;
    const char *directory;
    char **qemu; /* its command line, with room for what is added */
    int arguments;
    struct sockaddr_un monitor;
    pid_t pid; /* 0: the VM does not run */
    char checkpoints[KEPT][64]; /* ids, the newest first */
};

static int is_alive(struct host *host)
{
    if (host->pid && waitpid(host->pid, NULL, WNOHANG) == host->pid)
        host->pid = 0;
    return host->pid != 0;
}

/* Whether QEMU listens at its monitor. Looking takes its turn there, for a moment. */
static int listens(const struct host *host)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int found = connect(fd, (const struct sockaddr *)&host->monitor, sizeof host->monitor) == 0;
    close(fd);
    return found;
}

/* Starts QEMU, to boot or to wait for an image, and returns when it can be asked. */
static int start(struct host *host, int is_waiting)
{
    char monitor[sizeof host->monitor.sun_path + 32];
    int n = host->arguments, waited;

    snprintf(monitor, sizeof monitor, "unix:%s,server=on,wait=off", host->monitor.sun_path);
    host->qemu[n++] = "-qmp";
    host->qemu[n++] = monitor;
    if (is_waiting) {
        host->qemu[n++] = "-incoming";
        host->qemu[n++] = "defer";
    }
    host->qemu[n] = NULL;
    unlink(host->monitor.sun_path);
    host->pid = fork();
    if (host->pid == 0) {
        execvp(host->qemu[0], host->qemu);
        perror(host->qemu[0]);
        _exit(127);
    }
    for (waited = 0; is_alive(host) && !listens(host); waited += TICK_MS) {
        if (waited >= START_MS)
            return failed("QEMU does not open its monitor", NULL);
        sleep_ms(TICK_MS);
    }
    if (host->pid)
        printf("running %ld\n", (long)host->pid);
    return host->pid != 0;
}

static int tell_of_vm(struct host *host)
{
    hypeman_register_options options = HYPEMAN_REGISTER_OPTIONS_INIT;
    hypeman_instance *vm = NULL;
    hypeman_error *error = NULL;

    options.name = VM;
    options.hypervisor = "qemu";
    options.directory = host->directory;
    options.api_socket = host->monitor.sun_path;
    if (hypeman_instance_register(host->hm, &options, &vm, &error))
        return failed("cannot register the VM", error);
    hypeman_instance_free(vm);
    return 1;
}

/* Takes a checkpoint and drops the oldest. Where that fails the VM runs on, and the next one may succeed. */
static int checkpoint(struct host *host)
{
    hypeman_create_options options = HYPEMAN_CREATE_OPTIONS_INIT;
    hypeman_call_options call = HYPEMAN_CALL_OPTIONS_INIT;
    hypeman_compression fast = HYPEMAN_COMPRESSION_INIT;
    hypeman_snapshot *made = NULL;
    hypeman_error *error = NULL;
    const char *oldest = host->checkpoints[KEPT - 1];

    fast.algorithm = "lz4";
    call.cancel = cancel;
    call.timeout_ms = 60000;
    options.kind = HYPEMAN_KIND_STANDBY;
    options.compression = &fast;
    options.call = &call;
    if (hypeman_snapshot_create(host->hm, VM, &options, &made, &error))
        return failed("no checkpoint", error);
    if (*oldest && hypeman_snapshot_delete(host->hm, oldest, &error))
        failed("cannot drop the oldest checkpoint", error);
    memmove(host->checkpoints[1], host->checkpoints[0], sizeof host->checkpoints[0] * (KEPT - 1));
    snprintf(host->checkpoints[0], sizeof host->checkpoints[0], "%s", hypeman_snapshot_id(made));
    printf("checkpoint %s\n", host->checkpoints[0]);
    hypeman_snapshot_free(made);
    return 1;
}

static int restore(struct host *host, const char *target_state)
{
    hypeman_restore_options options = HYPEMAN_RESTORE_OPTIONS_INIT;
    hypeman_call_options call = HYPEMAN_CALL_OPTIONS_INIT;
    hypeman_instance *vm = NULL;
    hypeman_error *error = NULL;

    call.cancel = cancel;
    options.target_state = target_state;
    options.call = &call;
    if (hypeman_snapshot_restore(host->hm, host->checkpoints[0], VM, &options, &vm, &error))
        return failed("cannot restore the VM", error);
    hypeman_instance_free(vm);
    return 1;
}

/* QEMU opens its disks when it starts: they are put back first, and memory is loaded into the QEMU that has them. */
static int bring_back(struct host *host)
{
    if (!*host->checkpoints[0])
        return failed("the VM died before its first checkpoint", NULL);
    if (!restore(host, "Standby") || !start(host, 1) || !restore(host, "Running"))
        return 0;
    printf("restored %s\n", host->checkpoints[0]);
    return 1;
}

static int run(struct host *host, long seconds)
{
    long waited;

    if (!start(host, 0) || !tell_of_vm(host))
        return 0;
    while (!is_over) {
        for (waited = 0; waited < seconds * 1000 && !is_over && is_alive(host); waited += TICK_MS)
            sleep_ms(TICK_MS);
        if (is_over)
            break;
        if (is_alive(host))
            checkpoint(host);
        else if (!bring_back(host))
            return is_over;
    }
    return 1;
}

int main(int argc, char **argv)
{
    hypeman_open_options options = HYPEMAN_OPEN_OPTIONS_INIT;
    struct sigaction action = {0};
    hypeman_error *error = NULL;
    struct host host = {0};
    int is_good;

    if (argc < 5 || argv[2][0] != '/' || strlen(argv[2]) > 80 || atol(argv[3]) < 1) {
        fprintf(stderr, "usage: %s DATA_DIR VM_DIR SECONDS QEMU [ARGUMENT...]; VM_DIR is absolute and short\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    cancel = hypeman_cancel_new();
    action.sa_handler = end;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    host.directory = argv[2];
    host.monitor.sun_family = AF_UNIX;
    snprintf(host.monitor.sun_path, sizeof host.monitor.sun_path, "%s/hypeman.qmp", host.directory);
    host.arguments = argc - 4;
    host.qemu = calloc((size_t)host.arguments + 5, sizeof *host.qemu);
    if (!cancel || !host.qemu)
        return 1;
    memcpy(host.qemu, argv + 4, (size_t)host.arguments * sizeof *host.qemu);
    options.log = log_event;
    if (hypeman_open(argv[1], &options, &host.hm, &error))
        is_good = failed("cannot open the data directory", error);
    else
        is_good = run(&host, atol(argv[3]));
    if (is_alive(&host)) {
        kill(host.pid, SIGTERM);
        waitpid(host.pid, NULL, 0);
    }
    hypeman_close(host.hm);
    hypeman_cancel_free(cancel);
    free(host.qemu);
    return is_good ? 0 : 1;
}
