"""Times snapshots.get against the same JSON over keep-alive HTTP: python get.py DATA_DIR ID HOST:PORT ROUNDS

Prints the medians of each round in microseconds. The HTTP client is the one of the standard library, which does less
than those that API clients are made of.
"""

import http.client
import json
import statistics
import sys
import time

from libhypeman import Hypeman

data_dir, snapshot_id, address, rounds = sys.argv[1:]


def median_us(work, times):
    spent = []
    for _ in range(times):
        start = time.perf_counter_ns()
        work()
        spent.append(time.perf_counter_ns() - start)
    return statistics.median(spent) / 1e3


with Hypeman(data_dir) as hm:
    connection = http.client.HTTPConnection(address)

    def over_http():
        connection.request("GET", f"/snapshots/{snapshot_id}")
        return json.loads(connection.getresponse().read())

    assert hm.snapshots.get(snapshot_id).to_dict() == over_http(), "both must say the same"
    samples = {"ours": [], "peer": []}
    for _ in range(int(rounds)):
        samples["ours"].append(median_us(lambda: hm.snapshots.get(snapshot_id), 2000))
        samples["peer"].append(median_us(over_http, 500))
    print(json.dumps(samples))
