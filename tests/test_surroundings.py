"""Surroundings in which programs of many hours died elsewhere: here they work on, or end with a line."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from helpers import DATA, ROOT

import data

# T searches without training, S with a worker process.
PRELUDE = """
set -o pipefail
T="$PY -m nosbench.search --samples 20"
S="$PY $ROOT/search.py --preset smoke --data $DATA --filters 2 --epoch-size 100 --num-validation 100"
S="$S --workers 1 --samples"
records() { until [ $(cat run/records.jsonl 2>/dev/null | wc -l) -gt 5 ]; do sleep 0.1; done; }
"""
# Runs a command and takes its terminal away, or gives it one that cannot be written to.
WRAP = """
import fcntl, os, signal, subprocess, sys, time
how, command = sys.argv[1], sys.argv[2:]
if how == "full pipe":
    out, full = os.pipe()
    os.set_blocking(full, False)
    try:
        while True:
            os.write(full, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(full, True)
    sys.exit(subprocess.run(command, stdout=subprocess.DEVNULL, stderr=full).returncode)
ours, theirs = os.openpty()
if how == "non-blocking":
    os.set_blocking(theirs, False)
process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
os.close(theirs)
if how == "gone":
    os.read(ours, 10)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
else:
    try:
        while os.read(ours, 100):
            time.sleep(0.01)
    except OSError:
        pass
sys.exit(process.wait())
"""
TEX = "text.usetex: True\nfont.family: No Such Font\nsavefig.format: pgf\n"
# Each: name | exit code | what is said, if only in the log; then the commands.
CASES = r"""
== a reader leaves | 0 | holds the run
$T --out run 2>&1 | head -1
== a reader leaves at once | 0 | holds the run
PYTHONUNBUFFERED=1 $T --out run | true
== stdin closed | 0 | holds the run
$T --out run <&-
== stderr closed | 0 | holds the run
$T --out run 2>&-
== stderr on a full disk | 0 | holds the run
$T --out run 2>/dev/full
== all closed, with a worker | 0 | holds the run
$S 8 --out run <&- >&- 2>&-
== from Python, a reader leaves and a terminal closes | 0 | holds the run
trap '' HUP
echo "from search import search
if __name__ == '__main__':
    run = search(preset='smoke', samples=8, data='$DATA', filters=2, epoch_size=100, workers=1, out=OUT)
    print(run.best.infix())" >mine.py
sed "s/OUT/'one'/" mine.py >one.py && $PY one.py 2>&1 | head -1 && cat one/log.txt
sed "s/OUT/'run'/" mine.py >two.py && $PY wrap.py gone $PY two.py
== stdout on a full disk | 1 | could be written: No space
$T --out run >/dev/full
== a reader stops to read | 0 | holds the run
$PY wrap.py 'full pipe' $T --out run
== a terminal closes | 0 | holds the run
$PY wrap.py gone $S 8 --out run
== a terminal made non-blocking | 0 | holds the run
$PY wrap.py non-blocking $T --out run
== a narrow terminal | 0 | holds the run
COLUMNS=1 $PY wrap.py narrow $T --out run
== nohup | 0 | holds the run
nohup $T --out run </dev/null >out 2>&1
== ASCII | 0 | holds the run
PYTHONIOENCODING=ascii:strict $T --out 'rün'
cat rün/log.txt
== the C locale | 0 | holds the run
LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 $T --out run
== scripts that only show | 0 |
for script in "$ROOT/rules.py list" "-m nosbench.show adam"; do
  $PY $script | true
  $PY $script >&- 2>&-
done
true
== rosenbrock.py | 0 | rosenbrock.png
cp usetex matplotlibrc
$PY $ROOT/rosenbrock.py --out run >&- 2>&- && ls run
== a report | 0 | report.html
$T --out run && $PY -m plots.report run >&- 2>&-
ls run
== a notebook's backend | 0 | learning_curve.svg
MPLBACKEND=module://matplotlib_inline.backend_inline $T --out run && ls run
== no such backend | 0 | learning_curve.svg
MPLBACKEND=nonsense $T --out run && ls run
== usetex without LaTeX | 0 | learning_curve.svg
cp usetex matplotlibrc
$T --out run && ls run
== a matplotlibrc of noise | 0 | no figure, .*python -m plots.learning_curve run
printf '\377\376\n' >matplotlibrc
$T --out run && ! $PY -m plots.learning_curve run && ! $PY -m plots.report run
== no home | 0 | learning_curve.svg
env -u HOME -u USER MPLCONFIGDIR=/proc/no $T --out run && ls run
== no matplotlib | 0 | no figure, .*python -m plots.learning_curve run
mkdir none && echo 'raise ImportError' >none/matplotlib.py
export PYTHONPATH=none:$PYTHONPATH
$T --out run && ! $PY -m plots.report run
== pictures overwritten meanwhile | 1 | holds other pictures .*go on with: .* run
mkdir d && cp -r $DATA/fashion-mnist-sample d
$S 900 --data d --out run &
records
$PY -c 'import numpy as n; f = "d/fashion-mnist-sample/train_labels.npy"; n.save(f, 9 - n.load(f))'
wait $!; code=$?
! grep -E '"status": "(error|crashed)"' run/records.jsonl && exit $code
== resumed elsewhere | 0 | holds the run
mkdir d e && cp -r $DATA/fashion-mnist-sample d
$S 30 --data d --out run &
records; kill -KILL $!; wait $!
cd e && $PY $ROOT/search.py --resume ../run && rmdir ../e
== too little memory for torch | 1 | ^error: a library cannot be imported: .
ulimit -v 600000
$PY $ROOT/search.py --out run
== a long TMPDIR | 1 | no worker can start: .*set TMPDIR to a shorter one
export TMPDIR=$PWD/$(printf %0100d 0)
mkdir $TMPDIR
$S 8 --out run
== no TMPDIR | 0 | holds the run
TMPDIR=/proc/no $S 8 --out run
== few open files | 2 | need 103 open files; 60 are allowed
ulimit -n 60
$S 8 --out run
== SIGTERM | 143 | Go on with: .* --resume run
$S 900 --out run &
records; kill -TERM $!; wait $!
== SIGTERM to a container's process 1 and all others | 143 | Go on with: .* --resume run
unshare --pid --fork --mount-proc $S 3000 --out run &
workers() { pgrep -g 0 -f '^[^ ]*python.*forkserver'; }
records; before=$(workers); kill -TERM $before; sleep 2
[ "$(workers)" = "$before" ] && pkill -TERM -g 0 -f '^[^ ]*python'; wait $!
== three in the same second | 0 | -s0\n.*-s0-2\n.*-s0-3\n
mkdir one && echo 'import time; time.strftime = lambda *_: "one-second"' >one/sitecustomize.py
export PYTHONPATH=one:$PYTHONPATH
$T & $T & $T & wait
ls runs
== many threads asked for | 0 | holds the run
OMP_NUM_THREADS=64 MKL_NUM_THREADS=64 $T --out run
== an odd name | 0 | holds the run
$T --out "run 'of' \$x ä" && cat run*/log.txt
== a folder that cannot be made | 2 | error: cannot create runs/
cd /proc && $T
== inside another repository | 0 | ^None$
git init -q . && git -c user.name=a -c user.email=b commit -q --allow-empty -m c
mkdir p && cp $ROOT/*.py p && cd p
PYTHONPATH= $PY -c 'import results; print(results.environment(1)["commit"])'
== without docstrings | 0 | holds the run
PYTHONOPTIMIZE=2 $T --out run
"""
CASES = dict(case.split("\n", 1) for case in CASES.strip().removeprefix("== ").split("\n== "))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_it_works_on_or_ends_with_a_line(case, tmp_path):
    _, code, said = map(str.strip, case.split("|", 2))
    if "unshare" in CASES[case] and (os.getuid() != 0 or shutil.which("unshare") is None):
        pytest.skip("needs to be root")
    data.prepare(data.SAMPLE, DATA)
    (tmp_path / "wrap.py").write_text(WRAP)
    (tmp_path / "usetex").write_text(TEX)
    names = {"PY": sys.executable, "ROOT": str(ROOT), "DATA": str(DATA), "PYTHONPATH": str(ROOT)}
    how = {"cwd": tmp_path, "env": os.environ | names, "start_new_session": True, "timeout": 900}
    with (tmp_path / "said").open("w") as output:
        shell = ["bash", "-c", PRELUDE + CASES[case]]
        streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
        ended = subprocess.run(shell, **streams, **how)
    texts = [tmp_path / "said", tmp_path / "run" / "log.txt", tmp_path / "out"]
    text = "".join(path.read_text("utf-8", "replace") for path in texts if path.exists())
    assert "Traceback" not in text and "Exception ignored" not in text, text
    assert ended.returncode == int(code) and re.search(said, text, re.MULTILINE), text
