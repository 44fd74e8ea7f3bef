#!/bin/sh
# matplotlib 3.11.2: after rcdefaults(), "restore the rcParams from Matplotlib's internal default style", time zone
# and date epoch are still those of the user's matplotlibrc, while other settings are back. So the same program
# labels the same dates otherwise on another account, also with the Agg backend.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet matplotlib==3.11.2
cat >"$folder/draw.py" <<'END'
import datetime

import matplotlib

matplotlib.use("Agg")
matplotlib.rcdefaults()
from matplotlib import dates, pyplot

noon = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)
axes = pyplot.figure().subplots()
axes.plot([noon, noon + datetime.timedelta(hours=6)], [0, 1])
axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
label = axes.xaxis.get_major_formatter()(dates.date2num(noon))
print(matplotlib.rcParams["lines.linewidth"], dates.get_epoch(), label)
END
cd "$folder"
: >matplotlibrc
venv/bin/python draw.py | tee seen
printf 'lines.linewidth: 9\ntimezone: Asia/Tokyo\ndate.epoch: 2000-01-01T00:00:00\n' >matplotlibrc
venv/bin/python draw.py | tee -a seen
cat >expected <<'END'
1.5 1970-01-01T00:00:00 12:00
1.5 2000-01-01T00:00:00 21:00
END
diff expected seen && echo "as we saw it"
