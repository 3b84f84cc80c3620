"""Prints a snapshot as JSON: the fields of the API, and nothing else.

python examples/get.py DATA_DIR ID
"""

import json
import sys

from libhypeman import Hypeman

data_dir, snapshot_id = sys.argv[1:]

with Hypeman(data_dir) as hm:
    print(json.dumps(hm.snapshots.get(snapshot_id).to_dict(), indent=2))
