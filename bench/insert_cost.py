#!/usr/bin/env python3
"""What an acknowledged comment costs mongod itself, without and with change streams.

    pip install pymongo
    MONGOD=mongod python3 bench/insert_cost.py

Starts a mongod of its own as a replica set of one, writes comments one by one with majority from 16 threads, and prints
its processor time for each: without a change stream, and with one and three that read every change with its document.
"""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from datetime import datetime, timezone

from bson import ObjectId
from pymongo import MongoClient, WriteConcern

PORT = 39555
URI = f"mongodb://127.0.0.1:{PORT}/?directConnection=true"
COMMENTS, WRITERS, POSTS = 6_000, 16, 1_000
TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def set_up(client):
    client.admin.command("replSetInitiate", {"_id": "rs", "members": [{"_id": 0, "host": f"127.0.0.1:{PORT}"}]})
    while not client.admin.command("hello")["isWritablePrimary"]:
        time.sleep(0.1)
    comments = client.rejoinder.get_collection("comments", write_concern=WriteConcern("majority"))
    comments.create_index([("postId", 1), ("createdAt", -1), ("_id", -1)])
    client.rejoinder.command("collMod", "comments", changeStreamPreAndPostImages={"enabled": True})
    return comments


def watch(stopped, stands):
    with MongoClient(URI).rejoinder.comments.watch() as stream:
        stands.release()
        while not stopped.is_set():
            stream.try_next()


def write(comments, posts, writer):
    for number in range(COMMENTS // WRITERS):
        post = posts[(writer * 7_919 + number) % POSTS]
        now = datetime.now(timezone.utc)
        comments.insert_one({"postId": post, "text": "x" * 200, "author": "Ann", "createdAt": now})


def run_all(threads):
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure(pid, comments, posts, streams):
    stopped, stands = threading.Event(), threading.Semaphore(0)
    readers = [threading.Thread(target=watch, args=(stopped, stands)) for _ in range(streams)]
    for reader in readers:
        reader.start()
        stands.acquire()
    before, began = processor_seconds(pid), time.monotonic()
    run_all([threading.Thread(target=write, args=(comments, posts, it)) for it in range(WRITERS)])
    rate = COMMENTS / (time.monotonic() - began)
    time.sleep(1)
    each = 1_000 * (processor_seconds(pid) - before) / COMMENTS
    print(f"{streams} change streams: {rate:5.0f} comments/s, {each:.3f} ms of mongod each", flush=True)
    stopped.set()
    for reader in readers:
        reader.join()


def main():
    folder = tempfile.mkdtemp(prefix="insert-cost-")
    command = [os.environ.get("MONGOD", "mongod"), "--dbpath", folder, "--port", str(PORT), "--replSet", "rs"]
    mongod = subprocess.Popen(command + ["--bind_ip", "127.0.0.1"], stdout=subprocess.DEVNULL)
    try:
        comments = set_up(MongoClient(URI))
        posts = [ObjectId() for _ in range(POSTS)]
        for streams in (0, 1, 3, 0, 1, 3):
            measure(mongod.pid, comments, posts, streams)
    finally:
        mongod.terminate()
        mongod.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
