"""The picture of a rule's tree: what is in it, and where it stands."""

import random

import pytest

from dsl import SUBSETS, Rule, SearchSpace
from export import tree
from plots.style import plt
from rules import NAMED_RULES, find

DEEP = "g m exp neg mul | r1 v id sqrt div | r1 r2 log exp sub | r1 r3 clip1e-3 sign mul"


def rules() -> list[Rule]:
    rng, space = random.Random(0), SearchSpace(3, **SUBSETS["arxiv"])
    return [*map(find, NAMED_RULES), Rule.parse(DEEP), *(space.sample(rng) for _ in range(200))]


def test_every_node_is_placed_once_below_its_parent_and_leaves_in_order():
    for rule in rules():
        nodes = tree.layout(rule.expression)
        assert nodes[0][0] == rule.expression and nodes[0][3] is None
        for index, (node, x, depth, parent) in enumerate(nodes):
            below = [entry for entry in nodes if entry[3] == index]
            assert [entry[0] for entry in below] == list(tree.children(node))
            if parent is not None:
                assert parent < index and depth == nodes[parent][2] + 1
            if below:
                assert x == pytest.approx(sum(entry[1] for entry in below) / len(below))
        leaves = [x for node, x, _, _ in nodes if not tree.children(node)]
        assert leaves == list(range(len(leaves)))


def test_nodes_are_labelled_as_the_formula_reads_and_the_command_writes_png_and_svg(tmp_path, capsys):
    rule = find("powersign-clip-g")
    labels = [tree.label(node) for node, _, _, _ in tree.layout(rule.expression)]
    exponent = ["exp", "×", "sign", "$g$", "sign", r"$\hat m$"]
    assert labels == ["×", "+", *exponent, "clip $10^{-4}$", "$g$", "$g$"]
    figure = tree.picture(rule)
    assert sorted(text.get_text() for text in figure.axes[0].texts) == sorted(labels)
    plt.close(figure)
    target = tmp_path / "tree.png"
    for again in ("", ", in place of an older one"):
        assert tree.main([*"sign_m 1 id id mul".split(), "-o", str(target)]) == 0
        assert capsys.readouterr().out == f"Wrote {target} and {target.with_suffix('.svg')}{again}\n"
    assert target.read_bytes().startswith(b"\x89PNG") and target.with_suffix(".svg").exists()
