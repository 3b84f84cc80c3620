"""Waits until every snapshot of a data directory is compressed, and tells how each was captured.

python examples/wait.py DATA_DIR
"""

import sys

from libhypeman import Hypeman

COLUMNS = "id name state paused_ms memory_format memory_file uncompressed_bytes compressed_bytes".split()

with Hypeman(sys.argv[1]) as hm:
    print(*COLUMNS, sep="\t")
    for snapshot in reversed(hm.snapshots.list()):
        done = hm.snapshots.wait(snapshot.id, timeout=120)
        capture = hm.snapshots.inspect(snapshot.id).capture
        print(
            done.id,
            done.name,
            done.compression_state,
            capture.paused_ms,
            capture.memory_format,
            capture.memory_file,
            done.uncompressed_size_bytes,
            done.compressed_size_bytes,
            sep="\t",
        )
