"""The judgement itself: what a wrong ranking looks like, so that no client's test passes for nothing."""

import pytest
import support

CASE = support.Case("three", "q", ["a", "b", "c"], 1)
OWN = [(1, 0.9), (2, 0.5), (0, 0.25)]

WRONG = {
    "one is missing": OWN[:2],
    "one comes twice": [(1, 0.9), (2, 0.5), (2, 0.25)],
    "an index that nothing has": [(1, 0.9), (2, 0.5), (3, 0.25)],
    "an index that is no whole number": [(1, 0.9), (2.0, 0.5), (0, 0.25)],
    "worst first": OWN[::-1],
    "scores out of order": [(1, 0.5), (2, 0.9), (0, 0.25)],
    "a score above one": [(1, 9.0), (2, 0.5), (0, 0.25)],
    "a score below zero": [(1, 0.9), (2, 0.5), (0, -0.25)],
    "not a number": [(1, float("nan")), (2, 0.5), (0, 0.25)],
    "the wrong passage first": [(2, 0.9), (1, 0.5), (0, 0.25)],
    "another order than the server's": [(1, 0.9), (0, 0.5), (2, 0.25)],
    "another score than the server's": [(1, 0.9), (2, 0.5001), (0, 0.25)],
}


@pytest.fixture(autouse=True)
def own(monkeypatch):
    monkeypatch.setattr(support, "reference", lambda url, case: OWN)


def test_the_servers_own_ranking_holds():
    support.hold("", CASE, OWN)
    support.hold("", CASE, OWN[:2], top=2)
    support.hold_in_order("", CASE, [0.25, 0.9, 0.5])


@pytest.mark.parametrize("ranked", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_ranking_does_not_hold(ranked):
    with pytest.raises(AssertionError):
        support.hold("", CASE, ranked)


def test_scores_are_no_logits():
    with pytest.raises(AssertionError):
        support.hold_logits("", CASE, OWN)
