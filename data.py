"""Data sets as memory-mapped arrays, and the fixed validation split.

    python data.py cifar10               # download and prepare once, into data/cifar10
    python data.py fashion-mnist --data DIR

A data set is a folder with four files, uint8: train_images.npy and test_images.npy [N, H, W, C],
train_labels.npy and test_labels.npy [N]. A folder of this layout made elsewhere works as well. They
are opened as memory maps, so all workers share one copy in memory. `fashion-mnist-sample`, 15,000
pictures, ships with the project. Scores are of these pictures alone, so runs keep where they were and
their checksum. Read next: screen.py, what comes before training.
"""

import hashlib
import os
import sys
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path

from config import Parser, as_program

import numpy as np

HERE = Path(__file__).parent / "data"
SAMPLE = "fashion-mnist-sample"
DOWNLOADS = {"cifar10": "CIFAR10", "fashion-mnist": "FashionMNIST"}  # names in torchvision.datasets
MEGABYTES = {"cifar10": 170, "fashion-mnist": 31}  # to download
NAMES = (*DOWNLOADS, SAMPLE)
IMAGE_SHAPE = {"cifar10": (32, 32, 3), "fashion-mnist": (28, 28, 1), SAMPLE: (28, 28, 1)}
NUM_IMAGES = {"cifar10": (50_000, 10_000), "fashion-mnist": (60_000, 10_000), SAMPLE: (15_000, 2_000)}
NUM_CLASSES = 10
NUM_VALIDATION = 5_000  # set apart for validation, however many of them a child looks at
ANY = "auto"  # checksum of a data set of which it is not known, so that any pictures will do
FILES = ("train_images", "train_labels", "test_images", "test_labels")


class DataError(ValueError):
    """A data set is missing or damaged, or cannot be had; the message says what to do."""


class MissingError(DataError):
    """The pictures that scores are of are not where they were."""


@dataclass(frozen=True)
class Dataset:
    """One data set, memory-mapped: images uint8 [N, H, W, C], labels uint8 [N] in 0 ... 9."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of the training pool and of the 5,000 validation images.

        The split is a constant of the data set: no seed or setting changes it.
        """
        order = np.random.default_rng(0).permutation(len(self.train_labels))
        return order[NUM_VALIDATION:], order[:NUM_VALIDATION]


def choose(name: str, root: Path) -> str:
    """Turn "auto" into CIFAR-10 if it is on disk, else the embedded sample; never downloads."""
    if name != "auto":
        return name
    return "cifar10" if (root / "cifar10").is_dir() else SAMPLE


def load(name: str, root: Path, sha256: str = ANY) -> Dataset:
    """Open a prepared data set.

    Args:
        sha256: what its `checksum` must be, if that is known.
    Raises:
        DataError: a file is missing, truncated or of the wrong shape, or the pictures are others.
    """
    arrays = {}
    for file, count in zip(FILES, np.repeat(NUM_IMAGES[name], 2).tolist(), strict=True):
        path = root / name / f"{file}.npy"
        try:
            array = np.lib.format.open_memmap(path, mode="r")
        except FileNotFoundError:
            if sha256 == ANY:
                raise DataError(f"{path} is missing; {_remedy(name, root)}") from None
            moved = f"if it was moved, link {root / name} to it"
            raise MissingError(f"{path} is missing; {moved}") from None
        except Exception as error:  # damage of all kinds: numpy reads the header as Python
            reason = str(error).split("\n")[0]
            raise DataError(f"{path} is damaged, no npy ({reason}); {_remedy(name, root)}") from None
        shape = (count, *IMAGE_SHAPE[name]) if file.endswith("images") else (count,)
        if array.shape != shape or array.dtype != np.uint8:
            found = f"{array.dtype} {list(array.shape)}"
            raise DataError(f"{path} holds {found}; expected uint8 {list(shape)}; {_remedy(name, root)}")
        if file.endswith("labels") and array.max() >= NUM_CLASSES:
            raise DataError(f"{path} holds labels above 9; {_remedy(name, root)}")
        arrays[file] = array
    if sha256 != ANY and (found := checksum(name, root)) != sha256:
        raise DataError(
            f"{root / name} holds other pictures than the scores so far are of: "
            f"their sha256 begins with {found:.12}, not {sha256:.12}"
        )
    return Dataset(name, **arrays)


def checksum(name: str, root: Path) -> str:
    """Return the sha256 of a data set's four arrays, 64 hexadecimal digits."""
    return _checksum(files(name, root))


def files(name: str, root: Path) -> tuple[tuple[str, int, int], ...]:
    """Return the paths of a data set's files, each with its time and size, which tell a changed one."""
    paths = [str(root / name / f"{file}.npy") for file in FILES]
    return tuple((path, (now := os.stat(path)).st_mtime_ns, now.st_size) for path in paths)


@lru_cache(maxsize=4)
def _checksum(files: tuple[tuple[str, int, int], ...]) -> str:
    """Return the sha256 of what `files` returns, so changed ones are read again."""
    total = hashlib.sha256()
    for path, *_ in files:
        array = np.load(path, mmap_mode="r")
        for start in range(0, len(array), 1000):  # in blocks: one in Fortran's order must be copied
            total.update(np.ascontiguousarray(array[start : start + 1000]))
    return total.hexdigest()


def _remedy(name: str, root: Path) -> str:
    folder = root / name
    if name == SAMPLE:
        return f"remove {folder} if it is there: a new search with --data {root} unpacks it again"
    return f"remove {folder} if it is there and run: python data.py {name} --data {root}"


def prepare(name: str, root: Path) -> Path:
    """Make the folder of a data set if it is not there, by unpacking or by downloading.

    Call it in one process before workers start; checksums are torchvision's.

    Raises:
        DataError: the download failed or the folder cannot be written.
    """
    folder = root / name
    if folder.is_dir():
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=f".{name}-") as temporary:
            made = Path(temporary) / name
            made.mkdir()
            for file, array in _fetch(name, Path(temporary) / "download").items():
                np.save(made / f"{file}.npy", array)
            made.rename(folder)
    except OSError as error:
        if folder.is_dir():  # somebody else was faster
            return folder
        raise DataError(f"cannot prepare {folder}: {error.strerror or error}") from None
    return folder


def _fetch(name: str, temporary: Path) -> dict[str, np.ndarray]:
    if name == SAMPLE:
        with np.load(HERE / f"{SAMPLE}.npz") as arrays:
            return {file: arrays[file] for file in FILES}
    try:
        from torchvision import datasets  # seconds to import, so not in every worker
    except Exception as error:  # of many kinds if it was built for another torch
        reason = " ".join(str(error).split())
        what = f"torchvision, which downloads {name}, does not fit torch here ({reason:.200})"
        raise DataError(f"{what}; get both from one place: pip install -U torch torchvision") from None

    print(f"downloading {name}, {MEGABYTES[name]} MB, ...", file=sys.stderr, flush=True)
    arrays = {}
    for split in ("train", "test"):
        try:
            source = getattr(datasets, DOWNLOADS[name])(
                str(temporary), train=split == "train", download=True
            )
        except (OSError, RuntimeError, ValueError, HTTPException) as error:
            reason = " ".join(str(getattr(error, "reason", error)).split())
            raise DataError(
                f"could not download {name} ({reason}); without network, copy a prepared folder "
                f"{name}/ with {', '.join(f'{file}.npy' for file in FILES)} into the data folder"
            ) from None
        images = np.asarray(source.data, dtype=np.uint8)
        arrays[f"{split}_images"] = images.reshape(len(images), *IMAGE_SHAPE[name])
        arrays[f"{split}_labels"] = np.asarray(source.targets, dtype=np.uint8)
    return arrays


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="data.py", description=__doc__)
    parser.add_argument("name", choices=NAMES, help="the data set")
    parser.add_argument(
        "--data", type=Path, default=Path("data"), metavar="DIR", help="root of the data sets"
    )
    args = parser.parse_args(argv)
    try:
        folder = prepare(args.name, args.data)
        data = load(args.name, args.data)
    except DataError as error:
        parser.error(str(error))
    size = sum((folder / f"{file}.npy").stat().st_size for file in FILES) / 1e6
    counts = f"{len(data.train_labels):,} training and {len(data.test_labels):,} test images"
    print(f"{folder}: {counts}, {size:.0f} MB. Next: python search.py --dataset {args.name}", end="")
    print(f" --data {args.data}" if args.data != Path("data") else "")
    return 0


if __name__ == "__main__":
    sys.exit(as_program(main))
