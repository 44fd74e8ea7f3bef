#!/bin/sh
# distributed 2026.8.0: Client.retire_workers of the only worker, which holds a result that a future asks for,
# returns an empty dict and no error or warning reaches the caller. The worker stays and takes more tasks. Once
# the future is gone the same call retires it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dask==2026.8.0 distributed==2026.8.0
cat >"$folder/ask.py" <<'END'
import logging
import time

from distributed import Client, LocalCluster

logging.disable(logging.CRITICAL)
how = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
with LocalCluster(**how) as cluster, Client(cluster) as client:
    [address] = client.nthreads()
    future = client.submit(abs, -1)
    future.result()
    print("retired:", len(client.retire_workers([address])), "left:", len(client.nthreads()))
    print("still works:", client.submit(abs, -2).result())
    del future
    time.sleep(2)
    print("retired:", len(client.retire_workers([address])), "left:", len(client.nthreads()))
END
"$folder/venv/bin/python" -W ignore "$folder/ask.py" | tee "$folder/seen"
cat >"$folder/expected" <<'END'
retired: 0 left: 1
still works: 2
retired: 1 left: 0
END
diff "$folder/expected" "$folder/seen" && echo "as we saw it"
