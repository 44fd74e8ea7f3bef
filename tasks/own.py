"""A task of your own as what a search trains: `python search.py --task my_task.py`.

The file defines one subclass of training.Task. Workers load it by its path. Its version, a hash of the
file and what it says of its data, is part of a run, which goes on with no other.
Nothing to run here. Read next: pilot.py, what is measured before a search.
"""

import ast
import hashlib
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from config import setting

from dsl import SearchSpace
from results import Say, Scale
from rules import load_file
from sameness import Families
from training import ProtocolConfig, RandomState, Task, TaskFault, Trained, start_worker

HERE = Path(__file__).parent.parent  # the project


@dataclass(frozen=True)
class TaskConfig(ProtocolConfig):
    """What a score depends on beside the rule and the seed, for a task of one's own."""

    task: str = setting("", "Python file with a task of your own", "task")
    sweep_epochs: int = setting(0, "epochs with each rate of the sweep; 0: by the pilot", "task", low=0)
    rate_by: str = setting(
        "auto", "what chooses among rates: the score, or the loss in training; auto: by the pilot",
        "task", choices=("auto", "score", "loss"),
    )  # fmt: skip
    follow_rates: bool = setting(True, "go on beyond the sweep's last rate while it is the best", "task")
    screen: bool = setting(True, "reject rules that cheap tests show to be hopeless", "task")

    # Measured before the search begins, see pilot.py.
    version: str = setting("", "a hash of the file, what it imports and its data", flag=False)
    score_name: str = setting("", "of the scores; higher is better", flag=False)
    steps: int = setting(1, "batches of an epoch", low=1, flag=False)
    apart: bool = setting(False, "the rule runs tensor by tensor, as some rest at times", flag=False)
    gradients: float = setting(1.0, "their median, or 1 if that is more; screening's scale", flag=False)
    untrained: float = setting(0.0, "mean score of the untrained network", flag=False)
    trivial: tuple[float, ...] = setting((), "score of a trivial predictor, if there is one", flag=False)
    noise: float = setting(0.0, "standard deviation of one training's score over seeds", flag=False)
    human: float = setting(0.0, "score of the best human optimizer", flag=False)
    failure: float = setting(-sys.float_info.max, "what a failed training counts", flag=False)

    @property
    def scale(self) -> Scale:
        chance = max(self.untrained, *self.trivial, -sys.float_info.max)
        return Scale(self.failure, chance, max(0.02 * (self.human - chance), self.noise))

    def open(self) -> Task:
        """Return the task, loaded once a process.

        Raises:
            TaskFault: its file is none, or another one than the config was made for.
        """
        task, version = open_task(self.task)
        if self.version not in ("", version):
            what = f"{self.task} or its data has changed: it was {self.version} and is {version}"
            raise TaskFault(f"{what}; bring the old one back or begin anew")
        return task


@lru_cache(maxsize=4)
def open_task(path: str) -> tuple[Task, str]:
    """Return the task that a file defines, and its version."""
    version = digest(path)
    with RandomState(0):  # what is drawn while it is loaded is the same in every process
        module = load_file(path)
        own = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Task)]
        own = [one for one in own if one.__module__ == module.__name__]
        own = [one for one in own if not {*one.__subclasses__()} & {*own}]  # no base of another
        if len(own) != 1:
            names = ", ".join(one.__name__ for one in own) or "none"
            raise TaskFault(f"{path} must define one subclass of training.Task; it has {names}")
        task = own[0]()
    return task, f"{version} {task.data_version()}".strip()


def digest(path: str) -> str:
    """Return a hash of a file and of what it imports from beside it."""
    texts = b"".join(one.read_bytes() for one in sources(path))
    return hashlib.blake2b(texts, digest_size=8).hexdigest()


def forget_changed(path: str) -> None:
    """Let a file be loaded anew if it, or what it imports, is not what it was: so it is in notebooks."""
    if digest(path) == open_task(path)[1].split()[0]:
        return
    open_task.cache_clear()
    load_file.cache_clear()
    files = {str(one) for one in sources(path)}
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) in files:
            del sys.modules[name]


def sources(path: str) -> list[Path]:
    """Return a file and the files beside it that it imports, and they; not those of this project.

    Raises:
        TaskFault: it is no file of Python, or what it imports would not be what stands beside it.
    """
    file = Path(path)
    if not file.is_file():
        raise TaskFault(f"--task is '{path}', which is missing; it must be a Python file, *.py")
    if file.suffix != ".py":
        raise TaskFault(f"'{path}' must be a Python file, *.py, and be there")
    found, folder = [file.resolve()], file.resolve().parent
    for one in found:
        try:
            tree = ast.parse(one.read_bytes())
        except SyntaxError as error:
            raise TaskFault(f"{one}, line {error.lineno}: {error.msg}") from None
        relative = [x for x in ast.walk(tree) if isinstance(x, ast.ImportFrom) and x.level]
        if relative and one == found[0]:  # a folder beside it may have some
            what = "an import with a dot; put what it imports beside it and import it by its name"
            raise TaskFault(f"{one}, line {relative[0].lineno}: {what}")
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
                 for alias in node.names}  # fmt: skip
        names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        for name in sorted({name.split(".")[0] for name in names} - {""}):
            beside = [folder / f"{name}.py", *sorted((folder / name).rglob("*.py"))]
            beside = [path for path in beside if path.is_file()]
            if folder == HERE or not beside:
                continue
            if (HERE / f"{name}.py").is_file() or (HERE / name / "__init__.py").is_file():
                what = "the project has one of that name, which Python takes; call yours something else"
                raise TaskFault(f"{one.name} imports {name} from beside it, but {what}")
            found += [path for path in beside if path not in found]
    return found


@dataclass(frozen=True)
class OwnTask(Trained, TaskConfig):
    """A task as what scores the rules of a search; loop.Scorer says what each method is for."""

    def __str__(self) -> str:
        return f"{Path(self.task).name}: {self.score_name}, higher is better"

    def resolve(self, space: SearchSpace, say: Say) -> "OwnTask":
        sources(self.task)  # the dry run loads it, and tells its faults
        return replace(self, task=str(Path(self.task).resolve()))

    def fetch(self, say: Say) -> "OwnTask":
        from tasks import pilot  # it needs this file

        return pilot.measure(self, say)

    def prepare(self) -> None:
        start_worker()
        forget_changed(self.task)
        self.open()
        start_worker()  # once more: their code may have asked for threads

    def identity(self) -> Families:
        return Families(swept=True)
