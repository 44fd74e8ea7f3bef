"""Write a rule as one file of Python: a torch.optim.Optimizer that needs nothing from this project.

    python rules.py export powersign -o powersign.py

The file computes the rule's simplified expression on lists of tensors, keeps only the averages that
it reads and draws random operands as RuleOptimizer does. Its steps equal RuleOptimizer's but for one
rounding, where the update is scaled and subtracted at once. Below is what the file looks like, then
what is filled in. Read next: foreach.py for the lines that compute the update.
"""

import ast
import builtins
import keyword
import re
import textwrap
from typing import NamedTuple

from dsl import DROP, Rule
from export.advice import NO_SWEEP
from export.foreach import AVERAGES, DECAYS, FOREACH, NOISES, Code, beta

# fmt: off
MEANING = {  # of the names in a formula
    "m":       "m is the moving average of the gradient g, bias-corrected as in Adam",
    "v":       "v is the moving average of g^2, bias-corrected as in Adam",
    "gamma":   "gamma is the moving average of g^3, bias-corrected as in Adam",
    "adam":    "Adam is m / (sqrt(v) + eps), m and v the bias-corrected averages of g and g^2",
    "rmsprop": "RMSProp is g / (sqrt(v) + eps), v the bias-corrected average of g^2",
    "noise":   "noise has the standard deviation 0.01, drawn anew for each weight and step",
    "anoise":  "anoise has the variance 1 / (1 + t)^0.55, drawn anew for each weight and step t",
    "ld":      "ld is 1 - t / T, T being total_steps",
    "cd":      "cd is (1 + cos(pi t / T)) / 2, T being total_steps",
    "rd":      "rd is (1 + cos(pi (t / 2 mod T) / T)) / 2, T being total_steps",
}
# fmt: on


class Setting(NamedTuple):
    """An argument of the exported class."""

    kind: str
    default: str  # "" if it must be given
    allowed: str
    words: str
    help: str


SETTINGS = {
    "lr": Setting("float", "", "0 <= {} < math.inf", "finite and at least 0", "learning rate"),
    "beta1": Setting("float", "0.9", "0 <= {} < 1", "in [0, 1)", "decay of the average of g"),
    "beta2": Setting("float", "0.999", "0 <= {} < 1", "in [0, 1)", "decay of the average of g^2"),
    "beta3": Setting("float", "0.999", "0 <= {} < 1", "in [0, 1)", "decay of the average of g^3"),
    "eps": Setting("float", "1e-8", "0 <= {} < math.inf", "finite and at least 0", "added to divisors"),
    "total_steps": Setting("int", "", "{} >= 1", "at least 1", "T, steps of the whole training"),
    "seed": Setting("int", "0", "", "", "of the random draws"),
}

# A line that ends in `#? word` is there only if the rule needs it. Words in capitals are filled in.
TEMPLATE = '''"""NAME, an optimizer for PyTorch: w <- w - lr * update, with

DOCUMENTATION
"""

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
IMPORTS

Tensors = list[Tensor] | tuple[Tensor, ...]  # a tensor a parameter


class NAME(torch.optim.Optimizer):
    """w <- w - lr * update, as the top of this file says.

    Args:
        params: parameters, or groups of parameters with settings of their own.
HELP
    Raises:
        ValueError: a setting is out of range.
    """

SIGNATURE
DEFAULTS
        super().__init__(params, defaults)
        draws = torch.Generator().manual_seed(seed)  #? draws
        # Kept in `state`, where state_dict finds it.  #? draws
        self.state["random"] = {"generator": draws.get_state()}  #? draws

    def add_param_group(self, param_group: dict) -> None:
        """Add parameters with settings of their own, which are checked too."""
        group = {**self.defaults, **param_group}
CHECKS
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Take one step; parameters without gradient are left alone.

        Args:
            closure: recomputes and returns the loss, with gradients.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()

        draws = torch.Generator()  #? draws
        draws.set_state(self.state["random"]["generator"].cpu())  #? draws
        for group in self.param_groups:
            rows: list[tuple[Tensor, ...]] = []  #? no steps
            rows: dict[int, list[tuple[Tensor, ...]]] = {}  # by step, nearly always one  #? steps
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p.grad.is_sparse:
                    raise RuntimeError("sparse gradients are not supported")
                g = _wide(p.grad)
                state = self.state[p]  #? state
                if not state:  #? state
                    state["step"] = 0  #? steps
ZEROS
                state["step"] += 1  #? steps
DRAWS
ROW
                rows.append(row)  #? no steps
                rows.setdefault(state["step"], []).append(row)  #? steps
            for block in _blocks(rows):  #? no steps
            for step, same in rows.items():  #? steps
                for block in _blocks(same):  #? steps
CALL
        self.state["random"] = {"generator": draws.get_state()}  #? draws
        return loss

    def load_state_dict(self, state_dict: dict) -> None:  #? averages
        """Load a saved state."""  #? averages
        super().load_state_dict(state_dict)  #? averages
        # torch has cast the averages to the dtype of their parameters: restore them.  #? averages
        places = [i for group in state_dict["param_groups"] for i in group["params"]]  #? averages
        params = [p for group in self.param_groups for p in group["params"]]  #? averages
        for i, p in zip(places, params):  #? averages
            for name, value in state_dict["state"].get(i, {}).items():  #? averages
                if isinstance(value, Tensor):  #? averages
                    self.state[p][name] = value.to(p.device, copy=True)  #? averages


UPDATE
    """Take a step."""
    progress = min((step - 1) / total_steps, 1.0)  #? decays
BODY


def _wide(x: Tensor) -> Tensor:
    """Return x, as float32 if shorter: moving averages would stall in bfloat16."""
    return x.float() if x.itemsize < 4 else x


def _blocks(rows: list[tuple[Tensor, ...]]) -> Iterator[list[tuple[Tensor, ...]]]:
    """Yield the columns of the rows, on a CPU in blocks that fit into its cache.

    The tensors of a row are equally large; large ones are cut into views.
    """
    limit = 2**17 if rows and rows[0][0].device.type == "cpu" else math.inf  # elements
    block: list[tuple[Tensor, ...]] = []
    room = limit
    for row in rows:
        size = row[0].numel()
        cut = size > limit and all(x.is_contiguous() for x in row)
        for piece in zip(*(x.view(-1).split(limit) for x in row)) if cut else (row,):
            block.append(piece)
            room -= limit if cut else size
            if room <= 0:
                yield list(zip(*block))
                block, room = [], limit
    if block:
        yield list(zip(*block))


def _sign(xs: Tensors) -> Tensors:  #? _sign
    """Return the signs; NaN stays NaN, where torch.sign would hide it as 0."""  #? _sign
    signs = sign(xs)  #? _sign
    # 0 * x is NaN where x is. Limits are for infinity: 0 * inf would be NaN too.  #? _sign
    limited = clamp_min(xs, -1)  #? _sign
    clamp_max_(limited, 1)  #? _sign
    add_(signs, limited, alpha=0)  #? _sign
    return signs  #? _sign


def _drop(keep: Tensors, xs: Tensors) -> Tensors:  #? _drop
    """Return xs with zeros where `keep` is False; the rest is not rescaled."""  #? _drop
    return [torch.where(k, x, 0.0) for k, x in zip(keep, xs)]  #? _drop
'''


def class_name(name: str) -> str:
    """Return what a rule's name is as a class: PowerSignLd for powersign-ld."""
    known = {"sgd": "SGD", "signsgd": "SignSGD", "rmsprop": "RMSProp"}
    known |= {"powersign": "PowerSign", "addsign": "AddSign"}
    return "".join(known.get(part, part.capitalize()) for part in name.split("-"))


def one_line_or_many(head: str, items: list[str], tail: str, indent: int) -> str:
    """Return `head items tail` on one line if 88 columns are enough, else a line an item."""
    pad = " " * indent
    if len(line := f"{pad}{head}{', '.join(items)}{tail}") <= 88:
        return line
    inner = "".join(f"{pad}    {item},\n" for item in items)
    return f"{pad}{head}\n{inner}{pad}{tail}"


def _typed(key: str) -> str:
    default = SETTINGS[key].default
    return f"{key}: {SETTINGS[key].kind}" + (f" = {default}" if default else "")


def _check(key: str) -> str:
    return (
        f'        {key} = group["{key}"]\n'
        f"        if not {SETTINGS[key].allowed.format(key)}:\n"
        f'            raise ValueError(f"{key} is {{{key}}}; it must be {SETTINGS[key].words}")'
    )


def _noise(token: str) -> str:
    indent, draw = " " * 16, "torch.randn(g.shape, generator=draws, dtype=g.dtype)"
    return f"{indent}{token} = {draw}\n{indent}{token} = {token}.to(g.device) * {NOISES[token]}"


def _keep(keep: str, chance: float) -> str:
    indent, draw = " " * 16, "torch.rand(g.shape, generator=draws, dtype=torch.float32)"
    return f"{indent}{keep} = {draw}\n{indent}{keep} = ({keep} >= {chance}).to(g.device)"


def _documentation(rule: Rule, name: str, advice: list[str], usage: list[str], about: str) -> str:
    """Return the docstring below its title: formula, rates, usage, origin."""
    wrap = textwrap.TextWrapper(84, "", "    ", break_long_words=False, break_on_hyphens=False)
    averages = {"sign_g": "g", "sign_m": "m"}
    tokens = dict.fromkeys(averages.get(token, token) for token in rule.operands)
    meanings = [f"    {MEANING[token]}" for token in tokens if token in MEANING]
    formula = textwrap.fill(
        f"update = {rule.infix()}", 84, initial_indent="    ", subsequent_indent=" " * 13
    )
    # Names of data sets come from files: nothing in them may end the docstring.
    advice = [re.sub(r"[\"\\\\]", "'", line) for line in advice]
    rates = [wrap.fill(line) for line in advice] or [NO_SWEEP]
    origin = f"The rule is '{rule}' in the language of Neural Optimizer Search (Bello et al., ICML 2017)"
    origin = textwrap.fill(f"{origin}: {about}." if about else f"{origin}.", 84)
    lines = [formula, "", *meanings, *[""] * bool(meanings), "Learning rates, tried a decade apart:", ""]
    lines += [f"    {line}" for rate in rates for line in rate.splitlines()]
    usage = [*usage, "optimizer.zero_grad()", "loss.backward()", "optimizer.step()"]
    return "\n".join([*lines, "", "Use:", "", *(f"    {line}" for line in usage), "", origin])


def _kept(line: str, parts: set[str]) -> str:
    """Return a line of the template without its mark, or nothing if the rule does not need it."""
    text, mark, part = line.partition("  #? ")
    return line if not mark else f"{text}\n" * (part.strip() in parts)


def export(
    rule: Rule,
    name: str,
    advice: list[str],
    lr: float = 1e-3,
    remark: str = f"# {NO_SWEEP}",
    about: str = "",
) -> str:
    """Return a Python file with an optimizer that trains by a rule.

    Args:
        name: of the class.
        advice: for the docstring, a line a recorded learning rate; may be empty.
        lr, remark: for the usage example, and a comment on that rate, if any.
        about: what the rule is and where it comes from.
    Raises:
        ValueError: the name cannot be a class's, or it means something else in the file.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"a class cannot be called '{name}'; choose a Python identifier")
    code = Code(rule)
    words = set(re.findall(r"\w+", " ".join(code.lines)))
    decays = [token for token in DECAYS if token in words]
    noises = [token for token in NOISES if token in words]
    keeps = {f"keep{i}": DROP[rule.groups[k][2 + side]] for i, (k, side) in enumerate(rule.draws, 1)}
    states = [AVERAGES[token] for token in code.averages]

    steps = bool({"step", *decays} & words) or "anoise" in noises
    needs = {"averages": states, "state": states or steps, "steps": steps, "no steps": not steps}
    needs |= {"decays": decays, "draws": noises or keeps, "_sign": "_sign" in words, "_drop": keeps}
    parts = {part for part, needed in needs.items() if needed}

    settings = ["lr", *map(beta, code.averages), *["eps"] * ("eps" in words)]
    settings += ["total_steps"] * bool(decays)
    arguments = [*settings, *["seed"] * ("draws" in parts)]
    arguments.sort(key=lambda key: SETTINGS[key].default != "")  # those without default come first
    w = ["_wide(p)"] * ("w" in words)
    row = ["p", "g", *w, *(f'state["{name}"]' for name in states), *noises, *keeps]
    columns = ["params", "g", *["w"] * len(w), *states, *noises, *keeps]
    passed = ["*block", *["step"] * steps, *(f'{key}=group["{key}"]' for key in settings)]
    taken = [f"{column}: Tensors" for column in columns] + ["step: int"] * steps
    taken += [f"{key}: {SETTINGS[key].kind}" for key in settings]
    signature = ["self", "params: Iterable", *map(_typed, arguments)]
    body = [*(f"{token} = {DECAYS[token]}" for token in decays), *code.lines]

    given = f"lr={lr:g}" + ", total_steps=10_000" * bool(decays)
    usage = [*[remark] * bool(remark), f"optimizer = {name}(model.parameters(), {given})"]
    filled = {
        "DOCUMENTATION": _documentation(rule, name, advice, usage, about),
        "HELP": "\n".join(f"        {key}: {SETTINGS[key].help}." for key in arguments),
        "SIGNATURE": one_line_or_many("def __init__(", signature, ") -> None:", 4),
        "CHECKS": "\n".join(map(_check, settings)),
        "DEFAULTS": one_line_or_many("defaults = {", [f'"{key}": {key}' for key in settings], "}", 8),
        "ZEROS": "\n".join(f'{" " * 20}state["{s}"] = torch.zeros_like(g)' for s in states),
        "DRAWS": "\n".join([*map(_noise, noises), *map(_keep, keeps, keeps.values())]),
        "ROW": one_line_or_many("row = (", row, ")", 16),
        "CALL": one_line_or_many("_update(", passed, ")", 20 if steps else 16),
        "UPDATE": one_line_or_many("def _update(", taken, ") -> None:", 0),
        "BODY": "\n".join(f"    {line}" for line in body),
    }
    text = "".join(_kept(line, parts) for line in TEMPLATE.splitlines(keepends=True))
    text = text.replace("NAME", name)
    used = {FOREACH[s]: s for s in FOREACH if re.search(rf"\b{s}\(", text + filled["BODY"])}
    filled["IMPORTS"] = "\n".join(f"from torch import _foreach_{f} as {used[f]}" for f in sorted(used))
    for word, value in filled.items():
        text = re.sub(rf"^{word}\n", lambda _, v=value: v + "\n" * bool(v), text, flags=re.M)
    text = re.sub(r"\n{4,}", "\n\n\n", text).rstrip() + "\n"
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    if name in used or hasattr(builtins, name):
        raise ValueError(f"'{name}' means something else to the file or to Python; choose another name")
    return text
