"""What keeps a busy guest busy in Python: a heap of records, JSON, a database, floats and blobs, changed for ever."""

import array
import json
import os
import random
import sqlite3
import time

records = [
    {"id": i, "name": f"user-{i}", "tags": [f"tag-{i % 97}", f"team-{i % 13}"], "score": i * 1.5}
    for i in range(120_000)
]
texts = [json.dumps(records[i : i + 1000]) for i in range(0, len(records), 1000)]
floats = array.array("d", (random.random() for _ in range(1_000_000)))
blobs = [os.urandom(4096) for _ in range(1500)]

database = sqlite3.connect(":memory:")
database.execute("create table users (id integer primary key, name text, score real)")
database.executemany("insert into users values (:id, :name, :score)", records)

print("FILLED", flush=True)
while True:
    for _ in range(500):
        record = random.choice(records)
        record["score"] = random.random()
        database.execute("update users set score = ? where id = ?", (record["score"], record["id"]))
        floats[random.randrange(len(floats))] = record["score"]
    blobs[random.randrange(len(blobs))] = os.urandom(4096)
    start = random.randrange(0, len(records), 1000)
    texts[start // 1000] = json.dumps(records[start : start + 1000])
    time.sleep(0.5)
