"""The network of a recurrent classifier as an ONNX model, and its logits by ONNX Runtime.

Three things make a plain translation wrong. ONNX promises nothing about states at padding, so the
model masks them. ONNX Runtime counts negative ids from the end, and returns NaN for a text of
length 0, so the model replaces invalid ids and lengths by ones that ONNX Runtime refuses. And it
crashes in a recurrent operator on a batch without texts, so the model adds a text to such a batch
and removes its logits.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from textrnn._version import __version__
from textrnn.errors import InvalidValueError, import_extra
from textrnn.runtime import onnx_file
from textrnn.runtime.batches import batches_by_length
from textrnn.runtime.onnx_file import FLOAT32, INT32, INT64, Message

__all__ = ["OnnxNetwork", "onnx_model"]

_Weights: TypeAlias = Mapping[str, NDArray[Any]]

_OPSET, _IR_VERSION = 13, 7  # old ones, which runtimes since 2020 know
_MAX_BYTES = 2**31 - 2**20  # of the weights; a file of protobuf holds less than 2 GiB
# Index of each of ONNX's gates among those of PyTorch: z, r, n of a GRU; i, o, f, g of an LSTM.
_GATES = {"rnn": [0], "gru": [1, 0, 2], "lstm": [0, 3, 1, 2]}

_MAX_IDS = 16_384  # in a batch, to bound the memory
_MAX_TEXTS = 64


class OnnxNetwork:
    """The network of a `RecurrentClassifier` in ONNX Runtime.

    Args:
        config: Its `config`.
        weights: Its `state_dict()` as arrays.
    """

    def __init__(self, config: Mapping[str, Any], weights: _Weights) -> None:
        runtime = import_extra("onnxruntime", extra="onnx")
        self._num_classes = int(config["num_classes"])
        self._model = onnx_model(config, weights)  # the session keeps these bytes too
        self._session = _session(runtime, self._model)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the session, which can't be pickled."""
        return {name: value for name, value in vars(self).items() if name != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._session = _session(import_extra("onnxruntime", extra="onnx"), self._model)

    def logits(self, ids: NDArray[np.int32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Compute the logits of encoded texts.

        Args:
            ids: Token ids of all texts, one after the other, `(total,)`.
            lengths: Number of ids of each text, at least 1, `(texts,)`.

        Returns:
            The logits, `(texts, classes)`.
        """
        starts = lengths.cumsum() - lengths  # (texts,)
        logits = np.empty((len(lengths), self._num_classes), np.float32)
        for rows in batches_by_length(lengths, max_ids=_MAX_IDS, max_texts=_MAX_TEXTS):
            sizes = lengths[rows]
            steps = np.arange(sizes[0])  # the first is the longest
            real = steps < sizes[:, np.newaxis]  # (batch, time)
            batch = np.zeros(real.shape, np.int64)
            batch[real] = ids[(starts[rows][:, np.newaxis] + steps)[real]]
            feed = {"input_ids": batch, "lengths": sizes}
            (logits[rows],) = self._session.run(["logits"], feed)
        return logits


def _session(runtime: Any, model: bytes) -> Any:
    """Return a session of ONNX Runtime on one thread."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # a second one makes batches slower
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def onnx_model(config: Mapping[str, Any], weights: _Weights) -> bytes:
    """Return the ONNX model of a `RecurrentClassifier` with this `config` and `state_dict()`."""
    size = sum(array.nbytes for array in weights.values())
    if size > _MAX_BYTES:
        raise InvalidValueError(
            f"Expected weights of less than 2 GiB, the limit of an ONNX file, but got {size} bytes."
        )
    graph = _Graph(config, weights)
    graph.add_everything()
    return onnx_file.model(
        nodes=graph.nodes,
        constants=graph.constants.values(),
        inputs=[
            onnx_file.value("input_ids", INT64, ["batch", "time"]),
            onnx_file.value("lengths", INT64, ["batch"]),
        ],
        outputs=[onnx_file.value("logits", FLOAT32, ["batch", config["num_classes"]])],
        name="RecurrentClassifier",
        producer=("textrnn", __version__),
        ir_version=_IR_VERSION,
        opset=_OPSET,
        properties=[("vocab_size", str(config["vocab_size"]))],
    )


class _Graph:
    """Nodes and constants of a graph; methods that add some return the name of the result."""

    def __init__(self, config: Mapping[str, Any], weights: _Weights) -> None:
        self.config, self.weights = config, weights
        self.nodes: list[Message] = []
        self.constants: dict[str, Message] = {}

    def add(
        self, operator: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any
    ) -> str:
        """Add a node."""
        outputs = outputs or [f"{operator}.{len(self.nodes)}"]
        self.nodes.append(onnx_file.node(operator, inputs, outputs, **attributes))
        return outputs[0]

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Add a constant, float32 or int64."""
        self.constants[name] = onnx_file.tensor(name, array)
        return name

    def number(self, value: float) -> str:
        """Add a constant float32."""
        return self.constant(str(value), np.array(value, np.float32))

    def integer(self, value: int) -> str:
        """Add a constant integer."""
        return self.constant(str(value), np.array(value, np.int64))

    def integers(self, *values: int) -> str:
        """Add a constant list of integers."""
        return self.constant(str(list(values)), np.array(values, np.int64))

    def add_everything(self) -> None:
        """Add all operations from ids to logits."""
        ids, lengths, texts = self.checked_inputs()
        ends = self.add("Cast", lengths, to=INT32)  # (batch,)
        table = self.constant("embedding", self.weights["embedding.weight"])
        steps = self.add("Gather", table, self.add("Transpose", ids, perm=[1, 0]))
        last = ""
        for layer in range(self.config["num_layers"]):
            steps, last = self.layer(layer, steps, ends)
        states = self.add("Transpose", steps, perm=[1, 0, 2])  # (batch, time, features)
        features = self.pooled(states, last, ids, lengths)  # (batch, features)
        for name in ("head.1", "head.4"):
            features = self.linear(name, self.add("Tanh", features))
        # Without the text that was added to an empty batch.
        self.add("Slice", features, self.integers(0), texts, outputs=["logits"])  # (batch, classes)

    def checked_inputs(self) -> tuple[str, str, str]:
        """Add ids `(batch, time)` and lengths `(batch,)` of at least one text, and their number."""
        zero, one = self.integers(0), self.integers(1)
        texts = self.add("Shape", "lengths")  # (1,)
        extra = self.add("Cast", self.add("Equal", texts, zero), to=INT64)
        margins = self.add("Concat", zero, zero, extra, extra, axis=0)  # before and after each axis
        ids = self.add("Pad", "input_ids", margins)  # (batch, time)
        margins = self.add("Concat", zero, extra, axis=0)
        lengths = self.add("Pad", "lengths", margins, self.integer(1))  # (batch,)
        unknown = self.integers(self.config["vocab_size"])
        ids = self.add("Where", self.add("Less", ids, zero), unknown, ids)
        time = self.add("Gather", self.add("Shape", ids), one)  # (1,)
        fits = self.add("LessOrEqual", lengths, time)  # (batch,)
        fits = self.add("And", fits, self.add("Greater", lengths, zero))
        return ids, self.add("Where", fits, lengths, self.integers(-1)), texts

    def layer(self, index: int, steps: str, ends: str) -> tuple[str, str]:
        """Add a layer: all states, `(time, batch, features)`, and the last `(batch, features)`."""
        cell, hidden = self.config["cell"], self.config["hidden_size"]
        directions = ("", "_reverse") if self.config["bidirectional"] else ("",)

        def stacked(name: str, *kinds: str) -> str:
            """Add weights of all directions, `(directions, gates * hidden, ...)`."""
            each = []
            for direction in directions:
                parts = [self.weights[f"encoder.rnn.{kind}_l{index}{direction}"] for kind in kinds]
                shape = parts[0].shape[1:]
                gates = [part.reshape(-1, hidden, *shape)[_GATES[cell]] for part in parts]
                each.append(np.concatenate(gates).reshape(-1, *shape))
            return self.constant(f"{index}.{name}", np.stack(each))

        outputs = f"{index}.states", f"{index}.last"
        self.add(
            cell.upper(),
            steps,
            stacked("W", "weight_ih"),
            stacked("R", "weight_hh"),
            stacked("B", "bias_ih", "bias_hh"),
            ends,
            outputs=outputs,
            hidden_size=hidden,
            direction="bidirectional" if len(directions) > 1 else "forward",
            **({"linear_before_reset": 1} if cell == "gru" else {}),
        )  # (time, directions, batch, hidden) and (directions, batch, hidden)
        states = self.add("Transpose", outputs[0], perm=[0, 2, 1, 3])
        last = self.add("Transpose", outputs[1], perm=[1, 0, 2])
        features = len(directions) * hidden
        return (
            self.add("Reshape", states, self.integers(0, 0, features)),
            self.add("Reshape", last, self.integers(0, features)),
        )

    def pooled(self, states: str, last: str, ids: str, lengths: str) -> str:
        """Add the pooled states, `(batch, features)`."""
        zero, one = self.integer(0), self.integer(1)
        axis, last_axis = self.integers(1), self.integers(2)
        time = self.add("Gather", self.add("Shape", ids), one)  # ()
        ends = self.add("Unsqueeze", lengths, axis)  # (batch, 1)
        mask = self.add("Less", self.add("Range", zero, time, one), ends)  # (batch, time)
        mask = self.add("Unsqueeze", mask, last_axis)  # (batch, time, 1)
        tokens = self.add("Where", mask, states, self.number(0.0))
        names, parts = self.config["pooling"], []
        for name in [names] if isinstance(names, str) else names:
            if name == "max":
                known = self.add("Where", mask, states, self.number(-math.inf))
                parts.append(self.add("ReduceMax", known, axes=[1], keepdims=0))
            elif name == "mean":
                total = self.add("ReduceSum", tokens, axis, keepdims=0)
                counts = self.add("Cast", ends, to=FLOAT32)
                parts.append(self.add("Div", total, counts))
            elif name == "last":
                parts.append(last)
            else:
                hidden = self.add("Tanh", self.linear("pooling.attention.hidden", tokens))
                scores = self.linear("pooling.attention.query", hidden)  # (batch, time, 1)
                known = self.add("Where", mask, scores, self.number(-math.inf))
                shares = self.add("Softmax", known, axis=1)
                weighted = self.add("Mul", tokens, shares)  # (batch, time, features)
                parts.append(self.add("ReduceSum", weighted, axis, keepdims=0))
        return self.add("Concat", *parts, axis=1)

    def linear(self, name: str, inputs: str) -> str:
        """Add a linear layer."""
        weight, bias = f"{name}.weight", f"{name}.bias"
        product = self.add("MatMul", inputs, self.constant(weight, self.weights[weight].T))
        if bias not in self.weights:
            return product
        return self.add("Add", product, self.constant(bias, self.weights[bias]))
