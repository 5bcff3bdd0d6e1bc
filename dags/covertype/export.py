"""From a fitted estimator to the ONNX model that the inference API serves.

The trees are written straight from scikit-learn's arrays. skl2onnx does the same for any
estimator, but took 1.9 GB and 9 s on 50 extra-trees and stored a weight of zero for every class
a leaf does not vote for, which made the model 70 MB instead of 30 MB.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, checker, helper
from sklearn.ensemble import HistGradientBoostingClassifier  # type: ignore[import-untyped]

from covertype import features
from covertype.budget import BUDGET, ServingCost, measure
from covertype.dataset import Floats, Ints
from covertype.errors import PipelineError
from covertype.schema import CLASSES, INPUTS, TARGET
from covertype.training import Estimator

INPUT_NAME = "features"
OUTPUT_NAME = "label"
FILE_NAME = "model.onnx"

# The oldest versions with the operators used here: any newer runtime serves them too.
_OPSETS = (("", 13), ("ai.onnx.ml", 1))
_IR_VERSION = 8

MIN_AGREEMENT = 0.999
"""Share of held-out rows on which ONNX Runtime and scikit-learn must give the same class."""


@dataclass(frozen=True)
class ExportedModel:
    """A model that was found fit to serve.

    Attributes:
        proto: The ONNX model.
        content: Of its file.
        sha256: Of its file, in hex.
        predicted: int64 [rows], what ONNX Runtime says of the held-out rows.
        expected: int64 [rows], what scikit-learn says of them.
        cost: What serving it costs.
    """

    proto: ModelProto
    content: bytes
    sha256: str
    predicted: Ints
    expected: Ints
    cost: ServingCost

    @property
    def agreement(self) -> float:
        """Share of held-out rows on which both give the same class, in 0..1."""
        return float(np.mean(self.predicted == self.expected))

    def figures(self) -> dict[str, float]:
        """Its costs and its agreement, by their names in MLflow."""
        costs = {f"onnx_{name}": value for name, value in asdict(self.cost).items()}
        return {**costs, "onnx_agreement": self.agreement}


def export(estimator: Estimator, held_out: Floats) -> ExportedModel:
    """Convert a fitted estimator and check that it can be served.

    Args:
        estimator: Fitted to ``features.derive`` of the inputs.
        held_out: float32 [rows, len(INPUTS)], rows it was not fitted to.

    Raises:
        PipelineError: It exceeds the serving budget, or ONNX Runtime does not agree with
            scikit-learn.
    """
    proto = to_onnx(estimator)
    content = proto.SerializeToString()
    cost = measure(content, held_out)
    excess = cost.excess(BUDGET)
    if excess:
        raise PipelineError(f"{' '.join(excess)} Give the candidate fewer or smaller trees.")
    predicted = predict(open_session(content), held_out)
    expected = estimator.predict(features.derive(held_out))
    check_agreement(predicted, expected)
    sha256 = hashlib.sha256(content).hexdigest()
    return ExportedModel(proto, content, sha256, predicted, expected, cost)


def check_agreement(predicted: Ints, expected: Ints) -> None:
    """Check that ONNX Runtime says what scikit-learn says.

    Args:
        predicted: int64 [rows], what ONNX Runtime says.
        expected: int64 [rows], what scikit-learn says.

    Raises:
        PipelineError: They differ on too many rows.
    """
    agreement = float(np.mean(predicted == expected))
    if agreement < MIN_AGREEMENT:
        raise PipelineError(
            f"ONNX Runtime gives the same class as scikit-learn on {agreement:.2%} of the "
            f"held-out rows, fewer than {MIN_AGREEMENT:.1%}: the conversion is wrong."
        )


def feature_schema(sha256: str) -> dict[str, Any]:
    """What a client of the model must know, as stored in the model's metadata.

    Args:
        sha256: Of the model's file, in hex.
    """
    return {
        "format": 1,
        "inputs": [
            {"name": column.name, "kind": column.kind}
            | ({"categories": list(column.categories)} if column.kind == "category" else {})
            for column in INPUTS
        ],
        "target": TARGET.name,
        "classes": [{"number": number, "name": name} for number, name in enumerate(CLASSES)],
        "onnx": {
            "file": FILE_NAME,
            "input": INPUT_NAME,
            "output": OUTPUT_NAME,
            "sha256": sha256,
        },
    }


def open_session(model: bytes | str) -> Any:
    """Load a model the way a replica does, with one thread.

    Args:
        model: The content of the file, or its path.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def predict(session: Any, inputs: Floats) -> Ints:
    """Class numbers, int64 [rows], of inputs float32 [rows, len(INPUTS)]."""
    labels: Ints = session.run([OUTPUT_NAME], {INPUT_NAME: inputs})[0]
    return labels


def to_onnx(estimator: Estimator) -> ModelProto:
    """Write the derived columns and the trees as one ONNX graph."""
    make: Any = helper
    nodes, constants = features.onnx_nodes(INPUT_NAME, "columns")
    nodes += [
        make.make_node("Neg", ["columns"], ["negated"]),
        make.make_node("Concat", ["columns", "negated"], ["both_signs"], axis=1),
        _trees_node(estimator, "both_signs", (OUTPUT_NAME, "probabilities")),
    ]
    graph = make.make_graph(
        nodes,
        "covertype",
        [make.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["rows", len(INPUTS)])],
        [
            make.make_tensor_value_info(OUTPUT_NAME, TensorProto.INT64, ["rows"]),
            make.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", len(CLASSES)]),
        ],
        constants,
    )
    model: ModelProto = make.make_model(
        graph,
        opset_imports=[make.make_opsetid(domain, version) for domain, version in _OPSETS],
        producer_name="covertype",
        ir_version=_IR_VERSION,
    )
    checker.check_model(model)
    return model


@dataclass(frozen=True)
class _Tree:
    """One tree as arrays over its nodes; node 0 is the root.

    Attributes:
        left: int64 [nodes], where rows go whose value is at most the threshold; -1 in a leaf.
        right: int64 [nodes], where the others go.
        feature: int64 [nodes], the column compared.
        threshold: float64 [nodes].
        rows: int64 [nodes], how many of the rows that it was fitted to came by.
        vote_nodes: int64 [votes], the leaf that votes.
        vote_classes: int64 [votes], the class it votes for.
        vote_weights: float64 [votes].
    """

    left: Ints
    right: Ints
    feature: Ints
    threshold: NDArray[np.float64]
    rows: Ints
    vote_nodes: Ints
    vote_classes: Ints
    vote_weights: NDArray[np.float64]


def _trees(estimator: Estimator) -> Iterator[_Tree]:
    if isinstance(estimator, HistGradientBoostingClassifier):
        # A private attribute, and the only way to the trees.
        for iteration in estimator._predictors:
            for position, predictor in enumerate(iteration):
                yield _boosted_tree(predictor.nodes, int(estimator.classes_[position]))
    else:
        for member in estimator.estimators_:
            yield _forest_tree(member.tree_, estimator.classes_, len(estimator.estimators_))


def _forest_tree(tree: Any, classes: Ints, trees: int) -> _Tree:
    leaf = tree.children_left < 0
    shares = np.where(leaf[:, None], tree.value[:, 0, :], 0.0)
    nodes, positions = np.nonzero(shares)
    return _Tree(
        left=tree.children_left,
        right=tree.children_right,
        feature=tree.feature,
        threshold=tree.threshold,
        rows=tree.n_node_samples,
        vote_nodes=nodes,
        vote_classes=classes[positions],
        vote_weights=shares[nodes, positions] / trees,
    )


def _boosted_tree(nodes: Any, class_number: int) -> _Tree:
    leaf = nodes["is_leaf"].astype(bool)
    leaves = np.flatnonzero(leaf)
    return _Tree(
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
        right=nodes["right"].astype(np.int64),
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"],
        rows=nodes["count"].astype(np.int64),
        vote_nodes=leaves,
        vote_classes=np.full(len(leaves), class_number, dtype=np.int64),
        vote_weights=nodes["value"][leaves],
    )


def _trees_node(estimator: Estimator, source: str, outputs: tuple[str, str]) -> NodeProto:
    """The trees, on columns that come twice: as they are, then with their signs turned.

    ONNX Runtime puts the node where a row goes that does not fulfil the comparison right behind the
    one that compares. Four rows in five take the same branch at a node: where that is the branch of
    those that fulfil it, the comparison is turned round. Most steps then lead to memory that is on
    its way already, and the processor guesses most of them rightly. Measured with 51 extra-trees of
    952,547 nodes, on real rows: one row takes 0.78 and 16 rows 0.66 of the time that they take in
    scikit-learn's order. All nodes compare alike, since ONNX Runtime is a third slower where they
    do not: that is why the sign is the column's.
    """
    boosted = isinstance(estimator, HistGradientBoostingClassifier)
    node = NodeProto(
        op_type="TreeEnsembleClassifier",
        domain="ai.onnx.ml",
        name="trees",
        input=[source],
        output=list(outputs),
    )
    ints: dict[str, list[Ints]] = {}
    floats: dict[str, list[Floats]] = {}
    modes = _attribute(node, "nodes_modes", AttributeProto.STRINGS)
    for number, tree in enumerate(_trees(estimator)):
        leaf = tree.left < 0
        turned = ~leaf & (tree.rows[tree.left] > tree.rows[tree.right])
        count = len(leaf)
        modes.strings.extend(np.where(leaf, b"LEAF", b"BRANCH_LEQ").tolist())
        for name, values in (
            ("nodes_treeids", np.full(count, number)),
            ("nodes_nodeids", np.arange(count)),
            ("nodes_featureids", np.where(leaf, 0, tree.feature + turned * len(features.NAMES))),
            ("nodes_truenodeids", np.where(leaf, 0, np.where(turned, tree.right, tree.left))),
            ("nodes_falsenodeids", np.where(leaf, 0, np.where(turned, tree.left, tree.right))),
            ("class_treeids", np.full(len(tree.vote_nodes), number)),
            ("class_nodeids", tree.vote_nodes),
            ("class_ids", tree.vote_classes),
        ):
            ints.setdefault(name, []).append(values)
        thresholds = _round_down(np.where(leaf, 0.0, tree.threshold))
        # Above the threshold, in float32, is at least the next number.
        at_least = -np.nextafter(thresholds, np.float32(np.inf))
        floats.setdefault("nodes_values", []).append(np.where(turned, at_least, thresholds))
        floats.setdefault("class_weights", []).append(tree.vote_weights.astype(np.float32))
    for name, parts in ints.items():
        _extend(_attribute(node, name, AttributeProto.INTS).ints, parts)
    for name, parts_ in floats.items():
        _extend(_attribute(node, name, AttributeProto.FLOATS).floats, parts_)
    labels = _attribute(node, "classlabels_int64s", AttributeProto.INTS)
    labels.ints.extend(range(len(CLASSES)))
    if boosted:
        base = np.full(len(CLASSES), -np.inf)
        base[estimator.classes_] = estimator._baseline_prediction.ravel()
        # A class that the rows do not have gets no vote; a number as small as this says so.
        _attribute(node, "base_values", AttributeProto.FLOATS).floats.extend(
            np.maximum(base, -1e9).tolist()
        )
    transform = _attribute(node, "post_transform", AttributeProto.STRING)
    transform.s = b"SOFTMAX" if boosted else b"NONE"
    return node


def _attribute(node: NodeProto, name: str, kind: Any) -> AttributeProto:
    attribute: AttributeProto = node.attribute.add()
    attribute.name = name
    attribute.type = kind
    return attribute


def _extend(field: Any, parts: Iterable[NDArray[Any]]) -> None:
    for part in parts:
        field.extend(part.tolist())


def _round_down(thresholds: NDArray[np.float64]) -> Floats:
    """The largest float32 that is at most the threshold.

    scikit-learn compares float32 values with float64 thresholds. A float32 value is at most the
    threshold exactly where it is at most this number, so no row takes another branch.
    """
    rounded = thresholds.astype(np.float32)
    above = rounded.astype(np.float64) > thresholds
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    return rounded
