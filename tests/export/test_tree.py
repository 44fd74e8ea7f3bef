"""The picture of a rule's tree: what is in it, where it stands, and that nothing is cut off."""

import itertools
import random

import pytest
from matplotlib.text import Text

from dsl import SUBSETS, Rule, SearchSpace
from export import tree
from plots import style
from rules import NAMED_RULES, find

DEEP = "g m exp neg mul | r1 v id sqrt div | r1 r2 log exp sub | r1 r3 clip1e-3 sign mul"


@pytest.fixture(autouse=True)
def close_figures():
    yield
    style.plt.close("all")


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


def test_nodes_are_labelled_as_the_formula_reads():
    nodes = tree.layout(find("powersign-clip-g").expression)
    labels = [tree.label(node) for node, _, _, _ in nodes]
    sign_g = ["sign", "$g$"]
    assert labels == [
        *("×", "+", "exp", "×", *sign_g, "sign", r"$\hat m$"),
        *("clip $10^{-4}$", "$g$", "$g$"),
    ]


@pytest.mark.parametrize("text", ["sgd", "powersign", "m-over-exp-g2", DEEP])
def test_no_text_is_cut_off_or_hidden(text):
    figure = tree.picture(find(text))
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    boxes = [text.get_window_extent() for text in texts]
    assert len(boxes) == len(tree.layout(find(text).expression)) + 1  # the formula below
    for box in boxes:
        assert figure.bbox.padded(1).contains(box.x0, box.y0)
        assert figure.bbox.padded(1).contains(box.x1, box.y1)
    for a, b in itertools.combinations(boxes, 2):
        assert a.intersection(a, b) is None


def test_command_writes_png_and_svg(tmp_path, capsys):
    target = tmp_path / "tree.png"
    assert tree.main([*"sign_m 1 id id mul".split(), "-o", str(target)]) == 0
    assert target.read_bytes().startswith(b"\x89PNG")
    assert target.with_suffix(".svg").exists()
    assert "Wrote" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], ["powersing"], ["adam", "-o", "/proc/nothing/tree.png"]])
def test_bad_input_is_exit_code_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        tree.main(argv)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("python -m export.tree: error: ")
