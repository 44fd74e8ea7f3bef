"""Figure: a rule as the tree that it computes, leaves below, the update on top.

    python -m export.tree powersign [-o FILE]
    python -m export.tree sign_m 1 id id mul

The tree is the simplified expression: dead operands, ids and double negations are gone. Operands are
blue, functions grey. What to look for: how little of a long string is left.
"""

import sys
from pathlib import Path

from config import Parser, as_program

from dsl import CLIP, DROP, OPERANDS, Expression, Rule, RuleError
from rules import find

SYMBOLS = {"add": "+", "sub": "−", "mul": "×", "div": "÷", "neg": "−", "log": "log | |", "sqrt": "√ | |"}


def label(node: Expression) -> str:
    """Return what stands in a node."""
    if isinstance(node, str):
        return f"${OPERANDS[node].latex}$"
    op = node[0]
    if op in DROP:
        return f"drop {op[4:]}"
    if op in CLIP:
        return f"clip $10^{{{op[6:]}}}$"
    return SYMBOLS.get(op, op)


def children(node: Expression) -> tuple:
    """Return the arguments of a node; a drop's place in the string is none."""
    if isinstance(node, str):
        return ()
    return node[1:2] if node[0] in DROP else node[1:]


def layout(node: Expression) -> list[tuple[Expression, float, int, int | None]]:
    """Place a tree: leaves side by side, each parent in the middle of its children.

    Returns:
        An entry a node, parents first: itself, x, depth (0 at the root) and its parent's index.
    """
    placed: list = []
    leaves = 0

    def place(node: Expression, depth: int, parent: int | None) -> float:
        nonlocal leaves
        index = len(placed)
        placed.append(None)
        below = [place(child, depth + 1, index) for child in children(node)]
        if not below:
            leaves += 1
        x = sum(below) / len(below) if below else float(leaves - 1)
        placed[index] = (node, x, depth, parent)
        return x

    place(node, 0, None)
    return placed


def picture(rule: Rule):
    """Draw the figure."""
    from plots import style  # with matplotlib, which a typing error need not wait for

    nodes = layout(rule.expression)
    width = max(x for _, x, _, _ in nodes)
    depth = max(d for _, _, d, _ in nodes)
    figure, axes = style.plt.subplots(figsize=(max(3.6, 1.3 * width + 1.6), 1.3 + 0.75 * depth))
    axes.axis("off")
    axes.set(xlim=(-0.6, width + 0.6), ylim=(-depth - 0.45, 0.45))
    for node, x, d, parent in nodes:
        if parent is not None:
            axes.plot((nodes[parent][1], x), (1 - d, -d), color=style.FAINT, lw=1.2, zorder=1)
        face, edge = ("#DCEBF5", style.CONTROLLER) if isinstance(node, str) else ("#F2F2F2", style.FAINT)
        box = {"boxstyle": "round,pad=0.4", "fc": face, "ec": edge}
        axes.text(x, -d, label(node), ha="center", va="center", bbox=box, zorder=2)
    caption = f"$w \\leftarrow w - \\lambda \\cdot u$,  $u = {rule.latex()}$"
    below = figure.supxlabel(caption, fontsize=10, color=style.DARK)
    needed = below.get_window_extent(figure.canvas.get_renderer()).width / figure.dpi + 0.3
    figure.set_figwidth(max(needed, figure.get_figwidth()))  # a formula can be wider than its tree
    return figure


def draw(rule: Rule, file: Path) -> list[Path]:
    """Write the figure as PNG and as SVG beside it; return both paths."""
    from plots import style

    return style.save(picture(rule), file)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m export.tree", description=__doc__)
    parser.add_argument("rule", nargs="+", metavar="RULE", help="a name, or a rule's tokens")
    file_help = "picture to write, an SVG goes beside it; replaces an older one (default: tree.png)"
    parser.add_argument(
        "-o", type=Path, metavar="FILE", dest="file", default=Path("tree.png"), help=file_help
    )
    args = parser.parse_args(argv)
    older = args.file.exists()
    try:
        paths = draw(find(" ".join(args.rule)), args.file)
    except RuleError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"cannot write {error.filename}: {error.strerror}")
    print(f"Wrote {' and '.join(map(str, paths))}" + ", in place of an older one" * older)
    return 0


if __name__ == "__main__":
    sys.exit(as_program(main))
