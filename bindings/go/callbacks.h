/* What the library calls back, and what that is given: a handle of Go's as a pointer, never a pointer of Go's. */
#ifndef HYPEMAN_GO_CALLBACKS_H
#define HYPEMAN_GO_CALLBACKS_H

#include <hypeman.h>

extern int hypemanGoProgress(hypeman_progress *progress, void *user);
extern void hypemanGoLog(int32_t level, char *message, char *id, void *user);

/* A number in the place of a pointer, which nobody follows. */
static inline void *hypemanGoKeep(uintptr_t handle) { return (void *)handle; }
static inline uintptr_t hypemanGoKept(void *user) { return (uintptr_t)user; }

#endif
