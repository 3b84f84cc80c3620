/* How a call is ended: token, time limit, callback, a handle that was shut down; and kinds that there are not.
   WORK holds vm/disk.raw; WORK/data is made here. */
#include "check.h"

static hypeman_error *err;
static hypeman_handle *hm;
static hypeman_snapshot *snapshot;

static hypeman_status create(int32_t kind, const hypeman_call_options *call)
{
    hypeman_create_options options = HYPEMAN_CREATE_OPTIONS_INIT;
    options.kind = kind;
    options.call = call;
    return hypeman_snapshot_create(hm, "vm1", &options, &snapshot, &err);
}

static int stop(const hypeman_progress *progress, void *user)
{
    CHECK(progress->phase >= HYPEMAN_PHASE_PREPARING && progress->phase <= HYPEMAN_PHASE_COMPRESSING);
    CHECK(progress->bytes_total == 0 || progress->bytes_done <= progress->bytes_total);
    ++*(int *)user;
    return 1;
}

static void a_cancelled_token_ends_calls(void)
{
    hypeman_cancel *token = hypeman_cancel_new();
    hypeman_call_options call = HYPEMAN_CALL_OPTIONS_INIT;
    call.cancel = token;
    hypeman_cancel_request(token);
    REFUSED(HYPEMAN_STATUS_CANCELLED, "cancelled", create(HYPEMAN_KIND_STOPPED, &call));
    hypeman_cancel_free(token);
}

static void a_callback_that_answers_non_zero_ends_the_call(void)
{
    int heard = 0;
    hypeman_call_options call = HYPEMAN_CALL_OPTIONS_INIT;
    call.progress = stop;
    call.user = &heard;
    REFUSED(HYPEMAN_STATUS_CANCELLED, "cancelled", create(HYPEMAN_KIND_STOPPED, &call));
    CHECK(heard == 1);
}

static void a_limit_that_is_over_ends_the_call(void)
{
    hypeman_call_options call = HYPEMAN_CALL_OPTIONS_INIT;
    call.timeout_ms = HYPEMAN_TIMEOUT_AT_ONCE;
    REFUSED(HYPEMAN_STATUS_TIMEOUT, "timeout", create(HYPEMAN_KIND_STOPPED, &call));
}

static void an_unknown_kind_is_refused(void)
{
    REFUSED(HYPEMAN_STATUS_INVALID_REQUEST, "\"0\"", create(0, NULL));
    REFUSED(HYPEMAN_STATUS_INVALID_REQUEST, "\"3\"", create(3, NULL));
    hypeman_snapshots *found;
    hypeman_list_options options = HYPEMAN_LIST_OPTIONS_INIT;
    options.kind_name = "standby";
    REFUSED(HYPEMAN_STATUS_INVALID_REQUEST, "\"standby\"", hypeman_snapshot_list(hm, &options, &found, &err));
}

static void nothing_is_left_of_what_was_ended(void)
{
    hypeman_snapshots *found;
    DONE(hypeman_snapshot_list(hm, NULL, &found, &err));
    CHECK(hypeman_snapshots_count(found) == 0);
    hypeman_snapshots_free(found);
}

static void a_handle_that_was_shut_down_says_so(void)
{
    hypeman_snapshots *found;
    hypeman_shutdown(hm);
    hypeman_shutdown(hm);
    REFUSED(HYPEMAN_STATUS_CLOSED, "", hypeman_snapshot_list(hm, NULL, &found, &err));
    REFUSED(HYPEMAN_STATUS_CLOSED, "", create(HYPEMAN_KIND_STOPPED, NULL));
}

int main(int argc, char **argv)
{
    char data[512], directory[512];
    CHECK(argc == 2);
    snprintf(data, sizeof data, "%s/data", argv[1]);
    snprintf(directory, sizeof directory, "%s/vm", argv[1]);
    DONE(hypeman_open(data, NULL, &hm, &err));
    hypeman_instance *vm;
    hypeman_register_options options = HYPEMAN_REGISTER_OPTIONS_INIT;
    options.name = "vm1";
    options.hypervisor = "qemu";
    options.directory = directory;
    DONE(hypeman_instance_register(hm, &options, &vm, &err));
    hypeman_instance_free(vm);

    a_cancelled_token_ends_calls();
    a_callback_that_answers_non_zero_ends_the_call();
    a_limit_that_is_over_ends_the_call();
    an_unknown_kind_is_refused();
    nothing_is_left_of_what_was_ended();
    a_handle_that_was_shut_down_says_so();
    hypeman_close(hm);
    return 0;
}
