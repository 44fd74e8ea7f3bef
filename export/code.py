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

from dsl import DROP, NUM_PERIODS, Rule
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
    "cd":      "cd is (1 + cos(2 pi n t / T)) / 2, T being total_steps and n num_periods",
    "rd":      "rd is (1 + cos(pi (n t / T mod 1))) / 2, T being total_steps and n num_periods",
}
# fmt: on


class Setting(NamedTuple):
    """An argument of the exported class."""

    kind: str
    default: str  # "" if it must be given
    help: str


SETTINGS = {
    "lr": Setting("float | Tensor", "", "learning rate, >= 0"),
    "betas": Setting("tuple[float, ...]", "", ""),  # those that the rule uses
    "eps": Setting("float", "1e-8", "added to divisors, >= 0"),
    "weight_decay": Setting(
        "float", "0.0", "decoupled as in AdamW: w <- w - lr * weight_decay * w, >= 0"
    ),
    "total_steps": Setting("int", "", "T, steps of the training, >= 1; later decays stay as then"),
    "num_periods": Setting("float", f"{NUM_PERIODS}", "n, periods in T steps, >= 0"),
    "seed": Setting("int", "0", "of the random draws"),
    "maximize": Setting("bool", "False", "go up instead of down"),
    "foreach": Setting(
        "bool | None",
        "None",
        "False goes through the parameters one by one; True or None take many at once",
    ),
    "fused": Setting("bool | None", "None", ""),
    "capturable": Setting("bool", "False", ""),
    "differentiable": Setting("bool", "False", ""),
}
BETAS = {"m": ("0.9", "g"), "v": ("0.999", "g^2"), "gamma": ("0.999", "g^3")}

OTHERS = (  # options of torch's optimizers
    *("amsgrad", "decoupled_weight_decay", "momentum", "dampening", "nesterov", "momentum_decay"),
    *("alpha", "centered", "rho", "lr_decay", "initial_accumulator_value", "lambd", "t0", "etas"),
    *("step_sizes", "beta2_decay", "d", "ns_steps"),
)
ALONE = ("fused", "capturable", "differentiable")  # known, but nothing else than False is allowed
WHOLE = {  # checks
    "total_steps": """\
        total_steps = group["total_steps"]
        if not (isinstance(total_steps, Real) and 1 <= total_steps < math.inf):
            text = f"total_steps is {total_steps!r}; it must be finite and at least 1"
            raise ValueError(text)""",
    "seed": """\
        if not isinstance(group["seed"], Integral):
            raise ValueError(f"seed is {group['seed']}; it must be a whole number")""",
}
LENGTH = """\
        if not fine or len(betas) != {}:
            raise ValueError(f"betas is {{betas}}; it must have {} in [0, 1)")"""

# A line that ends in `#? word` is there only if the rule needs it. Words in capitals are filled in.
TEMPLATE = '''"""NAME, an optimizer for PyTorch: w <- w - lr * update, with

DOCUMENTATION
"""

import math
from collections.abc import Callable, Iterable
from itertools import chain  #? no times
from itertools import chain, repeat  #? times
from numbers import Integral, Real  #? draws
from numbers import Real  #? no draws

import torch
from torch import Tensor
IMPORTS

RULE
STATE
# Options of other optimizers, which would have no effect.
UNKNOWN
_PLAIN = (Tensor, torch.nn.Parameter)  # neither sharded nor quantized nor else special
Columns = list | tuple  # an entry a parameter, a tensor or a number


class NAME(torch.optim.Optimizer):
    """w <- w - lr * update, as the top of this file says.

    Random draws depend on the seed, the step and the place of a parameter among the  #? draws
    others, so resumed and sharded trainings see the same ones. torch.compile cannot  #? draws
    put them into a graph: compiling a step gains nothing.  #? draws
  #? draws
    Args:
        params: parameters, or groups of parameters with settings of their own.
HELP
    Raises:
        ValueError: a setting is out of range, or one that would have no effect.
    """

SIGNATURE
DEFAULTS
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict) -> None:
        """Add parameters with settings of their own; what only tags them is kept."""
        if not isinstance(param_group, dict):
            kind = type(param_group).__name__
            raise TypeError(f"a group is a dict with 'params' in it, not a {kind}")
        group = {**self.defaults, **param_group}
        if group["rule"] != _RULE:
            raise ValueError(f"rule is {group['rule']}; here is only '{_RULE}'")
RANGED
            if not _is_number(group[name], math.inf):
                text = f"{name} is {group[name]!r}; it must be finite and at least 0"
                raise ValueError(text)
        betas = group["betas"]
        fine = isinstance(betas, tuple | list) and all(_is_number(x, 1) for x in betas)
LENGTH
WHOLE
        for name in _UNKNOWN:
            if group.get(name):
                text = f"{name} is {group[name]!r}; it has no effect: leave it out"
                raise ValueError(text)
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

        number = sum(len(group["params"]) for group in self.param_groups)  #? draws
        place = -1  #? draws
        for group in self.param_groups:
            lr, weight_decay = _number(group["lr"]), _number(group["weight_decay"])
            rows: list[tuple] = []
            for p in group["params"]:
                place += 1  #? draws
                if p.grad is None:
                    continue
                if p.grad.is_sparse:
                    raise RuntimeError("sparse gradients are not supported")
                g = _wide(-p.grad if group["maximize"] else p.grad)
                if hasattr(g, "placements") and g.placements != p.placements:
                    g = g.redistribute(placements=p.placements)  # a sum still parted
                state = self.state[p]  #? state
FRESH
                    state["step"] = torch.zeros((), dtype=torch.float32)  #? steps
ZEROS
                state["step"] += 1  #? steps
                step = _number(state["step"])  #? steps
                if group["weight_decay"]:
                    p.mul_(1 - lr * weight_decay)
                g = _reals(g)  #? draws
                # No two draws of a training share a number until a group is added.  #? draws
                seed = int(group["seed"]) * 0x9E3779B1 + int(step - 1) * number + place  #? draws
                draws = torch.Generator().manual_seed(seed % 2**32)  #? draws
DRAWS
ROW
                rows.append(tuple(map(_here, row)))  #? no times
                rows.append((*map(_here, row), step))  #? times
            for block in _blocks(rows, group["foreach"]):
CALL
        return loss

    def __setstate__(self, state: dict) -> None:
        """Take a state; groups get the defaults of settings that they lack."""
        super().__setstate__(state)
        for group in self.param_groups:
            for key, value in self.defaults.items():
                group.setdefault(key, value)

    def load_state_dict(self, state_dict: dict) -> None:
        """Load a saved state.

        Raises:
            ValueError: it is of another rule, or it lacks averages.
        """
        seen: list[dict] = []

        def check(_, saved: dict) -> None:  # before anything changes
            for group in saved["param_groups"]:
                if group.get("rule") != _RULE:
                    theirs = group.get("rule", "another optimizer")
                    raise ValueError(f"the state is of '{theirs}', this is '{_RULE}'")
            for state in saved["state"].values():  #? state
                if state and (lost := _STATE - state.keys()):  #? state
                    raise ValueError(  #? state
                        f"the state has no {', '.join(sorted(lost))}: "  #? state
                        "no optimizer of this class saved it"  #? state
                    )  #? state
            seen.append(saved)

        def restore(_) -> None:  # torch has cast averages to the parameters' dtypes
            places = [i for group in seen[0]["param_groups"] for i in group["params"]]
            params = [p for group in self.param_groups for p in group["params"]]
            for i, p in zip(places, params):
                for name, value in seen[0]["state"].get(i, {}).items():
                    if isinstance(value, Tensor):
                        device = value.device if name == "step" else p.device
                        self.state[p][name] = value.to(device, copy=True)

        # Between the hooks of others, so that these have the first and the last word.
        before = self.register_load_state_dict_pre_hook(check)
        after = self.register_load_state_dict_post_hook(restore, prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()


UPDATE
    """Take a step."""
BODY


def _descend(params: Columns, update: Columns, lr: float | Tensor) -> None:
    """Subtract lr * update."""
    if torch.compiler.is_compiling():  # an alpha cannot be a tensor
        add_(params, [torch.where(lr == 0, 0.0, x) for x in mul(update, -lr)])
    elif lr == 0:
        return  # 0 * infinity would be NaN
    elif all(type(p) in _PLAIN for p in params):
        add_(params, update, alpha=-lr)
    else:
        for p, x in zip(params, update):
            p.add_(x, alpha=-lr)


def _is_number(x: object, below: float) -> bool:
    """Return whether x is a number, or a tensor with one, of at least 0 and below."""
    if isinstance(x, Tensor):
        return x.numel() == 1 and not x.is_complex() and 0 <= x.item() < below
    return isinstance(x, Real) and 0 <= x < below


def _number(x: float | Tensor) -> float | Tensor:
    """Return a number, to a compiler as a tensor: it would compile in what changes."""
    if torch.compiler.is_compiling():  # float64 would make it compute all tensors so
        zero = torch.zeros((), dtype=torch.float32)
        return x.reshape(()).float() if isinstance(x, Tensor) else zero + x
    return x.item() if isinstance(x, Tensor) else x


def _wide(x: Tensor) -> Tensor:
    """Return x, as float32 if shorter: moving averages would stall in bfloat16."""
    return x.float() if x.itemsize < 4 else x


def _values(p: Tensor) -> Tensor:  #? w
    """Return the numbers of a parameter, also of a quantized one."""  #? w
    plain = type(p) in _PLAIN or type(p).dequantize is Tensor.dequantize  #? w
    return _wide(p if plain else p.dequantize())  #? w


def _reals(x: Tensor) -> Tensor:  #? draws
    """Return complex numbers as pairs of reals, others as they are."""  #? draws
    return torch.view_as_real(x) if x.is_complex() else x  #? draws


def _here(x: Tensor) -> Tensor:
    """Return the reals that lie here: of a sharded tensor the shard."""
    x = torch.view_as_real(x) if x.is_complex() else x
    return x.to_local() if hasattr(x, "to_local") else x


def _draw(how: Callable, g: Tensor, draws: torch.Generator, dtype) -> Tensor:  #? draws
    """Draw numbers for g, of a sharded g all of them on each rank, to keep a shard."""  #? draws
    draw = how(g.shape, generator=draws, dtype=dtype).to(g.device)  #? draws
    if not hasattr(g, "device_mesh"):  #? draws
        return draw  #? draws
    draw = type(g).from_local(draw, g.device_mesh, run_check=False)  #? draws
    return draw.redistribute(placements=g.placements)  #? draws


def _blocks(rows: list[tuple], foreach: bool | None) -> list[list[tuple]]:
    """Return the columns of the rows, on a CPU in blocks that fit into its cache.

    The tensors of a row are equally large.
    """
    if not rows:
        return []
    if torch.compiler.is_compiling():
        return [list(zip(*rows))]
    if foreach is False:
        return [[(x,) for x in row] for row in rows]
    limit = 2**18 if rows[0][0].device.type == "cpu" else math.inf  # elements
    blocks: list[list[tuple]] = [[]]
    room = limit
    for piece in chain.from_iterable(_cut(row, limit) for row in rows):
        if room <= 0:
            blocks.append([])
            room = limit
        blocks[-1].append(piece)
        room -= piece[0].numel()
    return [list(zip(*block)) for block in blocks]


def _cut(row: tuple, limit: int) -> Iterable[tuple]:
    """Return a row as rows of the views that its tensors are cut into, if large."""
    if row[0].numel() <= limit:
        return [row]
    tensors = [x for x in row if isinstance(x, Tensor)]
    if not all(type(x) in _PLAIN and x.is_contiguous() for x in tensors):
        return [row]
    pieces = [x.view(-1).split(limit) for x in tensors]
    return zip(*pieces)  #? no times
    return zip(*pieces, repeat(row[-1]))  #? times


def _cos(x: float | Tensor) -> float | Tensor:  #? _cos
    """Return the cosine of a number; of a tensor where that is compiled."""  #? _cos
    return torch.cos(x) if isinstance(x, Tensor) else math.cos(x)  #? _cos


def _exp(xs: Columns, in_place: bool = False) -> Columns:  #? _exp
    """Return e to the power of xs; compiled one by one, for only so it is fused."""  #? _exp
    if torch.compiler.is_compiling():  #? _exp
        return [x.exp() for x in xs]  #? _exp
    if not in_place:  #? _exp
        return exp(xs)  #? _exp
    exp_(xs)  #? _exp
    return xs  #? _exp


def _sign(xs: Columns) -> Columns:  #? _sign
    """Return the signs; NaN stays NaN, where torch.sign would hide it as 0."""  #? _sign
    signs = sign(xs)  #? _sign
    # 0 * x is NaN where x is. Limits are for infinity: 0 * inf would be NaN too.  #? _sign
    limited = clamp_min(xs, -1)  #? _sign
    clamp_max_(limited, 1)  #? _sign
    add_(signs, limited, alpha=0)  #? _sign
    return signs  #? _sign


def _drop(keep: Columns, xs: Columns) -> Columns:  #? _drop
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


def _help(key: str, help: str) -> str:
    text, indent = f"{key}: {help}.", " " * 8
    return textwrap.fill(text, 88, initial_indent=indent, subsequent_indent=f"{indent}    ")


def _noise(token: str) -> str:
    return f"{' ' * 16}{token} = _draw(torch.randn, g, draws, g.dtype) * {NOISES[token]}"


def _keep(keep: str, chance: float) -> str:
    return f"{' ' * 16}{keep} = _draw(torch.rand, g, draws, torch.float32) >= {chance}"


def _strings(head: str, text: str, tail: str) -> str:
    """Return an assignment of a string that may take several lines."""
    if len(line := f'{head}"{text}"{tail}') <= 88:
        return line
    lines = textwrap.wrap(text, 82, drop_whitespace=False, break_on_hyphens=False)
    return "\n".join([f"{head}(", *(f'    "{line}"' for line in lines), f"){tail}"])


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
    lines = [
        formula,
        "",
        *meanings,
        *[""] * bool(meanings),
        "Learning rates, tried a decade or half of one apart:",
        "",
    ]
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

    times, draws = bool({"step", *decays} & words), bool(noises or keeps)
    needs = {"state": states or times or draws, "steps": times or draws, "times": times, "draws": draws}
    needs |= {
        "no times": not times,
        "no draws": not draws,
        "w": "w" in words,
        "_exp": "_exp" in words,
        "_sign": "_sign" in words,
        "_drop": keeps,
        "_cos": {"cd", "rd"} & words,
    }
    parts = {part for part, needed in needs.items() if needed}

    entries = ["step"] * (times or draws) + states
    # Betas have Adam's places, the first for m, where schedules of momentum expect it.
    places = list(AVERAGES)[: max([1, *(list(AVERAGES).index(token) + 1 for token in code.averages)])]
    decay = [BETAS[token][0] if token in code.averages else "0.0" for token in places]
    betas = f"({', '.join(decay)}{',' * (len(decay) == 1)})"
    defaults = {key: setting.default for key, setting in SETTINGS.items()} | {"betas": betas}
    defaults["lr"] = "" if remark else f"{lr:g}"
    absent = {"betas": not code.averages, "eps": "eps" not in words}
    absent |= {"total_steps": not decays, "num_periods": not {"cd", "rd"} & words, "seed": not draws}
    settings = [key for key in SETTINGS if not absent.get(key)]
    typed = [
        f"{key}: {SETTINGS[key].kind}" + f" = {defaults[key]}" * bool(defaults[key]) for key in settings
    ]
    typed.insert(settings.index("weight_decay") + 1, "*")
    group = [f'"{key}": {key}' for key in settings] + ['"rule": _RULE']
    # Schedules and monitors of momentum find a beta in every group.
    group += [f'"betas": {betas}'] * (not code.averages)

    w = ["_values(p)"] * ("w" in words)
    row = ["p", "g", *w, *(f'state["{name}"]' for name in states), *noises, *keeps]
    columns = ["params", "g", *["w"] * len(w), *states, *noises, *keeps, *["step"] * times]
    given = [key for key in ("betas", "eps", "total_steps", "num_periods") if key in settings]
    spelled = {key: f'group["{key}"]' for key in given} | {"eps": 'float(group["eps"])'}
    passed = ["*block", "lr", *(spelled[key] for key in given)]
    kinds = [f"{column}: Columns" for column in columns]
    kinds += [f"{key}: {SETTINGS[key].kind}" for key in ("lr", *given)]
    unpack = ", ".join(beta(token) if token in code.averages else "_" for token in places)
    unpack = f"({unpack},)" if len(places) == 1 else unpack
    body = [f"{unpack} = map(_number, betas)"] * bool(code.averages)
    body += ["progress = [min((t - 1) / total_steps, 1.0) for t in step]"] * bool(decays)
    body += [f"{token} = [{DECAYS[token]} for x in progress]" for token in decays]
    of = ", ".join(BETAS[token][1] + " (not kept)" * (token not in code.averages) for token in places)
    helps = {key: SETTINGS[key].help for key in settings if key not in ALONE}
    if "betas" in helps:
        helps["betas"] = f"decays of the moving averages of {of}, each in [0, 1)"
    helps[", ".join(ALONE)] = "not supported, so only False and None are taken"
    if not remark:
        helps["lr"] += f"; {lr:g} was the best where it was tried, see the top of this file"
    ranged = [key for key in ("lr", "eps", "weight_decay", "num_periods") if key in settings]
    unknown = [key for key in (*ALONE, *OTHERS, "eps", "total_steps", "seed") if absent.get(key, True)]
    numbers = f"{len(places)} number{'s' * (len(places) > 1)}"

    remark = [remark] * bool(remark)
    usage = [
        *remark,
        f"optimizer = {name}(model.parameters(), lr={lr:g}{', total_steps=10_000' * bool(decays)})",
    ]
    filled = {
        "DOCUMENTATION": _documentation(rule, name, advice, usage, about),
        "RULE": _strings("_RULE = ", str(rule), ""),
        "STATE": one_line_or_many("_STATE = {", [f'"{entry}"' for entry in entries], "}", 0)
        * bool(entries),
        "UNKNOWN": _strings("_UNKNOWN = ", " ".join(unknown), ".split()"),
        "HELP": "\n".join(_help(key, help) for key, help in helps.items()),
        "SIGNATURE": one_line_or_many(
            "def __init__(", ["self", "params: Iterable", *typed], ") -> None:", 4
        ),
        "DEFAULTS": one_line_or_many("defaults = {", group, "}", 8),
        "RANGED": one_line_or_many("for name in (", [f'"{key}"' for key in ranged], "):", 8),
        "LENGTH": LENGTH.format(len(places), numbers),
        "WHOLE": "\n".join(WHOLE[key] for key in ("total_steps", "seed") if key in settings),
        "FRESH": "".join(f'{" " * 16}if "{entry}" not in state:' for entry in entries[:1]),
        "ZEROS": "\n".join(
            f'{" " * 20}state["{s}"] = torch.zeros_like(p, dtype=g.dtype)' for s in states
        ),
        "DRAWS": "\n".join([*map(_noise, noises), *map(_keep, keeps, keeps.values())]),
        "ROW": one_line_or_many("row = (", row, ")", 16),
        "CALL": one_line_or_many("_update(", passed, ")", 16),
        "UPDATE": one_line_or_many("def _update(", kinds, ") -> None:", 0),
        "BODY": "\n".join(f"    {line}" for line in [*body, *code.lines]),
    }
    text = "".join(_kept(line, parts) for line in TEMPLATE.splitlines(keepends=True))
    text = text.replace("NAME", name)
    used = {FOREACH[s]: s for s in FOREACH if re.search(rf"(?<!\.)\b{s}\(", text + filled["BODY"])}
    filled["IMPORTS"] = "\n".join(f"from torch import _foreach_{f} as {used[f]}" for f in sorted(used))
    for word, value in filled.items():
        text = re.sub(rf"^{word}\n", lambda _, v=value: v + "\n" * bool(v), text, flags=re.M)
    text = re.sub(r"\n{4,}", "\n\n\n", text).rstrip() + "\n"
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    if name in used or hasattr(builtins, name):
        raise ValueError(f"'{name}' means something else to the file or to Python; choose another name")
    return text
