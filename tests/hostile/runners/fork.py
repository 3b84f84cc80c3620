"""Forks under load, in each way that Python knows: `fork.py DATA_DIR ID COUNT` (see fork.c)."""

import multiprocessing
import os
import sys
import threading

from libhypeman import BusyError, ClosedError, Hypeman

PATIENCE = 60


def closed(hm: Hypeman) -> bool:
    try:
        hm.snapshots.list()
    except ClosedError:
        return True
    return False


def own(data: str, id: str) -> None:
    """In another process: a handle of its own works, and the parent's lock stays."""
    with Hypeman(data) as hm:
        assert hm.snapshots.list()
        try:
            hm.snapshots.delete(id)
        except BusyError:
            return
    raise AssertionError("the parent's lock is gone")


def main(data: str, id: str, count: str) -> None:
    hm = Hypeman(data)
    image = hm.snapshots.memory(id)
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            hm.snapshots.list()
            hm.snapshots.verify(id)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    forks = 0
    try:
        for _ in range(int(count)):
            pid = os.fork()
            if pid == 0:
                os._exit(0 if closed(hm) else 1)
            assert os.waitpid(pid, 0)[1] == 0
            forks += 1
        for method in ("fork", "forkserver", "spawn"):
            context = multiprocessing.get_context(method)
            processes = [context.Process(target=own, args=(data, id)) for _ in range(4)]
            for process in processes:
                process.start()
            for process in processes:
                process.join(PATIENCE)
                assert process.exitcode == 0, f"{method}: {process.exitcode}"
                forks += 1
    finally:
        over.set()
        for thread in threads:
            thread.join()
    image.close()
    hm.close()
    print(forks)


if __name__ == "__main__":
    main(*sys.argv[1:])
