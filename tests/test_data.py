"""Tests of data.py on real files: the embedded sample, damaged copies of it, failing downloads."""

import contextlib
import gc
import hashlib
import io
import os
import re
import shutil
import socketserver
import sys
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from helpers import refusal
from processes import CONTEXT, DEADLINE_S, children, full_disk

import data
from data import FILES, NUM_VALIDATION, SAMPLE, DataError, Dataset, choose, load, prepare

ROOT = Path(data.__file__).parent
SHAPES = {"train_images": (15_000, 28, 28, 1), "train_labels": (15_000,)}
SHAPES |= {"test_images": (2_000, 28, 28, 1), "test_labels": (2_000,)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data root that holds the sample; tests do not change it."""
    root = tmp_path_factory.mktemp("data")
    prepare(SAMPLE, root)
    return root


@pytest.fixture
def root(prepared, tmp_path):
    """A data root of one's own, whose files may be replaced."""
    (tmp_path / SAMPLE).mkdir()
    for path in (prepared / SAMPLE).iterdir():
        os.link(path, tmp_path / SAMPLE / path.name)
    return tmp_path


def replace(path, content):
    """Put other bytes, an array, a folder or nothing in the place of a file."""
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.mkdir()
    elif content is not None:
        np.save(path, content)


def test_sample_has_the_documented_arrays_as_read_only_memory_maps(prepared):
    sample = load(SAMPLE, prepared)
    with np.load(ROOT / "data" / f"{SAMPLE}.npz") as shipped:
        for file in FILES:
            array = getattr(sample, file)
            assert (array.dtype, array.shape) == (np.uint8, SHAPES[file])
            assert isinstance(array, np.memmap) and not array.flags.writeable
            np.testing.assert_array_equal(array, shipped[file])


def some_dataset(num):
    images, labels = np.zeros((num, 1, 1, 1), np.uint8), np.zeros(num, np.uint8)
    return Dataset("some", images, labels, images, labels)


@pytest.mark.parametrize("num, digest", [(15_000, "9d66a65a67117108"), (50_000, "001a6afcd6e4613e")])
def test_split_covers_everything_and_is_the_same_forever(num, digest):
    """Scores of different versions of the project compare only on the same validation images."""
    for seed in range(2):
        np.random.seed(seed)
        training, validation = some_dataset(num).split()
        indices = np.concatenate([training, validation]).astype("<i8")
        assert len(validation) == NUM_VALIDATION == 5_000
        np.testing.assert_array_equal(np.sort(indices), np.arange(num))
        assert hashlib.sha256(indices.tobytes()).hexdigest()[:16] == digest


def stored(array, save=np.save):
    """The bytes of a file."""
    file = io.BytesIO()
    save(file, array)
    return file.getvalue()


LABELS, IMAGES = "train_labels", "test_images"
ZEROS, PHOTOS = np.zeros(15_000, np.uint8), np.zeros(SHAPES["test_images"], np.uint8)
DAMAGED = {
    "missing": (LABELS, None, "missing"),
    "empty": (LABELS, b"", "damaged"),
    "cut in the header": (LABELS, stored(ZEROS)[:50], "damaged"),
    "cut in the data": (LABELS, stored(ZEROS)[:-1], "damaged"),
    "pickled objects": (LABELS, np.array([None] * 15_000), "damaged"),
    "an npz": (LABELS, stored(ZEROS, np.savez), "npy"),
    "half an npz": (LABELS, stored(ZEROS, np.savez)[:-40], "damaged"),
    "a broken header": (LABELS, stored(ZEROS).replace(b"}", b" "), "damaged"),
    "a negative shape": (LABELS, stored(ZEROS).replace(b"(15000,)", b"(-1500,)"), "damaged"),
    "wrong type": (LABELS, ZEROS.astype(np.int64), r"int64 \[15000\]; expected uint8 \[15000\]"),
    "float images": (IMAGES, PHOTOS.astype(np.float16), r"float16 .*expected uint8"),
    "too few labels": (LABELS, ZEROS[:100], r"uint8 \[100\]; expected uint8 \[15000\]"),
    "no channel": (IMAGES, PHOTOS[..., 0], r"28, 28\]; expected uint8 \[2000, 28, 28, 1\]"),
    "a label of 10": (LABELS, np.where(np.arange(15_000) == 14_999, 10, ZEROS).astype(np.uint8), "9"),
    "255 for missing": ("test_labels", np.full(2_000, 255, np.uint8), "above 9"),
    "a folder": (IMAGES, "folder", "damaged"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_named_with_the_remedy_and_the_remedy_works(root, capsys, damage):
    file, content, found = DAMAGED[damage]
    path = root / SAMPLE / f"{file}.npy"
    replace(path, content)
    with pytest.raises(DataError, match=found) as error:
        load(SAMPLE, root)
    message = str(error.value)
    assert str(path) in message and "\n" not in message
    assert f"remove {root / SAMPLE} " in message
    assert message in refusal(data.main, [SAMPLE, "--data", str(root)], capsys)
    if damage == "missing":
        shutil.rmtree(root / SAMPLE)
        prepare(SAMPLE, root)
        load(SAMPLE, root)


def test_auto_is_cifar10_only_when_it_is_on_disk_and_what_is_missing_says_how_to_get_it(tmp_path):
    assert choose("auto", tmp_path) == choose("auto", tmp_path / "none") == SAMPLE
    for name in ("cifar10", "fashion-mnist"):
        with pytest.raises(DataError, match=f"python data.py {name} --data {tmp_path}"):
            load(name, tmp_path)
    (tmp_path / "fashion-mnist").mkdir()
    (tmp_path / ".cifar10-partial").mkdir()
    assert choose("auto", tmp_path) == SAMPLE
    (tmp_path / "cifar10").mkdir()
    assert choose("auto", tmp_path) == "cifar10"
    assert choose(SAMPLE, tmp_path) == SAMPLE
    assert choose("fashion-mnist", tmp_path / "none") == "fashion-mnist"


def prepare_together(barrier, root):
    barrier.wait(DEADLINE_S)
    prepare(SAMPLE, root)


def test_processes_that_prepare_together_make_the_root_and_nothing_beside_the_folder(tmp_path):
    root = tmp_path / "a" / "b"
    with children(prepare_together, CONTEXT.Barrier(4), root, number=4) as started:
        for process in started:
            process.join(DEADLINE_S)
    assert [process.exitcode for process in started] == [0] * 4
    assert [path.name for path in root.iterdir()] == [SAMPLE]
    assert {path.stem for path in (root / SAMPLE).iterdir()} == set(FILES)
    load(SAMPLE, root)


@pytest.mark.parametrize("bytes_left", [0, 1_000, 1_000_000])
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path, bytes_left):
    with pytest.raises(DataError, match=re.escape(str(tmp_path / SAMPLE))), full_disk(bytes_left):
        prepare(SAMPLE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_an_error_and_stays(tmp_path):
    for path in (tmp_path / "one", tmp_path / "two" / SAMPLE):  # of the root, of the folder
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        root = tmp_path / path.relative_to(tmp_path).parts[0]
        with pytest.raises(DataError, match=re.escape(str(root / SAMPLE))):
            prepare(SAMPLE, root)
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine", "mine"]


@pytest.mark.parametrize("kind", ["RuntimeError", "AttributeError"])
def test_a_torchvision_that_does_not_fit_torch_is_one_line(kind, tmp_path, monkeypatch):
    """Really imported: a stand-in that fails as those of other versions do."""
    (tmp_path / "torchvision.py").write_text(f"raise {kind}('operator nms\\ndoes not exist')")
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match="torch here .operator nms does not exist.; get both") as refused:
        prepare("cifar10", tmp_path / "root")
    assert "\n" not in str(refused.value)


class Server(socketserver.BaseRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            self.request.recv(10_000)
            self.request.sendall(self.server.answer)


@pytest.fixture
def proxy(monkeypatch):
    """Send all requests to a server of ours, which gives one answer to all; None: no server."""
    monkeypatch.setattr(urllib.request, "_opener", None)  # forget the proxies of earlier requests
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def start(answer):
        server = stack.enter_context(socketserver.TCPServer(("127.0.0.1", 0), Server))
        server.answer = answer
        if answer is None:
            server.server_close()
        else:
            threading.Thread(target=server.serve_forever, args=(0.01,)).start()
            stack.callback(server.shutdown)
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, "http://%s:%s" % server.server_address)

    with contextlib.ExitStack() as stack:
        yield start
    gc.collect()


ANSWERS = {
    "no server": None,
    "not found": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "a login page": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
    "a cut file": b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\nstart",
    "no HTTP at all": b"who are you\r\n\r\n",
    "a cut chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


# The sockets of failed requests are torchvision's, which leaves them to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(  # CIFAR-10 comes by HTTPS, so that a proxy can only refuse
    "name, answer",
    [("cifar10", "no server"), ("cifar10", "not found"), *(("fashion-mnist", how) for how in ANSWERS)],
)
def test_a_failed_download_says_what_to_do_and_leaves_nothing(tmp_path, proxy, capsys, name, answer):
    proxy(ANSWERS[answer])
    with pytest.raises(DataError, match=f"could not download {name}.*copy a prepared folder {name}/"):
        prepare(name, tmp_path)
    assert list(tmp_path.iterdir()) == []
    if answer == "no server":
        with pytest.raises(SystemExit) as stop:
            data.main([name, "--data", str(tmp_path / "new")])
        tries, error = capsys.readouterr().err.splitlines()[-2:]
        assert stop.value.code == 2 and "copy a prepared" in error
        assert re.fullmatch(rf"downloading {name}, \d+ MB, \.\.\.", tries)


def test_command_prepares_says_what_comes_next_and_changes_nothing_when_it_comes_again(tmp_path, capsys):
    seen = []
    for _ in range(2):
        assert data.main([SAMPLE, "--data", str(tmp_path)]) == 0
        out, err = capsys.readouterr()
        assert "15,000 training and 2,000 test images, 13 MB" in out and err == ""
        assert f"--dataset {SAMPLE} --data {tmp_path}" in out
        paths = [tmp_path, *tmp_path.rglob("*")]
        seen.append([(path, path.stat().st_ino, path.stat().st_mtime_ns) for path in paths])
    assert seen[0] == seen[1]


def test_checksum_is_of_the_arrays_and_not_of_how_a_file_orders_them(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 9, (2500, 4), dtype=np.uint8) for name in data.FILES}

    def checksum(name, order):
        (tmp_path / name).mkdir()
        for file, array in arrays.items():
            np.save(tmp_path / name / f"{file}.npy", np.asarray(array, order=order))
        return data.checksum(name, tmp_path)

    assert checksum("rows", "C") == checksum("columns", "F")
    whole = b"".join(array.tobytes() for array in arrays.values())
    assert checksum("again", "F") == hashlib.sha256(whole).hexdigest()
