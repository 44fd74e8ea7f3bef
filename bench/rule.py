"""What a step of exported rules costs beside torch's optimizers.

    python -m bench.rule
    python -m bench.rule --memory returned     # large blocks go back to the system when they are freed

Some are timed compiled too (torch.compile), which needs a C++ compiler and takes a minute beforehand.

Read next: export/code.py, which writes what is timed here.
"""

import sys
import types
from collections.abc import Callable, Iterator

from config import as_program

import numpy as np
import torch

from bench.launch import Config, launch
from bench.timing import spread, table, take_turns
from export.code import export
from rules import find

# A convolutional network's shapes: many small tensors, and a few that hold nearly all parameters.
SMALL = [(64, 64, 3, 3), (128, 32, 3, 3), (96, 256)] + [(64,)] * 20
LARGE = [(512, 512, 3, 3)] * 3 + [(256, 512, 3, 3), (256, 256, 3, 3), (1000, 1024)] + [(512,)] * 40


def measure(config: Config) -> Iterator[dict]:
    """Measure what a step of exported rules costs beside torch's optimizers."""
    for shapes, rounds in ((SMALL, 500), (LARGE, 30)):
        torch.compiler.reset()  # a function is compiled at most eight times
        steps, generator = {}, torch.Generator().manual_seed(0)
        weights = [torch.randn(shape, generator=generator) for shape in shapes]

        def add(name: str, make: Callable, weights: list = weights, steps: dict = steps) -> None:
            params = [w.clone().requires_grad_() for w in weights]
            for p, w in zip(params, weights, strict=True):
                p.grad = 0.1 * w
            steps[name] = make(params).step
            if "compiled" in name:
                steps[name] = torch.compile(steps[name])
                for _ in range(3):  # the first call makes the state, the second has one
                    steps[name]()

        for name in ("adam", "rmsprop", "powersign"):
            # As importing the written file would; torch.compile looks the module up by its name.
            module = sys.modules[f"exported_{name}"] = types.ModuleType(f"exported_{name}")
            exec(export(find(name), "Exported", []), vars(module))
            for how in ("", ", compiled") if name != "rmsprop" else ("",):
                add(f"exported {name}{how}", lambda params, cls=module.Exported: cls(params, lr=1e-3))
        for cls in (torch.optim.Adam, torch.optim.RMSprop):
            for how in ("foreach", "fused"):
                if how == "foreach" or cls is torch.optim.Adam:  # torch has no fused RMSprop
                    add(f"torch {cls.__name__} {how}", lambda ps, c=cls, h=how: c(ps, 1e-3, **{h: True}))
        add("torch Adam, compiled", lambda params: torch.optim.Adam(params, 1e-3))
        # Adam without momentum is RMSProp as a rule has it, with bias correction.
        no_momentum = {"betas": (0.0, 0.999), "foreach": True}
        add("torch Adam foreach, beta1 0", lambda ps, kw=no_momentum: torch.optim.Adam(ps, 1e-3, **kw))

        sizes = {"parameters": sum(w.numel() for w in weights), "tensors": len(weights)}
        yield {"part": "rule", **sizes, "times": take_turns(steps, rounds)}


def show(records: list[dict]) -> str:
    """Return a table for each set of tensors: a step's time, and its ratio to foreach Adam's."""
    tables = []
    for record in records:
        times = {name: np.array(values) for name, values in record["times"].items()}
        base = times["torch Adam foreach"]
        rows = [[name, spread(t, 1e3, 2), spread(t / base, 1, 2)] for name, t in times.items()]
        text = f"{record['parameters'] / 1e6:.1f} million parameters, {record['tensors']} tensors; "
        text += f"{len(base)} rounds\n\n"
        tables.append(text + table(["", "ms a step", "of foreach Adam"], rows))
    return "\n\n".join(tables)


def main(argv: list[str] | None = None) -> int:
    return launch("rule", __doc__, Config, measure, show, argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
