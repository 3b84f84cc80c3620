/* What the programs here share: say where it went wrong, and fail. */
#ifndef CHECK_H
#define CHECK_H

#include <hypeman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
            exit(1); \
        } \
    } while (0)

/* The call succeeds; `err` is the variable that it puts its error into. */
#define DONE(call) \
    do { \
        hypeman_status status_ = (call); \
        if (status_ != HYPEMAN_STATUS_OK) { \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, hypeman_error_message(err)); \
            exit(1); \
        } \
        CHECK(err == NULL); \
    } while (0)

/* The call is refused with this status and an error object of its own, which says `words`. */
#define REFUSED(expected, words, call) \
    do { \
        hypeman_status status_ = (call); \
        if (status_ != (expected) || err == NULL || strstr(hypeman_error_message(err), words) == NULL) { \
            fprintf(stderr, "%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call, hypeman_status_code(status_), \
                    err == NULL ? "no error" : hypeman_error_message(err)); \
            exit(1); \
        } \
        CHECK(hypeman_error_status(err) == status_); \
        CHECK(strcmp(hypeman_error_code(err), hypeman_status_code(status_)) == 0); \
        hypeman_error_free(err); \
        err = NULL; \
    } while (0)

#endif
