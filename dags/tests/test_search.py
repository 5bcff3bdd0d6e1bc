"""Code tests of the search: what is tried, and what goes on."""

from dataclasses import replace

import pytest

from covertype import search
from covertype.candidates import Candidate, Score
from covertype.errors import PipelineError
from covertype.plan import FAMILIES, baseline_for, plan_for

FEW_ROWS, MANY_ROWS = 52_000, 520_000
SMALL, LARGE = plan_for(FEW_ROWS), plan_for(MANY_ROWS)


def scored(candidates: list[Candidate]) -> list[Score]:
    """Scores that rise with the candidate's number."""
    return [
        Score(one.name, one.family, one.params, int(one.name[:2]) / 100, 0.5, 20.0)
        for one in candidates
    ]


def test_the_same_candidates_are_sampled_each_time() -> None:
    assert search.sample(SMALL) == search.sample(SMALL)
    candidates = search.sample(SMALL)
    assert tuple(one.family for one in candidates) == FAMILIES
    assert len({str(one.params) for one in candidates}) == len(candidates)
    assert len({one.name for one in candidates}) == len(candidates)


@pytest.mark.parametrize("rows", [FEW_ROWS, MANY_ROWS])
def test_numbers_of_trees_are_odd_and_leaves_within_what_a_model_may_have(rows: int) -> None:
    for one in [baseline_for(rows), *search.sample(plan_for(rows))]:
        if one.family == "hist_gradient_boosting":
            assert one.params["max_iter"] == SMALL.most_rounds
            continue
        assert one.params["n_estimators"] % 2 == 1
        if rows == MANY_ROWS:
            leaves = one.params["n_estimators"] * one.params["max_leaf_nodes"]
            assert 0.9 * LARGE.most_leaves < leaves <= LARGE.most_leaves
        else:
            assert "max_leaf_nodes" not in one.params


def test_the_best_third_goes_on_with_one_that_the_sampler_adds() -> None:
    sampled = search.sample(SMALL)
    scores = scored(sampled)
    chosen = search.select(SMALL, scores[::-1])
    assert {one.name for one in sampled[-3:]} < {one.name for one in chosen}
    (added,) = [one for one in chosen if one not in sampled]
    assert added.name.startswith("10-")
    assert search.select(SMALL, scores) == chosen


def test_the_sampler_heeds_the_first_results() -> None:
    scores = scored(search.sample(SMALL))
    other = [replace(score, accuracy=1 - score.accuracy) for score in scores]
    added = [
        next(one for one in search.select(SMALL, given) if one.name.startswith("10-"))
        for given in (scores, other)
    ]
    assert added[0] != added[1]


def test_what_cannot_be_served_does_not_go_on() -> None:
    scores = scored(search.sample(SMALL))
    out = [*scores[:-1], replace(scores[-1], refusal="Its file is too large.")]
    assert scores[-1].candidate not in {one.name for one in search.select(SMALL, out)}
    assert search.rank(out)[0] == scores[-2]
    nothing = [replace(score, refusal="Its file is too large.") for score in scores]
    with pytest.raises(PipelineError, match=r"None of the candidates can be served\..*too large"):
        search.rank(nothing)
