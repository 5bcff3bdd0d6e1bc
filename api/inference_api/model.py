"""One version of a model in memory: its session, its decoder and its ready-made answers."""

import hashlib
import json
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped] # it ships no types
import yaml
from numpy.typing import NDArray

from inference_api.decoding import RowDecoder
from inference_api.schema import CategoryInput, FeatureSchema, SchemaError, parse_schema

MLMODEL_FILE = "MLmodel"
_WARM_UP_ROWS = 64
# Up to so many rows, input and output are bound once and used again.
_BOUND_ROWS = 32


class Identity(NamedTuple):
    """Which version of which registered model, and when it was registered.

    The time belongs to it: a model that is deleted and registered anew starts over at
    version 1, with other content.
    """

    name: str
    version: str
    created_ms: int


class ModelRefusedError(Exception):
    """A version that must not be served.

    Attributes:
        reason: A short word for the metric's label.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class _Binding(NamedTuple):
    """Input and output of a fixed number of rows, bound to a session."""

    binding: ort.IOBinding
    rows: memoryview
    labels: NDArray[np.int64]


def _bind(session: ort.InferenceSession, schema: FeatureSchema, count: int) -> _Binding:
    features = np.zeros((count, len(schema.inputs)), np.float32)
    labels = np.zeros(count, np.int64)
    binding = session.io_binding()
    binding.bind_input(
        schema.onnx.input, "cpu", 0, np.float32, features.shape, features.ctypes.data
    )
    binding.bind_output(schema.onnx.output, "cpu", 0, np.int64, labels.shape, labels.ctypes.data)
    # The view keeps the array.
    return _Binding(binding, features.data.cast("B"), labels)


class LoadedModel:
    """A version that is ready to predict.

    It is used by the event loop's thread alone once it is published: the bound inputs and outputs
    are shared by all calls.

    Args:
        identity: Which version this is.
        schema: Its feature schema.
        session: Its graph, already checked against the schema.
        max_rows: The longest list that it accepts.
    """

    def __init__(
        self,
        identity: Identity,
        schema: FeatureSchema,
        session: ort.InferenceSession,
        max_rows: int,
    ) -> None:
        self.identity = identity
        self.schema = schema
        self.last_used = 0.0
        self.selected_by_version = False
        self._session = session
        self._width = len(schema.inputs)
        self.decode = RowDecoder(schema, max_rows).decode

        self._bindings: dict[int, _Binding] = {}

        # There are only as many answers to one row as there are classes.
        self._head = b'{"predictions":['
        model = {"name": identity.name, "version": identity.version}
        self._tail = b'],"model":' + json.dumps(model, separators=(",", ":")).encode() + b"}"
        self._fragments = {
            label.number: json.dumps(
                {"class_number": label.number, "class_name": label.name}, separators=(",", ":")
            ).encode()
            for label in schema.classes
        }
        self._answers = {
            number: self._head + fragment + self._tail
            for number, fragment in self._fragments.items()
        }

    def labels(self, rows: bytes, count: int) -> list[int]:
        """Predict the class numbers of packed rows.

        Args:
            rows: Packed rows as :meth:`RowDecoder.decode` returns them.
            count: How many rows they are.

        Returns:
            ``count`` class numbers.
        """
        if count > _BOUND_ROWS:
            features = np.frombuffer(rows, np.float32).reshape(count, self._width)
            (labels,) = self._session.run(
                [self.schema.onnx.output], {self.schema.onnx.input: features}
            )
            return labels.tolist()  # type: ignore[no-any-return]
        binding = self._bindings.get(count)
        if binding is None:
            binding = self._bindings[count] = _bind(self._session, self.schema, count)
        binding.rows[:] = rows
        self._session.run_with_iobinding(binding.binding)
        return binding.labels.tolist()  # type: ignore[no-any-return]

    def predict(self, rows: list[bytes], counts: list[int]) -> list[bytes]:
        """Predict the rows of several requests and return the answers' bodies as JSON.

        Args:
            rows: For each request, its packed rows.
            counts: For each request, how many they are.
        """
        labels = self.labels(b"".join(rows), sum(counts))
        if len(labels) == len(counts):
            answers = self._answers
            return [answers[label] for label in labels]
        position = 0
        bodies: list[bytes] = []
        for count in counts:
            own = labels[position : position + count]
            bodies.append(
                self._head + b",".join([self._fragments[label] for label in own]) + self._tail
            )
            position += count
        return bodies

    def warm_up(self) -> None:
        """Predict one row and a batch that together hold every category.

        Raises:
            ModelRefusedError: The graph fails, or answers a class that the schema lacks.
        """
        longest = max(
            (
                len(column.categories)
                for column in self.schema.inputs
                if isinstance(column, CategoryInput)
            ),
            default=0,
        )
        pack = struct.Struct(f"={self._width}f").pack
        rows = [
            pack(
                *(
                    index % len(column.categories) if isinstance(column, CategoryInput) else index
                    for column in self.schema.inputs
                )
            )
            for index in range(max(longest, _WARM_UP_ROWS))
        ]
        try:
            labels = self.labels(b"".join(rows), len(rows))
            labels += self.labels(rows[0], 1)
        except Exception as error:  # ONNX Runtime's errors share no public base class
            raise ModelRefusedError("warm_up", f"its first prediction failed: {error}") from error
        if len(labels) != len(rows) + 1:
            raise ModelRefusedError(
                "warm_up", f"it answers {len(labels) - 1} classes to {len(rows)} rows"
            )
        unnamed = sorted(set(labels) - set(self._fragments))
        if unnamed:
            raise ModelRefusedError("warm_up", f"it answers classes without a name: {unnamed}")


def read_schema(mlmodel: Path) -> FeatureSchema:
    """Read the feature schema from an ``MLmodel`` file.

    Raises:
        ModelRefusedError: The file cannot be read or is no YAML, or its schema is missing or
            malformed.
    """
    try:
        # Not CSafeLoader: a deeply nested file makes it overflow the process's stack.
        return parse_schema(yaml.safe_load(mlmodel.read_bytes()))
    except OSError as error:
        raise ModelRefusedError("unreadable", str(error)) from error
    except (SchemaError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ModelRefusedError("schema", str(error)) from error


def verify(graph: Path, sha256: str) -> None:
    """Check a graph's digest.

    Raises:
        ModelRefusedError: It differs, or the file cannot be read.
    """
    try:
        with graph.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelRefusedError("unreadable", str(error)) from error
    if actual != sha256:
        raise ModelRefusedError(
            "sha256", f"the digest of {graph.name} is {actual}, its schema says {sha256}"
        )


def load(identity: Identity, directory: Path, max_rows: int) -> LoadedModel:
    """Load a downloaded version, check it and warm it up.

    Args:
        identity: Which version this is.
        directory: Where its ``MLmodel`` and graph are.
        max_rows: The longest list that it will accept.

    Raises:
        ModelRefusedError: It must not be served; it says why.
    """
    schema = read_schema(directory / MLMODEL_FILE)
    graph = directory / schema.onnx.file
    verify(graph, schema.onnx.sha256)
    try:
        session = ort.InferenceSession(
            str(graph), _session_options(), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors share no public base class
        raise ModelRefusedError("onnx", f"{graph.name} cannot be loaded: {error}") from error
    _check_signature(session, schema)
    model = LoadedModel(identity, schema, session, max_rows)
    model.warm_up()
    return model


def _session_options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    # One thread: a pool would only fight for the fraction of a core that a replica has.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _check_signature(session: ort.InferenceSession, schema: FeatureSchema) -> None:
    """Refuse a graph whose inputs or outputs are not what its schema says."""
    inputs = {node.name: node for node in session.get_inputs()}
    if set(inputs) != {schema.onnx.input}:
        raise ModelRefusedError(
            "signature",
            f"the graph's inputs are {sorted(inputs)}, its schema says {schema.onnx.input!r}",
        )
    features = inputs[schema.onnx.input]
    width = len(schema.inputs)
    shape = features.shape
    if (
        features.type != "tensor(float)"
        or len(shape) != 2
        or isinstance(shape[0], int)
        or (isinstance(shape[1], int) and shape[1] != width)
    ):
        raise ModelRefusedError(
            "signature",
            f"input {features.name} is {features.type} {shape}, "
            f"should be float32 of [any number, {width}]",
        )
    outputs = {node.name: node for node in session.get_outputs()}
    if schema.onnx.output not in outputs:
        raise ModelRefusedError(
            "signature",
            f"the graph's outputs are {sorted(outputs)}, its schema says {schema.onnx.output!r}",
        )
    label = outputs[schema.onnx.output]
    if label.type != "tensor(int64)" or len(label.shape) != 1:
        raise ModelRefusedError(
            "signature",
            f"output {label.name} is {label.type} {label.shape}, should be int64 of [any number]",
        )
