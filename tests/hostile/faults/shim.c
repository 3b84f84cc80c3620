/* Answers one call of a process with a fault: loaded by LD_PRELOAD, told what to do by paths that no one else opens.
 *
 *     /hypeman-faults/arm/NAME/K/HOW/EVER   the K-th call of NAME (from 1) is answered with HOW: an error number,
 *                                           "short" or "lie"; so are all later ones where EVER is 1
 *     /hypeman-faults/kill/NAME/K           the process is killed instead of making the K-th call of NAME
 *     /hypeman-faults/calls                 no more faults; a file that says "NAME COUNT" a line since the last arm, then
 *                                           "hits COUNT"
 *
 * Not getrandom: it cannot fail on a system that has booted, and the standard library of Rust relies on that.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define EACH(X)                                                                                                \
    X(openat2) X(open) X(read) X(pread) X(readv) X(write) X(writev) X(pwrite) X(fsync) X(fdatasync)             \
    X(ftruncate) X(rename) X(unlink) X(mkdir) X(link) X(symlink) X(readlink) X(fchmod) X(fchown) X(lock)        \
    X(dup) X(stat) X(statfs) X(lseek) X(getdents) X(copy_file_range) X(ficlone) X(socket) X(connect) X(recv)    \
    X(send) X(poll)

enum name {
#define X(n) N_##n,
    EACH(X)
#undef X
    NAMES
};
static const char *const names[] = {
#define X(n) #n,
    EACH(X)
#undef X
};

enum { SHORT = -1, LIE = -2 };
static atomic_int armed, which, at, how, ever, hits, calls[NAMES];
static int deadly = NAMES, last;

/* 0, an error number, SHORT or LIE. */
static int fault(enum name n)
{
    if (!atomic_load(&armed)) return 0;
    int k = atomic_fetch_add(&calls[n], 1) + 1;
    if ((int)n == deadly && k == last) kill(getpid(), SIGKILL);
    if ((int)n != which || k < at || (k > at && !ever)) return 0;
    atomic_fetch_add(&hits, 1);
    return how;
}

#define REAL(type, name, ...)                                                                                  \
    static type (*real)(__VA_ARGS__);                                                                          \
    if (real == NULL) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

/* Answers an error; `short` and `lie` mean nothing to most calls. */
#define FAIL(n)                                                                                                \
    do {                                                                                                       \
        int f = fault(n);                                                                                      \
        if (f > 0) {                                                                                           \
            errno = f;                                                                                         \
            return -1;                                                                                         \
        }                                                                                                      \
    } while (0)

/* The same for what moves bytes: half of them, or all of them by its own word. */
#define MOVES(n, count)                                                                                        \
    do {                                                                                                       \
        int f = fault(n);                                                                                      \
        if (f > 0) {                                                                                           \
            errno = f;                                                                                         \
            return -1;                                                                                         \
        }                                                                                                      \
        if (f == SHORT && (count) > 1) (count) = (count) / 2;                                                  \
        if (f == LIE) return (ssize_t)(count);                                                                 \
    } while (0)

static int report(void)
{
    char text[4096] = "";
    int length = 0, fd = memfd_create("calls", MFD_CLOEXEC);
    for (int n = 0; n < NAMES; n++)
        length += snprintf(text + length, sizeof text - (size_t)length, "%s %d\n", names[n], calls[n]);
    length += snprintf(text + length, sizeof text - (size_t)length, "hits %d\n", hits);
    long (*call)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    call(SYS_write, fd, text, length);
    call(SYS_lseek, fd, 0, SEEK_SET);
    return fd;
}

/* The call of this name, or NAMES. */
static int find(const char *name)
{
    int n = 0;
    while (n < NAMES && strcmp(names[n], name) != 0) n++;
    return n;
}

/* The answer to a path of ours, or -2. */
static int command(const char *path)
{
    char name[32], what[16];
    int k, forever;
    if (strncmp(path, "/hypeman-faults/", 16) != 0) return -2;
    path += 16;
    atomic_store(&armed, 0);
    if (strcmp(path, "calls") == 0) return report();
    errno = ENOENT;
    if (sscanf(path, "kill/%31[^/]/%d", name, &k) == 2) {
        deadly = find(name);
        last = k;
        return -1;
    }
    if (sscanf(path, "arm/%31[^/]/%d/%15[^/]/%d", name, &k, what, &forever) != 4) return -1;
    for (int n = 0; n < NAMES; n++) calls[n] = 0;
    which = find(name);
    at = k;
    ever = forever;
    hits = 0;
    how = strcmp(what, "short") == 0 ? SHORT : strcmp(what, "lie") == 0 ? LIE : atoi(what);
    atomic_store(&armed, 1);
    return -1;
}

#define OPEN(fn)                                                                                               \
    int fn(const char *path, int flags, ...)                                                                   \
    {                                                                                                          \
        REAL(int, #fn, const char *, int, mode_t);                                                             \
        va_list list;                                                                                          \
        va_start(list, flags);                                                                                 \
        mode_t mode = va_arg(list, mode_t);                                                                    \
        va_end(list);                                                                                          \
        int ours = command(path);                                                                              \
        if (ours != -2) return ours;                                                                           \
        FAIL(N_open);                                                                                          \
        return real(path, flags, mode);                                                                        \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(fn)                                                                                             \
    int fn(int dir, const char *path, int flags, ...)                                                          \
    {                                                                                                          \
        REAL(int, #fn, int, const char *, int, mode_t);                                                        \
        va_list list;                                                                                          \
        va_start(list, flags);                                                                                 \
        mode_t mode = va_arg(list, mode_t);                                                                    \
        va_end(list);                                                                                          \
        FAIL(N_open);                                                                                          \
        return real(dir, path, flags, mode);                                                                   \
    }
OPENAT(openat)
OPENAT(openat64)

long syscall(long number, ...)
{
    REAL(long, "syscall", long, ...);
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_openat2) FAIL(N_openat2);
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

ssize_t read(int fd, void *to, size_t count)
{
    REAL(ssize_t, "read", int, void *, size_t);
    MOVES(N_read, count);
    return real(fd, to, count);
}

#define PREAD(fn)                                                                                              \
    ssize_t fn(int fd, void *to, size_t count, off_t at)                                                       \
    {                                                                                                          \
        REAL(ssize_t, #fn, int, void *, size_t, off_t);                                                        \
        MOVES(N_pread, count);                                                                                 \
        return real(fd, to, count, at);                                                                        \
    }
PREAD(pread)
PREAD(pread64)

ssize_t readv(int fd, const struct iovec *to, int count)
{
    REAL(ssize_t, "readv", int, const struct iovec *, int);
    FAIL(N_readv);
    return real(fd, to, count);
}

ssize_t write(int fd, const void *from, size_t count)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    MOVES(N_write, count);
    return real(fd, from, count);
}

ssize_t writev(int fd, const struct iovec *from, int count)
{
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    FAIL(N_writev);
    return real(fd, from, count);
}

#define PWRITE(fn)                                                                                             \
    ssize_t fn(int fd, const void *from, size_t count, off_t at)                                               \
    {                                                                                                          \
        REAL(ssize_t, #fn, int, const void *, size_t, off_t);                                                  \
        MOVES(N_pwrite, count);                                                                                \
        return real(fd, from, count, at);                                                                      \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

/* A flush that lies is a disk that lies: it flushes nothing and says so to no one. */
#define FLUSH(fn)                                                                                              \
    int fn(int fd)                                                                                             \
    {                                                                                                          \
        REAL(int, #fn, int);                                                                                   \
        FAIL(N_##fn);                                                                                          \
        return real(fd);                                                                                       \
    }
FLUSH(fsync)
FLUSH(fdatasync)

#define TRUNCATE(fn)                                                                                           \
    int fn(int fd, off_t length)                                                                               \
    {                                                                                                          \
        REAL(int, #fn, int, off_t);                                                                            \
        FAIL(N_ftruncate);                                                                                     \
        return real(fd, length);                                                                               \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

int rename(const char *from, const char *to)
{
    REAL(int, "rename", const char *, const char *);
    FAIL(N_rename);
    return real(from, to);
}

int renameat(int a, const char *from, int b, const char *to)
{
    REAL(int, "renameat", int, const char *, int, const char *);
    FAIL(N_rename);
    return real(a, from, b, to);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    FAIL(N_rename);
    return real(a, from, b, to, flags);
}

int unlink(const char *path)
{
    REAL(int, "unlink", const char *);
    FAIL(N_unlink);
    return real(path);
}

int unlinkat(int dir, const char *path, int flags)
{
    REAL(int, "unlinkat", int, const char *, int);
    FAIL(N_unlink);
    return real(dir, path, flags);
}

int mkdir(const char *path, mode_t mode)
{
    REAL(int, "mkdir", const char *, mode_t);
    FAIL(N_mkdir);
    return real(path, mode);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
    REAL(int, "mkdirat", int, const char *, mode_t);
    FAIL(N_mkdir);
    return real(dir, path, mode);
}

int linkat(int a, const char *from, int b, const char *to, int flags)
{
    REAL(int, "linkat", int, const char *, int, const char *, int);
    FAIL(N_link);
    return real(a, from, b, to, flags);
}

int symlinkat(const char *target, int dir, const char *path)
{
    REAL(int, "symlinkat", const char *, int, const char *);
    FAIL(N_symlink);
    return real(target, dir, path);
}

ssize_t readlinkat(int dir, const char *path, char *to, size_t count)
{
    REAL(ssize_t, "readlinkat", int, const char *, char *, size_t);
    FAIL(N_readlink);
    return real(dir, path, to, count);
}

ssize_t readlink(const char *path, char *to, size_t count)
{
    REAL(ssize_t, "readlink", const char *, char *, size_t);
    FAIL(N_readlink);
    return real(path, to, count);
}

int fchmod(int fd, mode_t mode)
{
    REAL(int, "fchmod", int, mode_t);
    FAIL(N_fchmod);
    return real(fd, mode);
}

int fchown(int fd, uid_t user, gid_t group)
{
    REAL(int, "fchown", int, uid_t, gid_t);
    FAIL(N_fchown);
    return real(fd, user, group);
}

#define FCNTL(fn)                                                                                              \
    int fn(int fd, int what, ...)                                                                              \
    {                                                                                                          \
        REAL(int, #fn, int, int, long);                                                                        \
        va_list list;                                                                                          \
        va_start(list, what);                                                                                  \
        long argument = va_arg(list, long);                                                                    \
        va_end(list);                                                                                          \
        if (what == F_OFD_SETLK || what == F_OFD_GETLK || what == F_OFD_SETLKW) FAIL(N_lock);                   \
        if (what == F_DUPFD || what == F_DUPFD_CLOEXEC) FAIL(N_dup);                                            \
        return real(fd, what, argument);                                                                       \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

#define FSTAT(fn, type)                                                                                        \
    int fn(int fd, struct type *to)                                                                            \
    {                                                                                                          \
        REAL(int, #fn, int, struct type *);                                                                    \
        FAIL(N_stat);                                                                                          \
        return real(fd, to);                                                                                   \
    }
FSTAT(fstat, stat)
FSTAT(fstat64, stat64)

#define FSTATAT(fn, type)                                                                                      \
    int fn(int dir, const char *path, struct type *to, int flags)                                              \
    {                                                                                                          \
        REAL(int, #fn, int, const char *, struct type *, int);                                                 \
        FAIL(N_stat);                                                                                          \
        return real(dir, path, to, flags);                                                                     \
    }
FSTATAT(fstatat, stat)
FSTATAT(fstatat64, stat64)

int statx(int dir, const char *path, int flags, unsigned mask, struct statx *to)
{
    REAL(int, "statx", int, const char *, int, unsigned, struct statx *);
    FAIL(N_stat);
    return real(dir, path, flags, mask, to);
}

struct statfs64;
int statfs64(const char *path, struct statfs64 *to)
{
    REAL(int, "statfs64", const char *, struct statfs64 *);
    FAIL(N_statfs);
    return real(path, to);
}

struct statvfs;
int fstatvfs(int fd, struct statvfs *to)
{
    REAL(int, "fstatvfs", int, struct statvfs *);
    FAIL(N_statfs);
    return real(fd, to);
}

#define SEEK(fn)                                                                                               \
    off_t fn(int fd, off_t at, int whence)                                                                     \
    {                                                                                                          \
        REAL(off_t, #fn, int, off_t, int);                                                                     \
        FAIL(N_lseek);                                                                                         \
        return real(fd, at, whence);                                                                           \
    }
SEEK(lseek)
SEEK(lseek64)

#define READDIR(fn, type)                                                                                      \
    struct type *fn(DIR *dir)                                                                                  \
    {                                                                                                          \
        REAL(struct type *, #fn, DIR *);                                                                       \
        int f = fault(N_getdents);                                                                             \
        if (f > 0) {                                                                                           \
            errno = f;                                                                                         \
            return NULL;                                                                                       \
        }                                                                                                      \
        return real(dir);                                                                                      \
    }
READDIR(readdir, dirent)
READDIR(readdir64, dirent64)

ssize_t copy_file_range(int from, off_t *at, int to, off_t *where, size_t count, unsigned flags)
{
    REAL(ssize_t, "copy_file_range", int, off_t *, int, off_t *, size_t, unsigned);
    MOVES(N_copy_file_range, count);
    return real(from, at, to, where, count, flags);
}

int ioctl(int fd, unsigned long what, ...)
{
    REAL(int, "ioctl", int, unsigned long, void *);
    va_list list;
    va_start(list, what);
    void *argument = va_arg(list, void *);
    va_end(list);
    if (what == 0x40049409) FAIL(N_ficlone);
    return real(fd, what, argument);
}

int socket(int domain, int type, int protocol)
{
    REAL(int, "socket", int, int, int);
    FAIL(N_socket);
    return real(domain, type, protocol);
}

int connect(int fd, const struct sockaddr *to, socklen_t length)
{
    REAL(int, "connect", int, const struct sockaddr *, socklen_t);
    FAIL(N_connect);
    return real(fd, to, length);
}

ssize_t recv(int fd, void *to, size_t count, int flags)
{
    REAL(ssize_t, "recv", int, void *, size_t, int);
    int f = fault(N_recv);
    if (f > 0) {
        errno = f;
        return -1;
    }
    return real(fd, to, f == SHORT && count > 1 ? 1 : count, flags);
}

ssize_t recvmsg(int fd, struct msghdr *to, int flags)
{
    REAL(ssize_t, "recvmsg", int, struct msghdr *, int);
    FAIL(N_recv);
    return real(fd, to, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *from, int flags)
{
    REAL(ssize_t, "sendmsg", int, const struct msghdr *, int);
    FAIL(N_send);
    return real(fd, from, flags);
}

ssize_t send(int fd, const void *from, size_t count, int flags)
{
    REAL(ssize_t, "send", int, const void *, size_t, int);
    FAIL(N_send);
    return real(fd, from, count, flags);
}

struct pollfd;
int poll(struct pollfd *fds, unsigned long count, int timeout)
{
    REAL(int, "poll", struct pollfd *, unsigned long, int);
    FAIL(N_poll);
    return real(fds, count, timeout);
}
