"""Model tests: quality, behaviour, agreement with ONNX Runtime, and reproducibility."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from onnx import helper

from conftest import GOOD
from covertype import behaviour, features
from covertype import export as export_module
from covertype.budget import ServingBudget
from covertype.candidates import Candidate
from covertype.dataset import Rows, Split
from covertype.errors import PipelineError
from covertype.evaluation import evaluate
from covertype.export import ExportedModel, export, feature_schema, open_session, predict, to_onnx
from covertype.plan import baseline_for
from covertype.schema import INPUTS
from covertype.training import cross_validate, fit

Trained = tuple[Any, ExportedModel]

BOOSTING = Candidate(
    "boosting",
    "hist_gradient_boosting",
    {"max_iter": 15, "max_leaf_nodes": 31, "learning_rate": 0.2, "l2_regularization": 1.0},
)
FAMILIES = {
    "extra_trees": replace(GOOD, params={**GOOD.params, "n_estimators": 15}),
    "random_forest": baseline_for(2_700),
    "hist_gradient_boosting": BOOSTING,
}
COLUMN = {column.name: position for position, column in enumerate(INPUTS)}


@pytest.fixture(scope="session")
def trained(parts: Split) -> Callable[[str], Trained]:
    """Gives a model of a family, fitted to the sample and exported."""

    @cache
    def train(family: str) -> Trained:
        estimator = fit(FAMILIES[family], parts.fit, threads=2)
        return estimator, export(estimator, parts.test.features)

    return train


@pytest.fixture(scope="session")
def best(good: ExportedModel) -> Any:
    """The ONNX Runtime session of a good model."""
    return open_session(good.content)


@pytest.mark.parametrize("family", FAMILIES)
def test_quality_and_agreement(
    parts: Split, trained: Callable[[str], Trained], family: str
) -> None:
    estimator, model = trained(family)
    test = parts.test
    assert np.array_equal(model.predicted, estimator.predict(features.derive(test.features)))
    figures = evaluate(test.labels, model.predicted)
    # On 2,700 rows to learn from; 58,100 give .91 and more.
    assert figures["accuracy"] > 0.70
    assert figures["macro_f1"] > 0.58


def test_agreement_where_values_lie_on_thresholds(parts: Split) -> None:
    """Rows whose values are exactly a tree's float64 thresholds, rounded either way."""
    # A tree that votes alone: no other hides a wrong turn.
    one = replace(GOOD, params={**GOOD.params, "n_estimators": 1})
    estimator = fit(one, parts.fit, threads=1)
    session = open_session(to_onnx(estimator).SerializeToString())
    tree = estimator.estimators_[0].tree_
    compares = np.flatnonzero((tree.children_left >= 0) & (tree.feature < len(INPUTS)))
    # For each node that compares an input, a row that comes by.
    came_by = tree.decision_path(features.derive(parts.fit.features)).tocsc()
    chosen = came_by.indices[came_by.indptr[compares]]
    rounded = tree.threshold[compares].astype(np.float32)
    above, below = (np.nextafter(rounded, np.float32(end)) for end in (np.inf, -np.inf))
    probes = np.tile(parts.fit.features[chosen], (3, 1))
    index = np.arange(len(probes))
    probes[index, np.tile(tree.feature[compares], 3)] = np.concatenate([below, rounded, above])
    expected = estimator.predict(features.derive(probes))
    assert np.array_equal(predict(session, probes), expected)
    # Both branches of the nodes were taken.
    thirds = expected.reshape(3, -1)
    assert np.mean(thirds[0] != thirds[2]) > 0.1


@pytest.mark.parametrize("family", ["extra_trees", "hist_gradient_boosting"])
def test_where_most_rows_go_comes_next(trained: Callable[[str], Trained], family: str) -> None:
    """ONNX Runtime puts the node for rows that do not fulfil a comparison behind that one."""
    estimator, model = trained(family)
    if family == "extra_trees":
        counts = [member.tree_.n_node_samples for member in estimator.estimators_]
    else:
        counts = [tree.nodes["count"] for trees in estimator._predictors for tree in trees]
    rows = np.concatenate(counts).astype(np.int64)
    attributes = model.proto.graph.node[-1].attribute
    node = {one.name: helper.get_attribute_value(one) for one in attributes}
    trees = np.array(node["nodes_treeids"])
    root = np.searchsorted(trees, trees)
    inner = np.array(node["nodes_modes"]) == b"BRANCH_LEQ"
    behind = rows[(root + node["nodes_falsenodeids"])[inner]]
    elsewhere = rows[(root + node["nodes_truenodeids"])[inner]]
    assert (behind >= elsewhere).all()
    assert behind.sum() > 0.6 * rows[inner].sum()


def test_graph_keeps_the_contract_with_the_inference_api(best: Any) -> None:
    (model_input,) = best.get_inputs()
    assert (model_input.name, model_input.type) == ("features", "tensor(float)")
    assert model_input.shape == ["rows", 12]
    outputs = {output.name: (output.type, output.shape) for output in best.get_outputs()}
    assert outputs["label"] == ("tensor(int64)", ["rows"])
    empty = predict(best, np.empty((0, 12), dtype=np.float32))
    assert empty.shape == (0,)


def test_feature_schema_is_the_contract_with_the_inference_api() -> None:
    schema = feature_schema("ab12")
    assert schema["format"] == 1
    assert [entry["name"] for entry in schema["inputs"]] == list(COLUMN)
    assert schema["inputs"][0] == {"name": "Elevation", "kind": "number"}
    assert schema["inputs"][10] == {
        "name": "Wilderness_Area",
        "kind": "category",
        "categories": ["Rawah", "Neota", "Commanche", "Cache"],
    }
    assert len(schema["inputs"][11]["categories"]) == 40
    assert schema["target"] == "Cover_Type"
    assert schema["classes"][0] == {"number": 0, "name": "Spruce/Fir"}
    assert schema["classes"][6] == {"number": 6, "name": "Krummholz"}
    assert schema["onnx"] == {
        "file": "model.onnx",
        "input": "features",
        "output": "label",
        "sha256": "ab12",
    }


def test_derived_columns_are_what_their_names_say(rows: Rows) -> None:
    derived = dict(zip(features.NAMES, features.derive(rows.features).T, strict=True))
    fire, roads = (
        derived["Horizontal_Distance_To_Fire_Points"],
        derived["Horizontal_Distance_To_Roadways"],
    )
    assert np.array_equal(
        derived["Elevation - Vertical_Distance_To_Hydrology"],
        derived["Elevation"] - derived["Vertical_Distance_To_Hydrology"],
    )
    assert np.array_equal(
        derived["- 2 Horizontal_Distance_To_Fire_Points + Horizontal_Distance_To_Roadways"],
        roads - 2 * fire,
    )
    assert np.allclose(
        derived["Distance_To_Water"],
        np.hypot(
            derived["Horizontal_Distance_To_Hydrology"], derived["Vertical_Distance_To_Hydrology"]
        ),
    )
    assert len(features.NAMES) == len(set(features.NAMES))


def test_derived_columns_are_exact_in_float32_for_all_permitted_inputs() -> None:
    limits = {column.name: max(abs(column.minimum), column.maximum) for column in INPUTS}
    sums = [
        sum(abs(weight) * limits[name] for name, weight in weights.items())
        for weights in features.LINEAR
    ]
    squares = sum(limits[name] ** 2 for name in features.DISTANCE[0])
    assert max(*sums, squares) < 2**24


@pytest.mark.parametrize("family", FAMILIES)
def test_same_data_and_seed_give_the_same_file(
    parts: Split, trained: Callable[[str], Trained], family: str
) -> None:
    again = fit(FAMILIES[family], parts.fit, threads=1)
    assert to_onnx(again).SerializeToString() == trained(family)[1].content


def test_boosting_stops_early_in_cross_validation(parts: Split) -> None:
    many = replace(BOOSTING, params={**BOOSTING.params, "max_iter": 60, "learning_rate": 0.5})
    found = cross_validate(many, parts.fit, 2)
    assert 1 < found.candidate.params["max_iter"] < 60
    assert found.candidate.params["learning_rate"] == 0.5
    assert np.mean(found.predicted == parts.fit.labels) > 0.6
    assert abs(len(found.left_out) - len(parts.fit) / 2) < len(FAMILIES) * 2


def test_a_good_model_behaves(parts: Split, best: Any) -> None:
    assert behaviour.shortcomings(lambda inputs: predict(best, inputs), parts.test) == []


def test_invariance_an_answer_that_depends_on_the_other_rows_is_noticed(
    parts: Split, best: Any
) -> None:
    def moody(inputs: Any) -> Any:
        return (predict(best, inputs) + (len(inputs) > 1)) % 7

    assert "alone and among others" in " ".join(behaviour.shortcomings(moody, parts.test))


def test_invariance_a_model_that_looks_at_a_degree_of_aspect_is_noticed(
    parts: Split, best: Any
) -> None:
    def fussy(inputs: Any) -> Any:
        return (predict(best, inputs) + inputs[:, COLUMN["Aspect"]].astype(int)) % 7

    assert "A degree of aspect" in " ".join(behaviour.shortcomings(fussy, parts.test))


def test_direction_a_model_that_takes_high_for_low_is_noticed(parts: Split, best: Any) -> None:
    def upside_down(inputs: Any) -> Any:
        turned = inputs.copy()
        turned[:, COLUMN["Elevation"]] = 5700 - turned[:, COLUMN["Elevation"]]
        return predict(best, turned)

    found = " ".join(behaviour.shortcomings(upside_down, parts.test))
    assert "Krummholz is not more frequent high up" in found
    assert "Ponderosa Pine is not more frequent low down" in found


def test_minimum_a_class_that_is_given_up_is_noticed(parts: Split, best: Any) -> None:
    def blind(inputs: Any) -> Any:
        labels = predict(best, inputs)
        return np.where(labels == 0, 1, labels)

    assert "0.0% of the class Spruce/Fir" in " ".join(behaviour.shortcomings(blind, parts.test))


def test_evaluate_counts_by_hand() -> None:
    figures = evaluate(np.array([0, 0, 0, 0, 3]), np.array([0, 0, 0, 1, 3]))
    assert figures["accuracy"] == pytest.approx(0.8)
    assert figures["recall_spruce_fir"] == pytest.approx(0.75)
    assert figures["recall_cottonwood_willow"] == 1.0
    # F1 of 6/7 and 1; a class that does not occur is not counted.
    assert figures["macro_f1"] == pytest.approx((6 / 7 + 1) / 2)
    assert set(figures) == {
        *("accuracy", "macro_f1", "recall_spruce_fir", "recall_cottonwood_willow")
    }


def test_a_class_that_the_rows_lack_is_never_predicted(rows: Rows) -> None:
    without = rows.take(rows.labels != 3)
    for family in ("random_forest", "hist_gradient_boosting"):
        proto = to_onnx(fit(FAMILIES[family], without, threads=2))
        predicted = predict(open_session(proto.SerializeToString()), rows.features)
        assert set(predicted.tolist()) == {0, 1, 2, 4, 5, 6}


def test_what_exceeds_the_budget_is_refused(
    parts: Split, trained: Callable[[str], Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = ServingBudget(10_000, 10_000_000, 0.0001, 0.1)
    monkeypatch.setattr(export_module, "BUDGET", tight)
    with pytest.raises(PipelineError) as refused:
        export(trained("random_forest")[0], parts.test.features)
    for part in ("file is 0.5 MB", "memory when loaded", "time to load", "time for a row"):
        assert part in str(refused.value)


def test_a_wrong_conversion_is_refused(
    parts: Split, trained: Callable[[str], Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = to_onnx(trained("hist_gradient_boosting")[0])
    monkeypatch.setattr(export_module, "to_onnx", lambda _: other)
    with pytest.raises(PipelineError, match="conversion is wrong"):
        export(trained("random_forest")[0], parts.test.features)
