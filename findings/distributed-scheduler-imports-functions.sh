#!/bin/sh
# distributed 2026.8.0: a function of a module that client and worker can import, but the scheduler cannot,
# fails to be submitted: the scheduler unpickles it, although it only passes it on. The same function defined
# within another one works, since cloudpickle then sends its code.
set -eu
folder=$(mktemp -d)
trap 'kill $(cat "$folder"/*.pid 2>/dev/null) 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dask==2026.8.0 distributed==2026.8.0
mkdir "$folder/project" "$folder/elsewhere"
cat >"$folder/project/work.py" <<'END'
def double(x):
    return 2 * x


def make():
    def double(x):
        return 2 * x

    return double
END
cat >"$folder/project/ask.py" <<'END'
import logging
import sys

import work
from distributed import Client

logging.disable(logging.CRITICAL)
with Client(scheduler_file=sys.argv[1], timeout=60) as client:
    client.wait_for_workers(1, timeout=60)
    for name, function in (("of a module", work.double), ("made within another", work.make())):
        try:
            print(name, client.submit(function, 21).result(60))
        except Exception as error:
            print(name, type(error).__name__, repr(error.__cause__))
END
here="--host 127.0.0.1 --dashboard-address 127.0.0.1:0 --scheduler-file $folder/address.json"
python="$folder/venv/bin/python"
cd "$folder/elsewhere"
"$python" -m dask scheduler --port 0 $here >"$folder/scheduler.log" 2>&1 &
echo $! >"$folder/scheduler.pid"
cd "$folder/project"
"$python" -m dask worker --no-nanny --nthreads 1 $here >"$folder/worker.log" 2>&1 &
echo $! >"$folder/worker.pid"
"$python" ask.py "$folder/address.json" | tee "$folder/seen"
cat >"$folder/expected" <<'END'
of a module RuntimeError ModuleNotFoundError("No module named 'work'")
made within another 42
END
diff "$folder/expected" "$folder/seen" && echo "as we saw it"
