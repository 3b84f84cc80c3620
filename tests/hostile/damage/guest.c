/* A guest whose memory a pager serves: `guest SOCKET MEMORY start|end`, where MEMORY is a file with what is right. It touches
   every page, from there on, and ends with what it saw: 0 where all was right, 1 where it was ended at one that could not be
   had and those before were right, 2 where a byte was wrong. 77 where this process may not have a userfaultfd; without
   arguments it tells only that. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define PAGE 4096

static void ended(int signal)
{
    (void)signal;
    _exit(1);
}

/* Tells the pager where the memory is, and hands it the descriptor of its faults. */
static int announce(const char *path, char *memory, size_t bytes, int uffd)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    char message[256], control[CMSG_SPACE(sizeof uffd)] = "";
    int stream = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    if (stream < 0 || connect(stream, (struct sockaddr *)&at, sizeof at) != 0) return -1;
    int length = snprintf(message, sizeof message,
                          "[{\"base_host_virt_addr\":%zu,\"size\":%zu,\"offset\":0,\"page_size\":%d,\"page_size_kib\":%d}]",
                          (size_t)memory, bytes, PAGE, PAGE);
    struct iovec part = { message, (size_t)length };
    struct msghdr all = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    struct cmsghdr *head = CMSG_FIRSTHDR(&all);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof uffd);
    memcpy(CMSG_DATA(head), &uffd, sizeof uffd);
    return sendmsg(stream, &all, 0) == length ? stream : -1;
}

int main(int count, char **arguments)
{
    struct uffdio_api hello = { .api = UFFD_API, .features = UFFD_FEATURE_EVENT_REMOVE };
    int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (uffd < 0 || ioctl(uffd, UFFDIO_API, &hello) != 0) return 77;
    if (count != 4) return 0;

    struct stat file;
    int fd = open(arguments[2], O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &file) != 0 || file.st_size % PAGE != 0) return 3;
    size_t bytes = (size_t)file.st_size;
    const char *right = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (right == MAP_FAILED || memory == MAP_FAILED) return 3;
    struct uffdio_register range = { { (size_t)memory, bytes }, UFFDIO_REGISTER_MODE_MISSING, 0 };
    if (ioctl(uffd, UFFDIO_REGISTER, &range) != 0 || announce(arguments[1], memory, bytes, uffd) < 0) return 3;

    signal(SIGBUS, ended);
    /* One that stands still is no answer. */
    alarm(60);
    for (size_t done = 0; done < bytes; done += PAGE) {
        size_t at = *arguments[3] == 'e' ? bytes - PAGE - done : done;
        if (memcmp(memory + at, right + at, PAGE) != 0) return 2;
    }
    return 0;
}
