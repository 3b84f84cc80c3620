/* SPDX-License-Identifier: Apache-2.0
 *
 * libhypeman: create, list and fetch snapshots of virtual machines, in this process.
 *
 *     hypeman_handle *hm; hypeman_snapshot *s; hypeman_error *err;
 *     if (hypeman_open("/var/lib/hypeman", NULL, &hm, &err)) goto failed;
 *     hypeman_create_options o = HYPEMAN_CREATE_OPTIONS_INIT;
 *     o.kind = HYPEMAN_KIND_STANDBY;
 *     if (hypeman_snapshot_create(hm, "nginx1", &o, &s, &err)) goto failed;
 *     puts(hypeman_snapshot_id(s));
 *     hypeman_snapshot_free(s);
 *     hypeman_close(hm);
 *
 * Errors. Calls return a status, 0 for success, and put an object that says more into err, to be freed with
 * hypeman_error_free; after a success *err is NULL. err itself may be NULL. What is in *err or *out before a call
 * is neither read nor freed. After a failure *out is NULL. out must not be NULL.
 *
 * Ownership. What comes out of a pointer to a pointer, or of a _new function, belongs to the caller, who frees it
 * with the _free function of its type, in any order: objects do not need the handle they were made with. What a
 * getter returns is borrowed and lives as long as its object; only texts of _to_json functions are to be freed, with
 * hypeman_string_free. Arguments are borrowed for the time of the call. Every function takes NULL for an object: calls
 * then answer HYPEMAN_STATUS_INVALID_REQUEST, getters NULL or 0, and _free functions do nothing.
 *
 * Threads. Calls block. A handle may be used by any number of threads at once; hypeman_close must be the last use of
 * it. All other objects are immutable, but for hypeman_cancel and hypeman_pager, made for use from several threads. After
 * fork(), a handle in the child answers HYPEMAN_STATUS_CLOSED.
 *
 * Texts are UTF-8 and end with NUL. Paths are bytes and end with NUL. Sizes are in bytes.
 *
 * Structs of options begin with struct_size: start from the _INIT macro of the struct, which sets it. A program then
 * runs with older and newer libraries; an option that the library does not know is refused, never ignored. NULL for
 * options means the defaults.
 *
 * Undefined, as ever in C: a pointer that is neither NULL nor valid, an object that is used or freed after it was
 * freed, a text without NUL, a struct_size or count larger than what is there. The library never exits, aborts,
 * prints, handles signals or changes the environment or working directory of its process; a defect of its own
 * is HYPEMAN_STATUS_INTERNAL.
 */

#ifndef HYPEMAN_H
#define HYPEMAN_H

#include <stddef.h>
#include <stdint.h>

/* The version of this header; hypeman_version() is that of the library which runs. */
#define HYPEMAN_VERSION "0.1.0"
#define HYPEMAN_VERSION_MAJOR 0
#define HYPEMAN_VERSION_MINOR 1
#define HYPEMAN_VERSION_PATCH 0

/* The defaults: what to begin with. */
#define HYPEMAN_OPEN_OPTIONS_INIT { sizeof(hypeman_open_options), 0, 0, 0, 0, NULL, NULL, NULL, NULL, 0, 0 }
#define HYPEMAN_REGISTER_OPTIONS_INIT \
    { sizeof(hypeman_register_options), NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, 0 }
#define HYPEMAN_CREATE_OPTIONS_INIT { sizeof(hypeman_create_options), 0, 0, NULL, NULL, NULL, 0, NULL, NULL }
#define HYPEMAN_LIST_OPTIONS_INIT { sizeof(hypeman_list_options), 0, 0, NULL, NULL, NULL, NULL, 0 }
#define HYPEMAN_RESTORE_OPTIONS_INIT \
    { sizeof(hypeman_restore_options), NULL, NULL, NULL, 0, 0, 0, NULL, NULL, NULL }
#define HYPEMAN_FORK_OPTIONS_INIT { sizeof(hypeman_fork_options), NULL, NULL, 0, NULL }
#define HYPEMAN_SERVE_OPTIONS_INIT { sizeof(hypeman_serve_options), NULL, 0, NULL, 0, 0, 0, 0, 0 }
#define HYPEMAN_CALL_OPTIONS_INIT { sizeof(hypeman_call_options), 0, NULL, NULL, NULL }
#define HYPEMAN_COMPRESSION_INIT { sizeof(hypeman_compression), 1, 0, 0, NULL }

/**
 * In hypeman_call_options.timeout_ms: a limit that is over at once. hypeman_snapshot_wait then only looks.
 */
#define HYPEMAN_TIMEOUT_AT_ONCE UINT64_MAX

/**
 * What a call answers. The numbers never change and are never reused; newer libraries may answer others.
 */
enum hypeman_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * It was done.
     */
    HYPEMAN_STATUS_OK = 0,
    /**
     * The arguments break a rule of the API; nothing was touched.
     */
    HYPEMAN_STATUS_INVALID_REQUEST = 1,
    /**
     * There is no such instance or snapshot.
     */
    HYPEMAN_STATUS_NOT_FOUND = 2,
    /**
     * A name is taken, or an id prefix is ambiguous.
     */
    HYPEMAN_STATUS_CONFLICT = 3,
    /**
     * The instance or snapshot is in a state that does not allow this.
     */
    HYPEMAN_STATUS_INVALID_STATE = 4,
    /**
     * The hypervisor, file system or platform cannot do this.
     */
    HYPEMAN_STATUS_NOT_SUPPORTED = 5,
    /**
     * A file of the store is damaged or hostile.
     */
    HYPEMAN_STATUS_CORRUPT = 6,
    /**
     * The snapshot does not fit this VMM or host.
     */
    HYPEMAN_STATUS_INCOMPATIBLE = 7,
    /**
     * The disk or a quota is full.
     */
    HYPEMAN_STATUS_NO_SPACE = 8,
    /**
     * The operating system refused access, or the file system is read-only.
     */
    HYPEMAN_STATUS_PERMISSION = 9,
    /**
     * Someone else is using it; try again later.
     */
    HYPEMAN_STATUS_BUSY = 10,
    /**
     * The VMM refused or failed; the message has its own words.
     */
    HYPEMAN_STATUS_HYPERVISOR = 11,
    /**
     * The time limit of the call, or of the VMM, was passed.
     */
    HYPEMAN_STATUS_TIMEOUT = 12,
    /**
     * The call was cancelled by its token or callback.
     */
    HYPEMAN_STATUS_CANCELLED = 13,
    /**
     * Any other error of the operating system.
     */
    HYPEMAN_STATUS_IO = 14,
    /**
     * The handle was shut down, or belongs to the process that forked this one.
     */
    HYPEMAN_STATUS_CLOSED = 15,
    /**
     * A defect of this library.
     */
    HYPEMAN_STATUS_INTERNAL = 16,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum hypeman_status hypeman_status;
#else
typedef int32_t hypeman_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a snapshot captures.
 */
enum hypeman_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Guest memory, device state and disks; the source is Running, Paused or Standby.
     */
    HYPEMAN_KIND_STANDBY = 1,
    /**
     * Disks only; the source is Stopped.
     */
    HYPEMAN_KIND_STOPPED = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum hypeman_kind hypeman_kind;
#else
typedef int32_t hypeman_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A part of a call.
 *
 * hypeman_snapshot_create reports the first four in the order of their numbers, and with offload_memory COMPRESSING
 * before SYNCING. hypeman_snapshot_restore and hypeman_snapshot_fork report SAVING_MEMORY and COPYING_DISKS while they
 * put files into place, and PREPARING while the VMM loads. hypeman_snapshot_wait and hypeman_finish report COMPRESSING,
 * hypeman_snapshot_verify VERIFYING.
 */
enum hypeman_phase
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Checks, locks, and copies of what the guest does not write: the VM runs. Or a VMM loads what was restored.
     */
    HYPEMAN_PHASE_PREPARING = 1,
    /**
     * The VMM writes the guest's memory, for which the VM is paused; or memory is put into place.
     */
    HYPEMAN_PHASE_SAVING_MEMORY = 2,
    /**
     * Disks are cloned or copied; for a create, the VM is paused.
     */
    HYPEMAN_PHASE_COPYING_DISKS = 3,
    /**
     * The snapshot is made durable. The VM runs again.
     */
    HYPEMAN_PHASE_SYNCING = 4,
    /**
     * Memory is being compressed.
     */
    HYPEMAN_PHASE_COMPRESSING = 5,
    /**
     * Files are read and compared with their checksums.
     */
    HYPEMAN_PHASE_VERIFYING = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum hypeman_phase hypeman_phase;
#else
typedef int32_t hypeman_phase;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How much an event matters.
 */
enum hypeman_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Something came to its end as it should.
     */
    HYPEMAN_LOG_LEVEL_INFO = 1,
    /**
     * Something went wrong that no call reports. Nothing is lost; the library tries again where it can.
     */
    HYPEMAN_LOG_LEVEL_WARNING = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum hypeman_log_level hypeman_log_level;
#else
typedef int32_t hypeman_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a part of a memory image is.
 */
enum hypeman_extent_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Bytes, which may be zero all the same.
     */
    HYPEMAN_EXTENT_KIND_DATA = 1,
    /**
     * A run of zeros in a compressed file, stored in next to no space.
     */
    HYPEMAN_EXTENT_KIND_ZERO = 2,
    /**
     * A hole in a raw file: zeros that occupy no space.
     */
    HYPEMAN_EXTENT_KIND_HOLE = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum hypeman_extent_kind hypeman_extent_kind;
#else
typedef int32_t hypeman_extent_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Ends running calls. The one object that is made to be used from several threads at once.
 */
typedef struct hypeman_cancel hypeman_cancel;

/**
 * What went wrong in one call: an object of its own that stays valid, whatever else is called, until
 * hypeman_error_free. Immutable; any thread may read it.
 */
typedef struct hypeman_error hypeman_error;

/**
 * The extents of an image, from its start to its end without a gap. Immutable; any thread may read it.
 */
typedef struct hypeman_extents hypeman_extents;

/**
 * An open data directory. Any number of threads may use it at once.
 */
typedef struct hypeman_handle hypeman_handle;

/**
 * A snapshot from inside: its files, and how it was captured. Immutable; any thread may read it; outlives the
 * handle.
 */
typedef struct hypeman_inspection hypeman_inspection;

/**
 * A VM, where it is and what it did when it was looked up. Immutable; any thread may read it; outlives the handle.
 */
typedef struct hypeman_instance hypeman_instance;

/**
 * A list of instances, which it owns. Immutable; any thread may read it; outlives the handle.
 */
typedef struct hypeman_instances hypeman_instances;

/**
 * The guest memory of a snapshot, open for reading, compressed or not. Any number of threads may read at once;
 * outlives the handle. While it is open, the snapshot cannot be deleted (busy).
 */
typedef struct hypeman_memory hypeman_memory;

/**
 * What a pager has done so far. Immutable; any thread may read it.
 */
typedef struct hypeman_metrics hypeman_metrics;

/**
 * Serves the guest memory of a snapshot to VMs that run already. Any thread may use it. It ends with
 * hypeman_pager_stop, hypeman_pager_free, hypeman_shutdown or hypeman_close.
 */
typedef struct hypeman_pager hypeman_pager;

/**
 * The ranges of an image, by guest-physical address. Immutable; any thread may read it.
 */
typedef struct hypeman_ranges hypeman_ranges;

/**
 * A snapshot: the 14 fields of the API. Immutable; any thread may read it; outlives the handle.
 */
typedef struct hypeman_snapshot hypeman_snapshot;

/**
 * A list of snapshots, which it owns. Immutable; any thread may read it; outlives the handle.
 */
typedef struct hypeman_snapshots hypeman_snapshots;

/**
 * What was found when every byte of a snapshot was read. Paths are relative to its directory. Immutable; any thread
 * may read it; outlives the handle.
 */
typedef struct hypeman_verification hypeman_verification;

/**
 * Compression of a snapshot's guest memory. Start from HYPEMAN_COMPRESSION_INIT, which is on, with the default
 * algorithm at its default level. Where a function takes a pointer to this, NULL says nothing and leaves the
 * choice to the next default; enabled == 0 says no.
 */
typedef struct hypeman_compression {
    /**
     * sizeof(hypeman_compression)
     */
    size_t struct_size;
    /**
     * Not 0: compress. 0: do not, whatever the defaults say; the other fields are ignored then.
     */
    int32_t enabled;
    /**
     * Not 0: level counts. 0: the default level of the algorithm, and level must be 0.
     */
    int32_t has_level;
    /**
     * zstd: 1 to 19, default 1. lz4: 0 to 9, default 0.
     */
    int64_t level;
    /**
     * "zstd" or "lz4"; NULL for the default, zstd.
     */
    const char *algorithm;
} hypeman_compression;

/**
 * Hears of events. level: one of HYPEMAN_LOG_...; message: one sentence in plain English, whose words may change; id:
 * of the snapshot or instance that it is about. Both texts are lent for the time of the call.
 *
 * It runs on any thread, the library's own among them, on several at once, until hypeman_close returns. It must
 * return soon, with no exception and no longjmp, and must not call the library.
 */
typedef void (*hypeman_log_callback)(int32_t level, const char *message, const char *id, void *user);

/**
 * How to open a data directory. Start from HYPEMAN_OPEN_OPTIONS_INIT.
 */
typedef struct hypeman_open_options {
    /**
     * sizeof(hypeman_open_options)
     */
    size_t struct_size;
    /**
     * Not 0: open for reading only. Nothing is created, recovered or resumed, and every write is refused.
     */
    int32_t read_only;
    /**
     * Not 0: write to a data directory on a network file system, where locks cannot be trusted.
     */
    int32_t allow_network_fs;
    /**
     * Not 0: no server of the vendor's runs on this data directory, so that running instances of its making may
     * be paused and captured.
     */
    int32_t owns_server_instances;
    /**
     * Most threads for one call or job, to 256; 0: the number of CPUs that this process may use.
     */
    uint32_t threads;
    /**
     * Compression of snapshots for which neither the request nor the instance says anything; NULL: off.
     */
    const struct hypeman_compression *compression;
    /**
     * "full": what is acknowledged survives a power cut; "relaxed": the end of the process, but not a power cut.
     * NULL: full.
     */
    const char *durability;
    /**
     * Hears of what happens in the background, and of what no call reports; NULL: no one does.
     */
    hypeman_log_callback log;
    /**
     * Passed to log as it is; it must stay valid until hypeman_close returns.
     */
    void *log_user;
    /**
     * Not 0: guest memory of cloud-hypervisor VMs with shared memory goes straight into and out of its compressed form
     * where it can, and is never written raw. A create then needs as much memory as the guest has.
     */
    int32_t offload_memory;
    /**
     * Must be 0.
     */
    uint32_t reserved;
} hypeman_open_options;

/**
 * How far a call has come. Lent for the time of the callback; later versions may add fields at its end.
 */
typedef struct hypeman_progress {
    /**
     * One of HYPEMAN_PHASE_...
     */
    int32_t phase;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Bytes of this phase that are done.
     */
    uint64_t bytes_done;
    /**
     * Bytes of this phase in all; 0 while unknown.
     */
    uint64_t bytes_total;
} hypeman_progress;

/**
 * Hears how far a call has come: on the thread that makes the call, a few times a second at most. Returning
 * non-zero cancels the call. It must return: no exception and no longjmp may leave it.
 */
typedef int (*hypeman_progress_callback)(const struct hypeman_progress *progress, void *user);

/**
 * How one long call is watched and ended. Start from HYPEMAN_CALL_OPTIONS_INIT.
 */
typedef struct hypeman_call_options {
    /**
     * sizeof(hypeman_call_options)
     */
    size_t struct_size;
    /**
     * Time limit in milliseconds, after which the call answers HYPEMAN_STATUS_TIMEOUT. 0: no limit;
     * HYPEMAN_TIMEOUT_AT_ONCE: a limit that is over at once.
     */
    uint64_t timeout_ms;
    /**
     * Token that ends the call, or NULL.
     */
    const struct hypeman_cancel *cancel;
    /**
     * Hears how far the call has come, or NULL.
     */
    hypeman_progress_callback progress;
    /**
     * Passed to progress as it is.
     */
    void *user;
} hypeman_call_options;

/**
 * A disk of a VM: a regular file on the host.
 */
typedef struct hypeman_disk {
    /**
     * Absolute path of the file, in bytes.
     */
    const char *path;
    /**
     * Not 0: the guest can only read it; then it is copied before the pause.
     */
    int32_t readonly;
    /**
     * Must be 0.
     */
    uint32_t reserved;
} hypeman_disk;

/**
 * What the host tells of a VM that it runs. Start from HYPEMAN_REGISTER_OPTIONS_INIT; name and hypervisor are
 * required.
 */
typedef struct hypeman_register_options {
    /**
     * sizeof(hypeman_register_options)
     */
    size_t struct_size;
    /**
     * 1 to 63 of [a-z0-9-], no dash at either end, unique among instances.
     */
    const char *name;
    /**
     * "cloud-hypervisor", "firecracker", "qemu", "qemu-microvm" or "vz".
     */
    const char *hypervisor;
    /**
     * An id to keep; NULL to have one made.
     */
    const char *id;
    /**
     * Absolute path of the VMM's API socket, or NULL. QEMU: a -qmp socket that no one else uses.
     */
    const char *api_socket;
    /**
     * Absolute path of the instance directory, or NULL. All of it is captured, but for sockets and logs/.
     */
    const char *directory;
    /**
     * Its disks, inside the directory or not; NULL: every file of the directory is taken for one.
     */
    const struct hypeman_disk *disks;
    /**
     * The number of disks.
     */
    size_t disk_count;
    /**
     * Default compression of its snapshots, or NULL.
     */
    const struct hypeman_compression *compression;
    /**
     * For a VMM that runs as another user or in a jail: absolute path of a directory that it can reach, too, or NULL.
     * What it writes is moved from there into the snapshot, and what it loads is put there.
     */
    const char *staging_directory;
    /**
     * The path of that directory as the VMM sees it; NULL: the same.
     */
    const char *staging_directory_in_vmm;
    /**
     * Not 0: the promise that no other program, and no other data directory, takes snapshots of this VM as long as its
     * VMM lives. Then firecracker, where it tracks dirty pages, writes only what changed since its last snapshot, over a
     * copy of that one. Were it broken, such a snapshot would lack changes, and nothing could show it.
     */
    int32_t exclusive_snapshots;
    /**
     * Must be 0.
     */
    uint32_t reserved;
} hypeman_register_options;

/**
 * A tag: a key of 1 to 128 and a value of 0 to 256 characters, of [A-Za-z0-9 _.:/=+@-].
 */
typedef struct hypeman_tag {
    /**
     * The key; each at most once.
     */
    const char *key;
    /**
     * The value.
     */
    const char *value;
} hypeman_tag;

/**
 * What to capture, and how to call it. Start from HYPEMAN_CREATE_OPTIONS_INIT; kind is required.
 */
typedef struct hypeman_create_options {
    /**
     * sizeof(hypeman_create_options)
     */
    size_t struct_size;
    /**
     * HYPEMAN_KIND_STANDBY or HYPEMAN_KIND_STOPPED.
     */
    int32_t kind;
    /**
     * Must be 0.
     */
    uint32_t reserved;
    /**
     * The kind as text, for callers that have it so ("Standby", "Stopped"): used in place of kind. Or NULL.
     */
    const char *kind_name;
    /**
     * 1 to 63 of [a-z0-9-], no dash at either end, unique per source instance; NULL for no name.
     */
    const char *name;
    /**
     * At most 50 tags, or NULL.
     */
    const struct hypeman_tag *tags;
    /**
     * The number of tags.
     */
    size_t tag_count;
    /**
     * Compression of guest memory; NULL: as instance and library say. Refused with HYPEMAN_KIND_STOPPED.
     */
    const struct hypeman_compression *compression;
    /**
     * Cancel token, time limit and progress, or NULL.
     */
    const struct hypeman_call_options *call;
} hypeman_create_options;

/**
 * Which snapshots to list: what is set must match, exactly. Start from HYPEMAN_LIST_OPTIONS_INIT.
 */
typedef struct hypeman_list_options {
    /**
     * sizeof(hypeman_list_options)
     */
    size_t struct_size;
    /**
     * HYPEMAN_KIND_STANDBY, HYPEMAN_KIND_STOPPED, or 0 for any.
     */
    int32_t kind;
    /**
     * Must be 0.
     */
    uint32_t reserved;
    /**
     * The kind as text, for callers that have it so: used in place of kind. Or NULL.
     */
    const char *kind_name;
    /**
     * This name; "" for snapshots without one; NULL for any.
     */
    const char *name;
    /**
     * This id of the source, which is not looked up and may be gone; NULL for any.
     */
    const char *source_instance_id;
    /**
     * Each of these tags, key and value, or NULL.
     */
    const struct hypeman_tag *tags;
    /**
     * The number of tags.
     */
    size_t tag_count;
} hypeman_list_options;

/**
 * A network interface of the guest that gets another device of the host.
 */
typedef struct hypeman_network_override {
    /**
     * Its id in the guest's configuration; each at most once.
     */
    const char *interface_id;
    /**
     * The name of the device on the host.
     */
    const char *host_device;
} hypeman_network_override;

/**
 * How to restore a snapshot. Start from HYPEMAN_RESTORE_OPTIONS_INIT.
 */
typedef struct hypeman_restore_options {
    /**
     * sizeof(hypeman_restore_options)
     */
    size_t struct_size;
    /**
     * What the instance is to be then. For a Standby snapshot "Running", "Standby" or "Stopped", for a Stopped one
     * "Stopped". NULL: "Stopped" for a Stopped one, else "Running" where api_socket is given, else "Standby".
     */
    const char *target_state;
    /**
     * Absolute path of the API socket of a VMM that was started for this and has no VM yet; NULL: the instance's own.
     */
    const char *api_socket;
    /**
     * Network interfaces that get another device of the host (cloud-hypervisor, firecracker), or NULL.
     */
    const struct hypeman_network_override *network_overrides;
    /**
     * The number of overrides.
     */
    size_t network_override_count;
    /**
     * Not 0: the guest runs while the VMM still reads its memory, page by page (cloud-hypervisor 52 and later).
     */
    int32_t on_demand;
    /**
     * Not 0: restore although the VMM or the host differs from what was recorded.
     */
    int32_t allow_incompatible;
    /**
     * Absolute path of the socket of a userfaultfd server that gives the VMM its memory (firecracker), or NULL.
     */
    const char *uffd_socket;
    /**
     * Cancel token, time limit and progress, or NULL.
     */
    const struct hypeman_call_options *call;
    /**
     * "allow" (also NULL): memory that was handed out before may be so again. "deny": it is refused (conflict).
     */
    const char *duplicates;
} hypeman_restore_options;

/**
 * A part of a memory image. Later versions may add fields at its end.
 */
typedef struct hypeman_extent {
    /**
     * Where it begins in the image, in bytes.
     */
    uint64_t offset;
    /**
     * Its length.
     */
    uint64_t size_bytes;
    /**
     * One of HYPEMAN_EXTENT_KIND_...
     */
    int32_t kind;
    /**
     * 0.
     */
    uint32_t reserved;
} hypeman_extent;

/**
 * A range of guest-physical memory that lies in one piece in an image. Later versions may add fields at its end.
 */
typedef struct hypeman_range {
    /**
     * The guest-physical address of its first byte.
     */
    uint64_t guest_address;
    /**
     * Where that byte is in the image.
     */
    uint64_t offset;
    /**
     * Its length.
     */
    uint64_t size_bytes;
} hypeman_range;

/**
 * Where a disk from outside the source's directory goes.
 */
typedef struct hypeman_disk_place {
    /**
     * Its path at capture; each at most once.
     */
    const char *from;
    /**
     * Its path in the fork. Of a read-only disk it may be there: then it is used as it is.
     */
    const char *to;
} hypeman_disk_place;

/**
 * Where a fork goes and what it is to be. Start from HYPEMAN_FORK_OPTIONS_INIT.
 */
typedef struct hypeman_fork_options {
    /**
     * sizeof(hypeman_fork_options)
     */
    size_t struct_size;
    /**
     * The new directory, which is made; the one around it must be there. NULL: guests/ID in the data directory.
     */
    const char *directory;
    /**
     * Places of disks from outside the source's directory, or NULL; the others go into disks/ of the new directory.
     */
    const struct hypeman_disk_place *disks;
    /**
     * The number of places.
     */
    size_t disk_count;
    /**
     * What it is to be then, how it is loaded, and how the call is watched; NULL for the defaults.
     */
    const struct hypeman_restore_options *restore;
} hypeman_fork_options;

/**
 * How to serve the memory of a snapshot. Start from HYPEMAN_SERVE_OPTIONS_INIT.
 */
typedef struct hypeman_serve_options {
    /**
     * sizeof(hypeman_serve_options)
     */
    size_t struct_size;
    /**
     * Absolute path, of at most 107 bytes, at which to listen and at which nothing lies yet; NULL: one of the
     * library's own in the directory for temporary files.
     */
    const char *socket;
    /**
     * The most decoded memory that is kept for the next VM that wants it; 0: 64 MiB.
     */
    uint64_t cache_bytes;
    /**
     * The CPUs that the threads of the pager may run on, or NULL: all.
     */
    const uint32_t *cpus;
    /**
     * The number of CPUs.
     */
    size_t cpu_count;
    /**
     * For how many microseconds after a fault a CPU is kept busy with waiting for the next one, at most (up to 1000).
     * 0: 30; negative: not at all.
     */
    int32_t spin_us;
    /**
     * Not 0: do not install what an earlier VM wanted first ahead of the guest, and do not find out what that is.
     */
    int32_t no_prefetch;
    /**
     * Not 0: install all other memory, too, in the background. A VM that has all of it needs no pager any more.
     */
    int32_t fill;
    /**
     * 0.
     */
    uint32_t reserved;
} hypeman_serve_options;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Returns the status that the call answered; HYPEMAN_STATUS_OK for NULL.
 */
hypeman_status hypeman_error_status(const struct hypeman_error *error);

/**
 * Returns the stable code string, such as "not_found". Borrowed; NULL for NULL.
 */
const char *hypeman_error_code(const struct hypeman_error *error);

/**
 * Returns what happened and what to do about it, for people; the wording may change. Borrowed; NULL for NULL.
 */
const char *hypeman_error_message(const struct hypeman_error *error);

/**
 * Returns the path concerned, as bytes, or NULL where there is none. Borrowed.
 */
const char *hypeman_error_path(const struct hypeman_error *error);

/**
 * Returns the id of the snapshot or instance concerned, or NULL where there is none. Borrowed.
 */
const char *hypeman_error_id(const struct hypeman_error *error);

/**
 * Returns the error number of the operating system, or 0 where there is none.
 */
int32_t hypeman_error_errno(const struct hypeman_error *error);

/**
 * Returns the error as JSON: status, code, message and, where there are such, id, path and errno. A path that is
 * not UTF-8 has U+FFFD in place of the bytes that are not. To be freed with hypeman_string_free; NULL for NULL.
 */
char *hypeman_error_to_json(const struct hypeman_error *error);

/**
 * Frees an error. NULL is fine.
 */
void hypeman_error_free(struct hypeman_error *error);

/**
 * Frees a text that a hypeman_..._to_json function returned. NULL is fine; other texts are borrowed and not to be
 * freed.
 */
void hypeman_string_free(char *text);

/**
 * Panics inside the library and answers HYPEMAN_STATUS_INTERNAL: proves that this build keeps its panics inside
 * and off stderr.
 */
hypeman_status hypeman_selftest_panic(struct hypeman_error **err);

/**
 * Returns the stable code string of a status, such as "not_found" for HYPEMAN_STATUS_NOT_FOUND and "ok" for
 * HYPEMAN_STATUS_OK. Static text; NULL for a number that this version does not know.
 */
const char *hypeman_status_code(int32_t status);

/**
 * Returns the HTTP status that a server would answer in place of a status, such as 404 for HYPEMAN_STATUS_NOT_FOUND
 * and 200 for HYPEMAN_STATUS_OK; 0 for a number that this version does not know.
 */
int32_t hypeman_status_http(int32_t status);

/**
 * Returns the version of the library that runs, such as "0.1.0". Static text; never NULL.
 */
const char *hypeman_version(void);

/**
 * Makes a token that has not been cancelled. To be freed with hypeman_cancel_free; never NULL.
 */
struct hypeman_cancel *hypeman_cancel_new(void);

/**
 * Asks every call that was given this token, and every later one, to end with HYPEMAN_STATUS_CANCELLED. It cannot
 * be taken back. Any thread, at any time; safe in a signal handler. NULL is fine.
 */
void hypeman_cancel_request(const struct hypeman_cancel *cancel);

/**
 * Frees a token. Calls that were given it go on and can then no longer be cancelled by it. NULL is fine.
 */
void hypeman_cancel_free(struct hypeman_cancel *cancel);

/**
 * Opens a data directory, creating it (mode 0700) where it is missing, and finishes what a dead opener left:
 * resumes VMs that it had paused, clears its stages, resumes its compression jobs.
 *
 * data_dir: a path; NULL for $HYPEMAN_DATA_DIR, else /var/lib/hypeman. options: NULL for the defaults.
 * out: a handle for hypeman_close.
 *
 * Errors: permission when it cannot be written (open it read-only), not_supported on a network file system,
 * invalid_request for a wrong option, not_found when it is missing and read_only is set, no_space, io.
 */
hypeman_status hypeman_open(const char *data_dir,
                            const struct hypeman_open_options *options,
                            struct hypeman_handle **out,
                            struct hypeman_error **err);

/**
 * Returns the data directory as an absolute path, in bytes. Borrowed from the handle; NULL for NULL.
 */
const char *hypeman_data_dir(const struct hypeman_handle *handle);

/**
 * Waits until what a handle does in the background has ended: compression, checksums, and what it carries on for
 * handles that ended before. A program that is over soon calls it before hypeman_close, else the next opener begins
 * that work anew. How each came out, its snapshot says.
 *
 * options: NULL for the defaults.
 *
 * Errors: timeout, cancelled, closed.
 */
hypeman_status hypeman_finish(const struct hypeman_handle *handle,
                              const struct hypeman_call_options *options,
                              struct hypeman_error **err);

/**
 * Shuts a handle down while other threads may still be in calls with it: later calls, of any thread, answer
 * HYPEMAN_STATUS_CLOSED, those that run come to their own end, and pagers and compression jobs stop; the latter are
 * resumed by the next opener. The handle still has to be closed. NULL, and twice, are fine.
 */
void hypeman_shutdown(const struct hypeman_handle *handle);

/**
 * Shuts a handle down and frees it. No other thread may be in a call with it, and no one may use it later. Objects
 * that were made with it stay valid. NULL is fine.
 */
void hypeman_close(struct hypeman_handle *handle);

/**
 * Returns the unique id. Borrowed; NULL for NULL.
 */
const char *hypeman_instance_id(const struct hypeman_instance *instance);

/**
 * Returns the unique name. Borrowed; NULL for NULL.
 */
const char *hypeman_instance_name(const struct hypeman_instance *instance);

/**
 * Returns the program that runs it: "cloud-hypervisor", "firecracker", "qemu", "qemu-microvm", "vz", or what a
 * newer version wrote. Borrowed; NULL for NULL.
 */
const char *hypeman_instance_hypervisor(const struct hypeman_instance *instance);

/**
 * Returns what it did when it was looked up: "Created", "Initializing", "Running", "Paused", "Shutdown",
 * "Standby", "Stopped" or "Unknown". Borrowed; NULL for NULL.
 */
const char *hypeman_instance_state(const struct hypeman_instance *instance);

/**
 * Returns who told of it: "registered" (hypeman_instance_register) or "server" (the vendor's server). Borrowed;
 * NULL for NULL.
 */
const char *hypeman_instance_origin(const struct hypeman_instance *instance);

/**
 * Returns when it was registered, or created by the vendor's server: RFC 3339 in UTC. Borrowed; NULL for NULL.
 */
const char *hypeman_instance_created_at(const struct hypeman_instance *instance);

/**
 * Returns the path of the VMM's API socket, in bytes, or NULL where there is none. Borrowed.
 */
const char *hypeman_instance_api_socket(const struct hypeman_instance *instance);

/**
 * Returns the path of the instance directory, in bytes, or NULL where there is none. Borrowed.
 */
const char *hypeman_instance_directory(const struct hypeman_instance *instance);

/**
 * Returns the number of disks.
 */
size_t hypeman_instance_disk_count(const struct hypeman_instance *instance);

/**
 * Returns the path of a disk, in bytes, or NULL past the last. Borrowed.
 */
const char *hypeman_instance_disk_path(const struct hypeman_instance *instance, size_t index);

/**
 * Returns 1 when the guest can only read a disk, else 0.
 */
int32_t hypeman_instance_disk_readonly(const struct hypeman_instance *instance, size_t index);

/**
 * Returns the default compression of its snapshots, or NULL where there is none. Borrowed.
 */
const struct hypeman_compression *hypeman_instance_compression(const struct hypeman_instance *instance);

/**
 * Puts into generation_out which copy of its snapshot's memory the instance has, counted from 1, and returns 1; or
 * returns 0 where that is not known: only the restore or fork that gave it the memory tells.
 */
int32_t hypeman_instance_generation(const struct hypeman_instance *instance,
                                    uint64_t *generation_out);

/**
 * Returns the path of the directory through which files pass between us and the VMM, in bytes, or NULL where there is
 * none. Borrowed.
 */
const char *hypeman_instance_staging_directory(const struct hypeman_instance *instance);

/**
 * Returns the path of that directory as the VMM sees it, in bytes, or NULL where none was named. Borrowed.
 */
const char *hypeman_instance_staging_directory_in_vmm(const struct hypeman_instance *instance);

/**
 * Returns every field as JSON, absent ones left out. To be freed with hypeman_string_free; NULL for NULL, and
 * where a path is not UTF-8, which JSON cannot carry.
 */
char *hypeman_instance_to_json(const struct hypeman_instance *instance);

/**
 * Frees an instance that a call handed out; not one of a list. NULL is fine.
 */
void hypeman_instance_free(struct hypeman_instance *instance);

/**
 * Returns the number of instances in a list.
 */
size_t hypeman_instances_count(const struct hypeman_instances *instances);

/**
 * Returns an instance of a list, or NULL past the last. Borrowed from the list.
 */
const struct hypeman_instance *hypeman_instances_at(const struct hypeman_instances *instances, size_t index);

/**
 * Frees a list and its instances. NULL is fine.
 */
void hypeman_instances_free(struct hypeman_instances *instances);

/**
 * Tells the store of a VM. Telling it the same again is fine and gives the same instance.
 *
 * out: an instance for hypeman_instance_free.
 *
 * Errors: invalid_request, conflict when the name or id stands for something else, closed, errors of the disk.
 */
hypeman_status hypeman_instance_register(const struct hypeman_handle *handle,
                                         const struct hypeman_register_options *options,
                                         struct hypeman_instance **out,
                                         struct hypeman_error **err);

/**
 * Finds an instance by exact id, then exact name, then unique id prefix.
 *
 * out: an instance for hypeman_instance_free.
 *
 * Errors: not_found, conflict when several ids begin so, closed, errors of the disk.
 */
hypeman_status hypeman_instance_get(const struct hypeman_handle *handle,
                                    const char *id,
                                    struct hypeman_instance **out,
                                    struct hypeman_error **err);

/**
 * Lists every instance, by name.
 *
 * out: a list for hypeman_instances_free.
 *
 * Errors: closed, errors of the disk.
 */
hypeman_status hypeman_instance_list(const struct hypeman_handle *handle,
                                     struct hypeman_instances **out,
                                     struct hypeman_error **err);

/**
 * Forgets a registered instance, found as by hypeman_instance_get. The VM, its files and its snapshots stay as
 * they are.
 *
 * Errors: as hypeman_instance_get; invalid_state for an instance of the vendor's server; busy during a capture.
 */
hypeman_status hypeman_instance_unregister(const struct hypeman_handle *handle,
                                           const char *id,
                                           struct hypeman_error **err);

/**
 * Returns the snapshot. Borrowed from the inspection; NULL for NULL.
 */
const struct hypeman_snapshot *hypeman_inspection_snapshot(const struct hypeman_inspection *inspection);

/**
 * Returns the number of regular files in the payload.
 */
size_t hypeman_inspection_file_count(const struct hypeman_inspection *inspection);

/**
 * Returns the path of a file beneath guest/, in the order of paths, or NULL past the last. Borrowed.
 */
const char *hypeman_inspection_file_path(const struct hypeman_inspection *inspection, size_t index);

/**
 * Returns the apparent size of a file in bytes, 0 past the last.
 */
uint64_t hypeman_inspection_file_size_bytes(const struct hypeman_inspection *inspection, size_t index);

/**
 * Returns the bytes that a file occupies on the disk, 0 past the last.
 */
uint64_t hypeman_inspection_file_allocated_bytes(const struct hypeman_inspection *inspection, size_t index);

/**
 * Returns the bytes that the payload occupies on the disk, blocks that are shared with other files among them.
 */
uint64_t hypeman_inspection_allocated_bytes(const struct hypeman_inspection *inspection);

/**
 * Returns what the source did when the capture began, or NULL where libhypeman did not make the snapshot. Borrowed.
 */
const char *hypeman_inspection_source_state(const struct hypeman_inspection *inspection);

/**
 * Puts into ms_out how long the guest did not run for the sake of the snapshot, in milliseconds, and returns 1; or
 * returns 0 where the VM was not paused for it.
 */
int32_t hypeman_inspection_paused_ms(const struct hypeman_inspection *inspection,
                                     double *ms_out);

/**
 * Puts into ms_out the part of the pause in which the VMM wrote its state and memory, and returns 1; or returns 0.
 */
int32_t hypeman_inspection_saving_memory_ms(const struct hypeman_inspection *inspection,
                                            double *ms_out);

/**
 * Puts into ms_out the part of the pause in which disks were cloned or copied, and returns 1; or returns 0.
 */
int32_t hypeman_inspection_copying_disks_ms(const struct hypeman_inspection *inspection, double *ms_out);

/**
 * Returns the version that the VMM gave of itself, or NULL. Borrowed.
 */
const char *hypeman_inspection_hypervisor_version(const struct hypeman_inspection *inspection);

/**
 * Returns what the memory file is, "qemu-stream", "qemu-mapped-ram", "cloud-hypervisor-ranges" or
 * "raw", or NULL where there is none. Borrowed.
 */
const char *hypeman_inspection_memory_format(const struct hypeman_inspection *inspection);

/**
 * Returns the path of the memory file beneath guest/, without the suffix of a compressed one, or NULL where there is
 * none. Borrowed.
 */
const char *hypeman_inspection_memory_file(const struct hypeman_inspection *inspection);

/**
 * Returns the version of the form of the VMM's own state, where that tells it (firecracker), or NULL. Borrowed.
 */
const char *hypeman_inspection_state_format(const struct hypeman_inspection *inspection);

/**
 * Returns how often the memory was handed out, by restores and forks, each of which has a number of its own.
 */
uint64_t hypeman_inspection_generation(const struct hypeman_inspection *inspection);

/**
 * Returns the version of the libhypeman that captured it, or NULL where another program did. Borrowed.
 */
const char *hypeman_inspection_libhypeman_version(const struct hypeman_inspection *inspection);

/**
 * Returns every field as JSON, absent ones left out. To be freed with hypeman_string_free; NULL for NULL.
 */
char *hypeman_inspection_to_json(const struct hypeman_inspection *inspection);

/**
 * Frees an inspection, its snapshot included. NULL is fine.
 */
void hypeman_inspection_free(struct hypeman_inspection *inspection);

/**
 * Returns the unique id: 24 characters. Borrowed; NULL for NULL.
 */
const char *hypeman_snapshot_id(const struct hypeman_snapshot *snapshot);

/**
 * Returns when the capture ended: RFC 3339 in UTC. Borrowed; NULL for NULL.
 */
const char *hypeman_snapshot_created_at(const struct hypeman_snapshot *snapshot);

/**
 * Returns when the capture ended, in milliseconds since 1970-01-01T00:00:00Z.
 */
int64_t hypeman_snapshot_created_at_unix_ms(const struct hypeman_snapshot *snapshot);

/**
 * Returns what was captured: HYPEMAN_KIND_STANDBY or HYPEMAN_KIND_STOPPED; 0 for a kind that this version does not
 * know.
 */
int32_t hypeman_snapshot_kind(const struct hypeman_snapshot *snapshot);

/**
 * Returns what was captured, as text: "Standby", "Stopped", or what a newer version wrote. Borrowed; NULL for NULL.
 */
const char *hypeman_snapshot_kind_name(const struct hypeman_snapshot *snapshot);

/**
 * Returns the total payload size: the apparent sizes of its files, in bytes.
 */
uint64_t hypeman_snapshot_size_bytes(const struct hypeman_snapshot *snapshot);

/**
 * Returns the source's hypervisor at capture. Borrowed; NULL for NULL.
 */
const char *hypeman_snapshot_source_hypervisor(const struct hypeman_snapshot *snapshot);

/**
 * Returns the source's id at capture. Borrowed; NULL for NULL.
 */
const char *hypeman_snapshot_source_instance_id(const struct hypeman_snapshot *snapshot);

/**
 * Returns the source's name at capture. Borrowed; NULL for NULL.
 */
const char *hypeman_snapshot_source_instance_name(const struct hypeman_snapshot *snapshot);

/**
 * Puts the size of the compressed memory into bytes_out and returns 1, or returns 0 where it is not compressed.
 */
int32_t hypeman_snapshot_compressed_size_bytes(const struct hypeman_snapshot *snapshot,
                                               uint64_t *bytes_out);

/**
 * Returns the compression settings that run or ran, or NULL when off. Borrowed.
 */
const struct hypeman_compression *hypeman_snapshot_compression(const struct hypeman_snapshot *snapshot);

/**
 * Returns why compression failed, or NULL where it did not. Borrowed.
 */
const char *hypeman_snapshot_compression_error(const struct hypeman_snapshot *snapshot);

/**
 * Returns where compression stands: "none", "compressing", "compressed", "error", or what a newer version wrote;
 * NULL where nothing is said. Borrowed.
 */
const char *hypeman_snapshot_compression_state(const struct hypeman_snapshot *snapshot);

/**
 * Returns the name, or NULL where there is none. Borrowed.
 */
const char *hypeman_snapshot_name(const struct hypeman_snapshot *snapshot);

/**
 * Returns the number of tags.
 */
size_t hypeman_snapshot_tag_count(const struct hypeman_snapshot *snapshot);

/**
 * Returns the key of a tag, in the order of keys, or NULL past the last. Borrowed.
 */
const char *hypeman_snapshot_tag_key(const struct hypeman_snapshot *snapshot, size_t index);

/**
 * Returns the value of a tag, or NULL past the last. Borrowed.
 */
const char *hypeman_snapshot_tag_value(const struct hypeman_snapshot *snapshot, size_t index);

/**
 * Puts the apparent size of the memory before compression into bytes_out and returns 1, or returns 0 where it is
 * not compressed.
 */
int32_t hypeman_snapshot_uncompressed_size_bytes(const struct hypeman_snapshot *snapshot,
                                                 uint64_t *bytes_out);

/**
 * Returns every field as JSON, absent ones left out; fields of newer versions, too. To be freed with
 * hypeman_string_free; NULL for NULL.
 */
char *hypeman_snapshot_to_json(const struct hypeman_snapshot *snapshot);

/**
 * Frees a snapshot that a call handed out; not one of a list. What is on the disk stays. NULL is fine.
 */
void hypeman_snapshot_free(struct hypeman_snapshot *snapshot);

/**
 * Returns the number of snapshots in a list.
 */
size_t hypeman_snapshots_count(const struct hypeman_snapshots *snapshots);

/**
 * Returns a snapshot of a list, or NULL past the last. Borrowed from the list.
 */
const struct hypeman_snapshot *hypeman_snapshots_at(const struct hypeman_snapshots *snapshots, size_t index);

/**
 * Frees a list and its snapshots. NULL is fine.
 */
void hypeman_snapshots_free(struct hypeman_snapshots *snapshots);

/**
 * Captures a snapshot of an instance, found as by hypeman_instance_get. Blocks; a running VM is paused and resumed,
 * whatever happens. The snapshot is on the disk when this returns; compression goes on in the background (see
 * hypeman_snapshot_wait).
 *
 * out: a snapshot for hypeman_snapshot_free.
 *
 * Errors: invalid_request, not_found, conflict (name taken), invalid_state, busy, hypervisor, no_space, permission,
 * timeout, cancelled, closed, io. After each, nothing is left and the VM runs.
 */
hypeman_status hypeman_snapshot_create(const struct hypeman_handle *handle,
                                       const char *instance,
                                       const struct hypeman_create_options *options,
                                       struct hypeman_snapshot **out,
                                       struct hypeman_error **err);

/**
 * Lists the snapshots that match, newest first, then by id. Damaged records are left out and never hide others.
 *
 * options: NULL for every snapshot. out: a list for hypeman_snapshots_free.
 *
 * Errors: invalid_request for an unknown kind, closed, errors of the disk.
 */
hypeman_status hypeman_snapshot_list(const struct hypeman_handle *handle,
                                     const struct hypeman_list_options *options,
                                     struct hypeman_snapshots **out,
                                     struct hypeman_error **err);

/**
 * Gets a snapshot by its id, always fresh from its record. Names and prefixes are not looked for.
 *
 * out: a snapshot for hypeman_snapshot_free.
 *
 * Errors: not_found, corrupt when its record is damaged, closed, errors of the disk.
 */
hypeman_status hypeman_snapshot_get(const struct hypeman_handle *handle,
                                    const char *id,
                                    struct hypeman_snapshot **out,
                                    struct hypeman_error **err);

/**
 * Deletes a snapshot by its id, a damaged one too. Its compression job is stopped first. Objects of it stay valid.
 *
 * Errors: not_found, busy while someone reads it, closed, errors of the disk.
 */
hypeman_status hypeman_snapshot_delete(const struct hypeman_handle *handle,
                                       const char *id,
                                       struct hypeman_error **err);

/**
 * Waits until the compression of a snapshot has ended, well or not, in whichever process it runs. A job whose owner
 * died is taken over.
 *
 * options: NULL for the defaults. out: the snapshot as it is then, for hypeman_snapshot_free.
 *
 * Errors: not_found, timeout, cancelled, corrupt, closed, errors of the disk.
 */
hypeman_status hypeman_snapshot_wait(const struct hypeman_handle *handle,
                                     const char *id,
                                     const struct hypeman_call_options *options,
                                     struct hypeman_snapshot **out,
                                     struct hypeman_error **err);

/**
 * Starts compressing the raw memory of a snapshot in the background: again after an error or a cancel, or for the
 * first time.
 *
 * settings: NULL repeats those of the snapshot. out: the snapshot as it is then, for hypeman_snapshot_free.
 *
 * Errors: invalid_request, not_found, invalid_state when it is compressed already or has no memory, busy when it is
 * being compressed, closed, errors of the disk.
 */
hypeman_status hypeman_snapshot_compress(const struct hypeman_handle *handle,
                                         const char *id,
                                         const struct hypeman_compression *settings,
                                         struct hypeman_snapshot **out,
                                         struct hypeman_error **err);

/**
 * Stops the compression of a snapshot, if one runs: its state is "none" then, its memory raw.
 *
 * out: the snapshot as it is then, for hypeman_snapshot_free.
 *
 * Errors: not_found, busy when another process compresses it, closed, errors of the disk.
 */
hypeman_status hypeman_snapshot_cancel_compression(const struct hypeman_handle *handle,
                                                   const char *id,
                                                   struct hypeman_snapshot **out,
                                                   struct hypeman_error **err);

/**
 * Tells what the 14 fields cannot say: files, sizes on disk, how it was captured.
 *
 * out: an inspection for hypeman_inspection_free.
 *
 * Errors: not_found, corrupt, closed, errors of the disk.
 */
hypeman_status hypeman_snapshot_inspect(const struct hypeman_handle *handle,
                                        const char *id,
                                        struct hypeman_inspection **out,
                                        struct hypeman_error **err);

/**
 * Restores a snapshot onto the instance that it was taken of, found as by hypeman_instance_get. Blocks.
 *
 * With target "Standby" or "Stopped" the files are put into place, all or none; what no snapshot holds (logs/,
 * sockets) stays. With target "Running" the image is loaded into a VMM that the host has started and that has no VM
 * yet, and the guest goes on. QEMU opens its disks when it starts: restore to "Standby", start it with -incoming
 * defer, then restore to "Running". cloud-hypervisor and firecracker take both in one call.
 *
 * options: NULL for the defaults. out: the instance as it is then, for hypeman_instance_free.
 *
 * Errors: invalid_request, not_found, conflict (handed out before, with duplicates "deny"), invalid_state (a live
 * guest, a VMM with a VM, files not in place), incompatible (each mismatch is named), not_supported, busy, corrupt, hypervisor, no_space, permission, timeout,
 * cancelled, closed, io. When files could not be put into place, the instance is as it was.
 */
hypeman_status hypeman_snapshot_restore(const struct hypeman_handle *handle,
                                        const char *snapshot_id,
                                        const char *instance,
                                        const struct hypeman_restore_options *options,
                                        struct hypeman_instance **out,
                                        struct hypeman_error **err);

/**
 * Returns the number of extents.
 */
size_t hypeman_extents_count(const struct hypeman_extents *extents);

/**
 * Returns an extent, or NULL past the last. Borrowed from the list.
 */
const struct hypeman_extent *hypeman_extents_at(const struct hypeman_extents *extents, size_t index);

/**
 * Frees a list of extents. NULL is fine.
 */
void hypeman_extents_free(struct hypeman_extents *extents);

/**
 * Returns the number of ranges.
 */
size_t hypeman_ranges_count(const struct hypeman_ranges *ranges);

/**
 * Returns a range, or NULL past the last. Borrowed from the list.
 */
const struct hypeman_range *hypeman_ranges_at(const struct hypeman_ranges *ranges, size_t index);

/**
 * Frees a list of ranges. NULL is fine.
 */
void hypeman_ranges_free(struct hypeman_ranges *ranges);

/**
 * Makes a new instance of a snapshot, with files of its own; where the file system reflinks, they share their blocks
 * with the snapshot, but for memory that is compressed there. The source may be gone, and the snapshot stays as it is.
 * Blocks.
 *
 * The targets are those of hypeman_snapshot_restore. With "Running" the image is loaded into the VMM that waits at
 * api_socket (cloud-hypervisor, firecracker). QEMU opens its disks when it starts: fork to "Standby", start it with
 * the disks of the new instance, then restore the snapshot onto that. Paths in cloud-hypervisor's configuration are
 * rewritten; firecracker must find the fork's files where the source's were, by a mount namespace or a link.
 *
 * name: 1 to 63 of [a-z0-9-], no dash at either end, unique among instances. options: NULL for the defaults. out: the
 * new instance, for hypeman_instance_free.
 *
 * Errors: invalid_request, not_found, conflict (name or place taken; handed out before, with duplicates "deny"),
 * invalid_state (a VMM with a VM), incompatible (each mismatch is named), not_supported, busy, corrupt, hypervisor,
 * no_space, permission, timeout, cancelled, closed, io. After each there is no new instance.
 */
hypeman_status hypeman_snapshot_fork(const struct hypeman_handle *handle,
                                     const char *snapshot_id,
                                     const char *name,
                                     const struct hypeman_fork_options *options,
                                     struct hypeman_instance **out,
                                     struct hypeman_error **err);

/**
 * Opens the guest memory of a snapshot for reading at any offset, also while it is being compressed.
 *
 * out: an image for hypeman_memory_free.
 *
 * Errors: not_found, invalid_state when it has no memory, not_supported for a compressed file that can only be read
 * from its start (the vendor's zstd), busy when its files are being removed, corrupt, closed, errors of the disk.
 */
hypeman_status hypeman_snapshot_memory(const struct hypeman_handle *handle,
                                       const char *id,
                                       struct hypeman_memory **out,
                                       struct hypeman_error **err);

/**
 * Returns the id of the snapshot. Borrowed; NULL for NULL.
 */
const char *hypeman_memory_snapshot_id(const struct hypeman_memory *memory);

/**
 * Returns the path of the file that is read, raw or compressed, in bytes. Borrowed; NULL for NULL.
 */
const char *hypeman_memory_path(const struct hypeman_memory *memory);

/**
 * Returns the length of the image in bytes: of the raw memory file.
 */
uint64_t hypeman_memory_size_bytes(const struct hypeman_memory *memory);

/**
 * Fills buffer, of length bytes, from byte offset of the image. Offsets are those of the raw memory file. Every frame
 * of a compressed image, and every MiB of a raw one that has checksums, is checked before its bytes are used.
 *
 * read_out: how many bytes were read, less than length only where the image ends, 0 at its end and behind it and
 * after an error; NULL is fine. buffer is overwritten whole; what it holds behind what was read is undefined.
 *
 * Errors: corrupt where a frame that is needed is damaged (others can be read all the same), errors of the disk.
 */
hypeman_status hypeman_memory_read(const struct hypeman_memory *memory,
                                   uint64_t offset,
                                   void *buffer,
                                   size_t length,
                                   size_t *read_out,
                                   struct hypeman_error **err);

/**
 * Tells what the image consists of.
 *
 * out: a list for hypeman_extents_free.
 *
 * Errors: corrupt, errors of the disk.
 */
hypeman_status hypeman_memory_extents(const struct hypeman_memory *memory,
                                      struct hypeman_extents **out,
                                      struct hypeman_error **err);

/**
 * Tells which guest-physical addresses lie where in the image.
 *
 * out: a list for hypeman_ranges_free.
 *
 * Errors: not_supported where the form of the file does not say it for certain (QEMU's stream, and Firecracker's
 * from 3 GiB on), corrupt, errors of the disk.
 */
hypeman_status hypeman_memory_ranges(const struct hypeman_memory *memory,
                                     struct hypeman_ranges **out,
                                     struct hypeman_error **err);

/**
 * Closes an image; the snapshot can be deleted then. No other thread may be reading from it. NULL is fine.
 */
void hypeman_memory_free(struct hypeman_memory *memory);

/**
 * Serves the guest memory of a snapshot to VMs that run already, page by page as they touch it, straight from its
 * file, compressed or not. Any number of firecrackers may be given hypeman_pager_socket as a Uffd memory backend
 * (hypeman_restore_options.uffd_socket).
 *
 * A VM that has not got all of its memory when the pager is stopped stands still at the next page that it misses, for
 * ever. When the process dies instead, a child process of the library's, which no wait without __WALL sees, ends that VM
 * there by SIGBUS. So does the pager itself when a guest touches a page that is damaged: to the process that connected.
 * While the pager runs, the snapshot cannot be deleted (busy).
 *
 * options: NULL for the defaults. out: a pager for hypeman_pager_free.
 *
 * Errors: invalid_request, not_found, invalid_state when it has no memory, not_supported (QEMU's and vz's memory,
 * compressed files that can only be read from their start, other systems than Linux), conflict when something lies at
 * the socket's path, busy, corrupt, closed, errors of the system.
 */
hypeman_status hypeman_snapshot_serve_memory(const struct hypeman_handle *handle,
                                             const char *id,
                                             const struct hypeman_serve_options *options,
                                             struct hypeman_pager **out,
                                             struct hypeman_error **err);

/**
 * Returns the id of the snapshot. Borrowed; NULL for NULL.
 */
const char *hypeman_pager_snapshot_id(const struct hypeman_pager *pager);

/**
 * Returns the path of the socket that VMs connect to, in bytes. Only this user may, unless the host changes owner or
 * mode of the file. Borrowed; NULL for NULL.
 */
const char *hypeman_pager_socket(const struct hypeman_pager *pager);

/**
 * Tells what a pager has done so far; after its end, too.
 *
 * out: for hypeman_metrics_free.
 *
 * Errors: closed in a forked child.
 */
hypeman_status hypeman_pager_metrics(const struct hypeman_pager *pager,
                                     struct hypeman_metrics **out,
                                     struct hypeman_error **err);

/**
 * Waits until at least one VM has connected, and each that did is gone or has all of its memory. Without fill none
 * ever has that.
 *
 * options: NULL for no limit.
 *
 * Errors: timeout, cancelled, closed once it was stopped.
 */
hypeman_status hypeman_pager_wait(const struct hypeman_pager *pager,
                                  const struct hypeman_call_options *options,
                                  struct hypeman_error **err);

/**
 * Stops serving, and returns when that is done. Stopping twice is fine.
 *
 * Errors: closed in a forked child.
 */
hypeman_status hypeman_pager_stop(const struct hypeman_pager *pager, struct hypeman_error **err);

/**
 * Stops a pager and frees it. No other thread may be using it. NULL is fine.
 */
void hypeman_pager_free(struct hypeman_pager *pager);

/**
 * Returns how many VMs are connected now.
 */
uint64_t hypeman_metrics_vms(const struct hypeman_metrics *metrics);

/**
 * Returns how many VMs ever were.
 */
uint64_t hypeman_metrics_vms_seen(const struct hypeman_metrics *metrics);

/**
 * Returns how many VMs were given all of their memory, and need the pager no more.
 */
uint64_t hypeman_metrics_vms_whole(const struct hypeman_metrics *metrics);

/**
 * Returns how many page faults were answered.
 */
uint64_t hypeman_metrics_faults(const struct hypeman_metrics *metrics);

/**
 * Returns the bytes that were copied into VMs.
 */
uint64_t hypeman_metrics_copied_bytes(const struct hypeman_metrics *metrics);

/**
 * Returns the bytes of zeros that VMs were given, which take no memory.
 */
uint64_t hypeman_metrics_zero_bytes(const struct hypeman_metrics *metrics);

/**
 * Returns the bytes, copied or zeros, that were installed because a VM before wanted them first.
 */
uint64_t hypeman_metrics_prefetched_bytes(const struct hypeman_metrics *metrics);

/**
 * Returns the bytes, copied or zeros, that were installed in the background.
 */
uint64_t hypeman_metrics_filled_bytes(const struct hypeman_metrics *metrics);

/**
 * Returns how many page faults took less than 2^index microseconds, and no less than half of that (index 0: less than
 * one); the last index counts all longer ones. 0 past the last, which is 19.
 */
uint64_t hypeman_metrics_fault_us(const struct hypeman_metrics *metrics,
                                  size_t index);

/**
 * Returns how many errors there were: damaged frames, VMs that were refused.
 */
uint64_t hypeman_metrics_errors(const struct hypeman_metrics *metrics);

/**
 * Returns what the last error said, or NULL where there was none. Borrowed.
 */
const char *hypeman_metrics_last_error(const struct hypeman_metrics *metrics);

/**
 * Returns every number as JSON. To be freed with hypeman_string_free; NULL for NULL.
 */
char *hypeman_metrics_to_json(const struct hypeman_metrics *metrics);

/**
 * Frees metrics. NULL is fine.
 */
void hypeman_metrics_free(struct hypeman_metrics *metrics);

/**
 * Returns the id of the snapshot. Borrowed; NULL for NULL.
 */
const char *hypeman_verification_snapshot_id(const struct hypeman_verification *report);

/**
 * Returns 1 when every file was checked and nothing is wrong, else 0.
 */
int32_t hypeman_verification_is_good(const struct hypeman_verification *report);

/**
 * Returns the number of files of the payload that are there.
 */
size_t hypeman_verification_file_count(const struct hypeman_verification *report);

/**
 * Returns the path of a file, in the order of paths, or NULL past the last. Borrowed.
 */
const char *hypeman_verification_file_path(const struct hypeman_verification *report, size_t index);

/**
 * Returns the apparent size of a file in bytes, 0 past the last.
 */
uint64_t hypeman_verification_file_size_bytes(const struct hypeman_verification *report, size_t index);

/**
 * Returns what is known of a file, or NULL past the last: "good", "damaged" (a defect names it), or "unchecked":
 * there are no checksums to compare it with, or not yet. Borrowed.
 */
const char *hypeman_verification_file_status(const struct hypeman_verification *report,
                                             size_t index);

/**
 * Returns the number of defects.
 */
size_t hypeman_verification_defect_count(const struct hypeman_verification *report);

/**
 * Returns the path of the file that a defect concerns, by path and offset, or NULL past the last. Borrowed.
 */
const char *hypeman_verification_defect_path(const struct hypeman_verification *report, size_t index);

/**
 * Returns what kind of defect it is, or NULL past the last: "missing", "extra", "size", "content", "frame" (of a
 * compressed memory file) or "metadata". Borrowed.
 */
const char *hypeman_verification_defect_kind(const struct hypeman_verification *report,
                                             size_t index);

/**
 * Returns what is wrong, for people, or NULL past the last. Borrowed.
 */
const char *hypeman_verification_defect_message(const struct hypeman_verification *report, size_t index);

/**
 * Puts into offset_out where in the file the damaged part begins, and returns 1; or returns 0 where the whole file
 * is concerned, or the message names the place.
 */
int32_t hypeman_verification_defect_offset(const struct hypeman_verification *report,
                                           size_t index,
                                           uint64_t *offset_out);

/**
 * Puts into bytes_out the length of the part in which the damage lies, and returns 1; or returns 0 where there is no
 * offset.
 */
int32_t hypeman_verification_defect_size_bytes(const struct hypeman_verification *report,
                                               size_t index,
                                               uint64_t *bytes_out);

/**
 * Returns every field as JSON, absent ones left out. To be freed with hypeman_string_free; NULL for NULL.
 */
char *hypeman_verification_to_json(const struct hypeman_verification *report);

/**
 * Frees a report. NULL is fine.
 */
void hypeman_verification_free(struct hypeman_verification *report);

/**
 * Reads every byte of the payload of a snapshot and compares it with the checksums that were made after its capture.
 * Blocks. Damage is what the report is for, not an error.
 *
 * options: NULL for the defaults. out: a report for hypeman_verification_free.
 *
 * Errors: not_found, busy when its files are being removed, corrupt when it has no payload at all, timeout,
 * cancelled, closed, errors of the disk.
 */
hypeman_status hypeman_snapshot_verify(const struct hypeman_handle *handle,
                                       const char *id,
                                       const struct hypeman_call_options *options,
                                       struct hypeman_verification **out,
                                       struct hypeman_error **err);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* HYPEMAN_H */
