"""Fingerprints of rules that are or are not one; passing over known rules, against its definition."""

import math
import random
from collections import Counter

import pytest
import torch
from plain import PAPER_OPERANDS, pairs

import sameness
from controller import Batch, Controller, ControllerConfig, log_prob_of
from dsl import Operand, Rule, SearchSpace, apply_rule
from rivals import Evolution, EvolutionConfig, Guided, GuidedConfig, RandomSearch
from sameness import Distinct, DistinctConfig, Families, Forecast, sketch

TOKENS = {"operands": ("g", "m", "sign_g", "1"), "unary": ("id", "neg", "sign")}
SPACE = SearchSpace(1, **TOKENS, binary=("mul", "left"))


MERGED = """
sign_g sign_g id id mul | r1 g id id mul = g g id id left       g g id id add = g 2 id id mul
g g log id left | r1 r1 exp id left = g sign_g id id mul        g2 g2 id id mul = g g3 id id mul
g m id id add | r1 m id id sub = g g id id left                 g g log log add = g2 g log id left
sign_g g clip1e-3 id left = 1 sign_g clip1e-3 id mul            g v id sqrt div = rmsprop g id id left
1e-4w g clip1e-3 id left = 1e-4w g id id left                   m v id sqrt div = adam g id id left
g m id id mul | r1 v id id mul = m v id id mul | r1 g id id mul     g g id id sub = m m id id sub
"""
APART = """
g g id id left = g 1e-4w id id add                           g g id id left = g g neg id left
g g id id left = 1 g clip1e-4 id left | r1 g exp id mul      g g id id left = g g id id add
g g clip1e-5 id left = g g clip1e-4 id left                  ld g id id mul = cd g id id mul
g g clip1e-4 id left = g g clip1e-3 id left                  cd g id id mul = rd g id id mul
g g drop0.1 id left = g g drop0.3 id left                    noise g id id add = anoise g id id add
g g drop0.1 id left = g g id id left                         g m id id sub = m g id id sub
g g drop0.5 drop0.5 add = g g drop0.5 id left | r1 r1 id id add
adam g id id left = rmsprop g id id left                     sign_g g id id left = sign_m g id id left
sign_g sign_m id drop0.1 add = sign_m sign_g id drop0.1 add
"""  # the third are g and 1.0001 * g
# An absolute tolerance would merge the first four; the others have weights as small as a network's,
# which a clip does not always flatten.
SMALL = """
g3 g3 id id mul = v g3 id id mul                             g3 g3 id id mul = g2 g3 id id mul
g3 g3 id id mul | r1 1e-4w id id mul = g3 g3 id id mul | r1 1e-3w id id mul
gamma v id id mul | r1 r1 id id mul = gamma v id id mul | r1 r1 neg id mul
1e-1w g clip1e-5 id left = 1e-2w g clip1e-5 id left
1e-1w g clip1e-4 id left = 1e-2w g clip1e-4 id left
1e-2w g clip1e-5 id left = 1e-3w g clip1e-5 id left
"""
TIMES_ONE = [(f"{token} 1 id id div", f"{token} 1 id id left") for token in PAPER_OPERANDS]


@pytest.mark.parametrize("a, b", [*TIMES_ONE, *pairs(MERGED), *pairs(APART), *pairs(SMALL)])
def test_fingerprint_merges_what_is_equal_on_paper_and_nothing_else(a, b):
    equal = Rule.parse(a).fingerprint() == Rule.parse(b).fingerprint()
    assert equal == ((a, b) in [*TIMES_ONE, *pairs(MERGED)])


def test_fingerprints_stay_what_they_were():
    """Published counts of distinct rules rest on them."""
    for rule, published in (
        ("sign_g sign_m id id mul | r1 g exp id mul", "c9e7afe889d634c6"),
        ("gamma rmsprop log clip1e-3 div", "f5aac54aedec451a"),
        ("noise g drop0.5 id add", "bdf8e80a0432b3d8"),
    ):
        assert Rule.parse(rule).fingerprint() == published


def test_an_operand_that_is_appended_shifts_no_fingerprint_though_it_draws(monkeypatch):
    rules = [Rule.parse(text) for text in ("g m id id add", "anoise noise id id sub")]
    before = [rule.fingerprint() for rule in rules]
    sameness.probe.cache_clear()
    for token in ("late", "later"):
        new = Operand(token, token, "", lambda s: s.normal(1.0), extra=True)
        monkeypatch.setitem(sameness.OPERANDS, token, new)
    try:
        assert [rule.fingerprint() for rule in rules] == before
        assert len({tuple(sameness.probe()[token].tolist()) for token in ("g", "late", "later")}) == 3
    finally:
        sameness.probe.cache_clear()


KIN = """
g g id id left = g 2 id id mul                 sign_m g id id left = sign_m 1e-4w id id sub
sign_m g id id left = sign_m g clip1e-3 id left      adam g drop0.3 id left = adam 1e-4w drop0.3 id add
sign_m g clip1e-3 id left = 1 sign_m exp id mul      g g id id sub = m m id id sub
1 2 id log div = 1 2 id id left                      adam g3 drop0.3 id sub = adam g drop0.3 id left
adam v drop0.3 exp div = adam gamma drop0.3 exp mul
"""
STRANGERS = """
g g id id left = g g neg id left               g m id id left = m g id id left
adam g id id left = adam g clip1e-3 id left    adam g id id left = rmsprop g id id left
adam g id id left = adam g drop0.1 id left     adam g drop0.1 id left = adam g drop0.3 id left
g g id id left = ld g id id mul                g g id id left = cd g id id mul
ld g id id mul = cd g id id mul                cd g id id mul = rd g id id mul
g g clip1e-4 id left = g g id id left          g g clip1e-4 id left = sign_g g id id left
g v id sqrt div = g v id id div                g g id id left = g 1e-1w id id add
g g id id sub = 1 1 id id mul                  g g id id sub = 1e-4w g id id left
sign_m g id id left = sign_m g clip1e-4 id left    sign_m g clip1e-5 id left = sign_m g clip1e-4 id left
adam m drop0.3 id sub = adam g drop0.3 id left       g g id clip1e-5 add = g g id id left
"""  # clip1e-5 is beyond the sweep; the last are apart by a little more than MAX_APART


@pytest.mark.parametrize("a, b", [*pairs(KIN), *pairs(STRANGERS)])
def test_a_family_has_what_a_sweep_of_rates_cannot_tell_apart(a, b):
    families, a, b = Families(), Rule.parse(a), Rule.parse(b)
    assert (families(a) == families(b)) == ((str(a), str(b)) in pairs(KIN))
    assert (families(a), families(b)) in ((0, 0), (0, 1))
    if (str(a), str(b)) == ("g g id id left", "g 2 id id mul"):  # counts where rates are not swept
        families = Families(swept=False)
        assert families(a) != families(b) == families(Rule.parse("g g id id add"))


def test_families_are_their_definition():
    """Greedily, in order, by all pairs in float64: nothing is lost by looking at sketches first."""
    families, founders, members, rng = Families(), [], Counter(), random.Random(3)
    space = SearchSpace(2)
    rules = [space.sample(rng) for _ in range(400)]
    rules += [Rule.parse(f"{rule} | r2 1 id id mul") for rule in rules[:100]]
    rules += [Rule.parse(f"{rule} | r2 1e-4w id id add") for rule in rules[:100]]
    units = torch.zeros(len(rules), *sameness.stream()["g"].shape, dtype=torch.float64)
    sizes = torch.zeros(units.shape[:2], dtype=torch.float64)
    for rule in rules:
        number, n = families(rule), len(founders)
        members[number] += 1
        update = apply_rule(rule, sameness.stream(), generator=torch.Generator().manual_seed(0)).double()
        length = update.norm(dim=1)
        if not length.log().isfinite().all():
            continue
        unit, size = update / length[:, None], (length / 192**0.5).log10()
        size = size - size[1].clamp(-3.5, 2.5)
        cosines = torch.einsum("fsw,sw->fs", units[:n], unit)
        off = (size - sizes[:n]).abs()
        alike = ((cosines.amin(1) >= 0.99) & (off.amax(1) <= 0.05)).tolist()
        if any(alike):
            assert number == founders[alike.index(True)], str(rule)
            continue
        assert members[number] == 1, str(rule)
        units[n], sizes[n] = unit, size
        founders.append(number)
    assert 200 < len(founders) < 400 and families.count >= len(founders)


@pytest.mark.parametrize("width", [0.07, 0.2])
def test_a_forecast_is_its_definition(width):
    """A mean of the latest scores, weighted by how near they are, term by term in float64."""
    rng, space, forecast, known = random.Random(4), SearchSpace(2), Forecast(width), {}
    rules = [space.sample(rng) for _ in range(100)] + [Rule.parse("g g id id sub")]  # it is 0

    def point(rule: Rule) -> list[float]:
        update = apply_rule(rule, sameness.stream(), generator=torch.Generator().manual_seed(0)).double()
        length = update.norm(dim=1)
        unit = (update / length[:, None]).nan_to_num(0, 0, 0).flatten() @ torch.tensor(sketch()).double()
        size = (length / 192**0.5).log10().nan_to_num(-12, 12, -12)
        size = (size - size[1].clamp(-3.5, 2.5)).clamp(-12, 12)
        return [*unit.tolist(), *size.tolist()]

    for number in [*range(101), *range(40)]:  # some again
        known[number] = rng.random()
        forecast.note(number, rules[number], known[number])
    ours = forecast(rules[60:] + rules[:1])
    assert len(ours) == 42 and ours.std() > 0.1
    for rule, value in zip(rules[60:] + rules[:1], ours, strict=True):
        top, bottom = 0.1 * sum(known.values()) / 101, 0.1
        for number, score in known.items():
            weight = math.exp(-(math.dist(point(rule), point(rules[number])) ** 2) / 5 / width)
            top, bottom = top + weight * score, bottom + weight
        assert value == pytest.approx(top / bottom, abs=1e-3), str(rule)


def make(kind: str, **settings):
    if kind == "random":
        return RandomSearch(SPACE, DistinctConfig(**settings), 0, Rule.fingerprint)
    if kind == "evolution":
        config = EvolutionConfig(population=400, tournament=2, **settings)
        return Evolution(SPACE, config, 0, Rule.fingerprint)
    if kind == "guided":
        return Guided(SPACE, GuidedConfig(population=10, **settings), 0, Rule.fingerprint)
    return Controller(SPACE, kind, ControllerConfig(**settings), 0, Rule.fingerprint)


def plainly(candidates: list[str], n: int, taken: set[str]) -> list[int]:
    """The definition, quantifiers spelled out: new ones in order, repeats only if they are too few."""
    new = [i for i, name in enumerate(candidates) if name not in {*taken, *candidates[:i]}][:n]
    last = new[-1] if len(new) == n else len(candidates) - 1
    repeats = [i for i in range(last + 1) if i not in new]
    return sorted(new + repeats[: n - len(new)])


def test_take_is_its_definition():
    rng = random.Random(0)
    for _ in range(300):
        distinct, taken = Distinct(str.lower), set()
        for _ in range(4):
            candidates = [rng.choice("aAbBcCdDeEfF") for _ in range(6)]
            lowered = [name.lower() for name in candidates]
            new = distinct.new(candidates)
            assert new.keys() == set(lowered) - taken
            assert all(rule in candidates and rule.lower() == name for name, rule in new.items())
            places = distinct.take(candidates, 3)
            assert places == plainly(lowered, 3, taken)
            taken |= set(lowered[: places[-1] + 1])
    distinct = Distinct(identity=len)  # the share of new ones is a moving average over those looked at
    assert distinct.new_share == 1
    distinct.take(["a", "b", "aa", "c", "aaa", "aaaa"], 3)  # looks at five, of which three are new
    assert distinct.new_share == pytest.approx(0.95 + 0.05 * 3 / 5)
    distinct.take(["a", "b", "aa"], 2)  # none is
    assert distinct.new_share == pytest.approx(0.95 * (0.95 + 0.05 * 3 / 5))


@pytest.mark.parametrize("kind", ["random", "evolution", "trpo", "reinforce"])
def test_nothing_is_scored_twice_while_candidates_last(kind):
    """Of the few classes of a small space none repeats before most of them are seen."""
    classes = len({rule.fingerprint() for rule in SPACE})
    plain, careful = make(kind), make(kind, candidates=40)
    for proposer, repeats in ((plain, True), (careful, False)):
        names: list[str] = []
        while len(names) < classes // 2:
            rules = proposer.ask(3)
            assert len(rules) == 3
            names += [rule.fingerprint() for rule in rules]
            proposer.tell(rules, [0.1, 0.2, 0.3])
        assert (len(set(names)) < len(names)) == repeats
    known, proposer = [rule for rule in SPACE if "m" not in rule.operands], make(kind, candidates=40)
    proposer.start(known, [0.5] * len(known))  # these are passed over, too
    assert all("m" in rule.operands for rule in proposer.ask(3))


@pytest.mark.parametrize("kind, n", [("random", 1), ("evolution", 3), ("guided", 1)])
def test_the_ten_best_are_drawn_again_the_best_first_and_no_others(kind, n):
    proposer, rng = make(kind, candidates=40, replicates=2), random.Random(1)
    asked: Counter[str] = Counter()
    first: dict[str, Rule] = {}
    latest: dict[str, float | None] = {}
    while len(first) < 20:
        rules = proposer.ask(n)
        names = [rule.fingerprint() for rule in rules]
        best = sorted((name for name in latest if latest[name] is not None), key=lambda x: -latest[x])
        wanted = [first[name] for name in best[:10] if asked[name] < 2][:1]
        assert rules[: len(wanted)] == wanted
        assert not any(asked[name] for name in names[len(wanted) :])
        asked.update(names)
        latest |= {name: rng.random() if rng.random() < 0.9 else None for name in names}
        first = dict(zip(names, rules, strict=True)) | first
        proposer.tell(rules, [latest[name] for name in names])
    assert sum(count > 1 for count in asked.values()) > 5


@pytest.mark.parametrize("kind", ["trpo", "ppo", "reinforce"])
def test_the_elite_is_the_best_that_did_not_fail_by_latest_rewards_and_becomes_more_likely(kind):
    controller, rng = make(kind, elite_coeff=0.3, controller_lr=1e-3), random.Random(1)
    first: dict[str, Rule] = {}
    latest: dict[str, float | None] = {}

    def tell(reward) -> None:
        rules = controller.ask(5)
        rewards = [reward() if rng.random() < 0.7 else None for _ in rules]
        for rule, value in zip(rules, rewards, strict=True):
            first.setdefault(rule.fingerprint(), rule)
            latest[rule.fingerprint()] = value
        controller.tell(rules, rewards)
        learned = [name for name in first if latest[name] is not None]
        best = sorted(learned, key=lambda name: -latest[name])[: math.ceil(0.1 * len(learned))]
        wanted = Batch.of([first[name] for name in best], SPACE)
        assert torch.equal(controller._elite().tokens, wanted.tokens)

    def likely() -> float:
        log_probs = controller.policy.log_probs(elite.tokens, elite.masks)
        return log_prob_of(log_probs, elite.tokens).mean().item()

    for _ in range(8):
        tell(rng.random)
    elite = controller._elite()
    before = likely()
    for _ in range(20):  # rewards at the baseline have no advantage: the elite alone moves the policy
        tell(lambda: controller.baseline)
    assert likely() > before + 0.1
