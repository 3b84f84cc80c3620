/* What a host must not do, so that it is seen that the watchers of memory see it. */
#include "check.h"

int main(int argc, char **argv)
{
    hypeman_error *err = NULL;
    CHECK(argc == 2 && hypeman_selftest_panic(&err) == HYPEMAN_STATUS_INTERNAL);
    const char *volatile message = hypeman_error_message(err);
    if (strcmp(argv[1], "forgets") == 0) {
        message = NULL;
        err = NULL;
        return 0;
    }
    hypeman_error_free(err);
    if (strcmp(argv[1], "frees twice") == 0) hypeman_error_free(err);
    return strcmp(argv[1], "reads what is freed") == 0 && message[0] == 'x';
}
