/* Forks under load: `fork DATA_DIR ID COUNT`. Two threads work on the handle all the while. Each child answers at once,
   correctly or with `closed`, and never holds or gives up a lock of the parent's. Prints how many forks there were. */
#include <hypeman.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static hypeman_handle *hm;
static volatile int over;

static void *load(void *unused)
{
    (void)unused;
    while (!over) {
        hypeman_snapshots *list = NULL;
        hypeman_verification *report = NULL;
        hypeman_snapshot_list(hm, NULL, &list, NULL);
        if (hypeman_snapshots_count(list) > 0) {
            const char *id = hypeman_snapshot_id(hypeman_snapshots_at(list, 0));
            hypeman_snapshot_verify(hm, id, NULL, &report, NULL);
        }
        hypeman_verification_free(report);
        hypeman_snapshots_free(list);
    }
    return NULL;
}

/* What a child sees: 0 where all is as it must be. */
static int child(const char *data, const char *id, int opens)
{
    hypeman_snapshots *list = NULL;
    hypeman_handle *own = NULL;
    alarm(20);
    if (hypeman_snapshot_list(hm, NULL, &list, NULL) != HYPEMAN_STATUS_CLOSED) return 1;
    hypeman_close(hm);
    if (!opens) return 0;
    if (hypeman_open(data, NULL, &own, NULL) != HYPEMAN_STATUS_OK) return 2;
    if (hypeman_snapshot_list(own, NULL, &list, NULL) != HYPEMAN_STATUS_OK) return 3;
    hypeman_snapshots_free(list);
    /* The parent reads its memory: no one deletes it. */
    if (hypeman_snapshot_delete(own, id, NULL) != HYPEMAN_STATUS_BUSY) return 4;
    hypeman_close(own);
    return 0;
}

int main(int count, char **arguments)
{
    pthread_t threads[2];
    hypeman_memory *image = NULL;
    int forks = 0, wanted = count == 4 ? atoi(arguments[3]) : 0;
    if (count != 4 || hypeman_open(arguments[1], NULL, &hm, NULL) != HYPEMAN_STATUS_OK) return 2;
    if (hypeman_snapshot_memory(hm, arguments[2], &image, NULL) != HYPEMAN_STATUS_OK) return 2;
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, load, NULL) != 0) return 2;
    for (; forks < wanted; forks++) {
        int status;
        pid_t pid = fork();
        if (pid == 0) _exit(child(arguments[1], arguments[2], forks % 10 == 0));
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
            printf("fork %d: the child ended with %#x\n", forks, status);
            return 1;
        }
    }
    over = 1;
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    /* The children are gone, and the lock is still ours. */
    if (hypeman_snapshot_delete(hm, arguments[2], NULL) != HYPEMAN_STATUS_BUSY) return 3;
    hypeman_memory_free(image);
    hypeman_close(hm);
    printf("%d\n", forks);
    return 0;
}
