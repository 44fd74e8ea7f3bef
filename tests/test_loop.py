"""The loop without a child: the order of asking and telling, who proposes, what is counted."""

import random

import numpy as np
import pytest
import torch

import results
from dsl import Rule
from loop import ALGORITHMS, RECENT, ProposerConfig, Tally, make_proposer, make_space, search_loop


@pytest.mark.parametrize("lag", [0, 1, 3, 9])
def test_batch_k_is_sampled_after_update_k_minus_1_minus_lag(lag):
    events, sizes = [], [5, 5, 5, 5, 4]

    class Counting:
        def ask(self, n):
            events.append("ask")
            return [len(events)] * n

        def tell(self, rules, rewards):
            events.append("tell")
            return {"rules": rules}

    done = list(search_loop(Counting(), sizes, lag, lambda rules: [*rules, "pushed"], tuple))
    asks = [i for i, event in enumerate(events) if event == "ask"]
    assert events.count("tell") == len(asks) == len(sizes) == len(done)
    for k, (position, size, (batch, rewards, more)) in enumerate(zip(asks, sizes, done, strict=True)):
        assert events[:position].count("tell") == max(0, k - lag)
        assert batch == [*[position + 1] * size, "pushed"]
        assert (rewards, more) == (tuple(batch), {"rules": batch[:-1]})


PROPOSERS = [{"algorithm": algorithm} for algorithm in ALGORITHMS]
PROPOSERS += [{"algorithm": "guided", "guide": guide} for guide in ("tokens", "none")]


@pytest.mark.parametrize(
    "settings", PROPOSERS, ids=lambda settings: "-".join(map(str, settings.values()))
)
def test_the_seed_alone_decides_what_is_proposed_and_global_random_state_is_not_touched(settings):
    def elsewhere():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()

    def told(seed: int, other: int) -> list:
        for set_seed in (torch.manual_seed, np.random.seed, random.seed):
            set_seed(other)
        before = elsewhere()
        small = {"population": 5, "tournament": 3, "candidates": 4, "controller_lr": 1e-3}
        config = ProposerConfig(seed=seed, **small, **settings)
        space = make_space(config)
        proposer, history = make_proposer(config, space, Rule.fingerprint), []
        for _ in range(8):
            rules = proposer.ask(4)
            assert all(map(space.contains, rules))
            rewards = [rule.tokens.count("g") / 10 for rule in rules]
            history.append((rules, proposer.tell(rules, rewards)))
        assert elsewhere() == before
        return history

    first = told(1, 0)
    assert first == told(1, 5)
    assert first[0] != told(2, 0)[0]


def test_a_tally_counts_all_records_and_keeps_those_of_trainings_and_the_latest():
    rows = [{"status": "ok", "reward": k / 999, "cached_from": k % 9 or None} for k in range(999)]
    tally = Tally(rows)
    assert tally.ways == {results.TRAINED: 111, results.DUPLICATE: 888} and tally.best == 998 / 999
    assert tally.trained == rows[::9] and list(tally.recent) == rows[-RECENT:]
    assert tally.rejected == 0
    for number, error in enumerate(("constant", "does not descend", "constant")):
        tally.note({"status": "rejected", "error": error, "reward": 0.0, "cached_from": None})
        assert tally.rejected == number + 1
