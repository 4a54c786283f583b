"""The candidates: lstmcore and its peers, each set up in the way that suits it best.

An adapter's `prepare(case, problem)` does all that a user does once (conversion, compilation,
transposed inputs, buffers) and returns `run, read`: `run()` is what is timed, `read(result)` turns
what it returned into NumPy arrays in lstmcore's layout, for the check against the reference.

What is asked of everyone: FORWARD gives the outputs y; TRAIN gives y and, from dy, the gradients
dx, dW, dR, db; STEP moves one sample on by one time step, state kept from call to call, and gives
the output of a linear layer with one unit, read back as a Python float.
"""

import time

import numpy as np
from cases import FORWARD, GATES, STATES, STEP, TRAIN

# Orders of the gates that are not lstmcore's, in its letters.
ORDERS = {
    ("ONNX Runtime", "lstm"): "iofg",
    ("ONNX Runtime", "gru"): "zrn",
    ("OpenVINO", "lstm"): "figo",
    ("OpenVINO", "gru"): "zrn",
}


class UnsupportedError(Exception):
    """The library cannot do this work."""


def sequence_first(array):
    return np.ascontiguousarray(array.swapaxes(0, 1))


def reordered(library, case, p):
    """W, R and b, and zeros or the GRU's bR as a bias of R, in the library's order of the gates."""
    gates = GATES[case.cell]
    order = [gates.index(gate) for gate in ORDERS[library, case.cell]]

    def rows(block):
        return np.concatenate([np.split(block, len(gates))[k] for k in order])

    return rows(p.W), rows(p.R), rows(p.b), rows(recurrent_bias(case, p))


def recurrent_bias(case, p):
    """A bias of R for all gates, as libraries have it that keep two: zero but for the GRU's n."""
    bias = np.zeros_like(p.b)
    if case.cell == "gru":
        bias[-case.H :] = p.bR
    return bias


def fastest(runs):
    """The one of several ways to do the same work that takes the least time."""

    def seconds(run):
        run()
        times = []
        while sum(times) < 0.02:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return min(times)

    return min(runs, key=seconds)


class Lstmcore:
    name = "lstmcore"

    def __init__(self, threads):
        import lstmcore

        self.lc, self.threads = lstmcore, threads
        lstmcore.set_num_threads(threads)

    def version(self):
        return self.lc.__version__

    def prepare(self, case, p):
        lc = self.lc
        if case.work == STEP:
            return self._prepare_step(case, p)
        if case.work == FORWARD:  # of a network, which keeps its packed weights, as the peers do
            net = self._network(case, p, [])
            return lambda: net.predict(p.x), lambda y: {"y": y}
        forward = {"lstm": lc.lstm_forward, "gru": lc.gru_forward}[case.cell]
        backward = {"lstm": lc.lstm_backward, "gru": lc.gru_backward}[case.cell]

        def train():
            y, _, tape = forward(p.x, **p.blocks)
            return y, backward(p.dy, tape)

        def read(result):
            y, grads = result
            return {"y": y, **{name: grads[name[1:]] for name in p.gradients}}

        return train, read

    def _network(self, case, p, more):
        lc = self.lc
        layer = {"lstm": lc.LSTM, "gru": lc.GRU}[case.cell](case.I, case.H)
        net = lc.Network([layer, *more], dtype=case.dtype)
        for name, value in p.blocks.items():
            net.blocks[f"0.{name}"][...] = value
        return net

    def _prepare_step(self, case, p):
        net = self._network(case, p, [self.lc.Dense(case.H, 1)])
        net.blocks["1.W"][...] = p.V
        net.blocks["1.b"][...] = p.a
        stream, x = net.stream(batch_size=1), p.x[0, 0]
        return lambda: float(stream(x)[0]), lambda y: {"y": y}


class Torch:
    name = "torch"

    def __init__(self, threads):
        import torch

        self.torch = torch
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)

    def version(self):
        return self.torch.__version__

    def _weights(self, module, case, p):
        values = (p.W, p.R, p.b, recurrent_bias(case, p))
        with self.torch.no_grad():
            for parameter, value in zip(module.parameters(), values, strict=True):
                parameter.copy_(self.torch.from_numpy(value))
        return module

    def prepare(self, case, p):
        torch = self.torch
        dtype = getattr(torch, case.dtype)
        if case.work == STEP:
            return self._prepare_step(case, p)
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[case.cell]
        layer = self._weights(kind(case.I, case.H, batch_first=True, dtype=dtype), case, p)
        if case.work == FORWARD:
            x = torch.from_numpy(p.x)

            def forward():
                with torch.inference_mode():
                    return layer(x)[0]

            return forward, lambda y: {"y": y.numpy()}
        x = torch.from_numpy(p.x).requires_grad_()
        dy = torch.from_numpy(p.dy)
        wanted = [x, *list(layer.parameters())[: len(p.blocks)]]

        def train():
            y = layer(x)[0]
            return y, torch.autograd.grad(y, wanted, dy)

        def read(result):
            y, grads = result
            arrays = {k: g.numpy() for k, g in zip(p.gradients, grads, strict=True)}
            if case.cell == "gru":
                arrays["dbR"] = arrays["dbR"][-case.H :]
            return {"y": y.detach().numpy(), **arrays}

        return train, read

    def _prepare_step(self, case, p):
        torch = self.torch
        kind = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}[case.cell]
        cell = self._weights(kind(case.I, case.H), case, p)
        linear = torch.nn.Linear(case.H, 1)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(p.V))
            linear.bias.copy_(torch.from_numpy(p.a))
        x = torch.from_numpy(p.x[0])
        h, c = torch.zeros(1, case.H), torch.zeros(1, case.H)

        def step():
            nonlocal h, c
            with torch.inference_mode():
                h, c = cell(x, (h, c))
                return linear(h).item()

        def gru_step():
            nonlocal h
            with torch.inference_mode():
                h = cell(x, h)
                return linear(h).item()

        return {"lstm": step, "gru": gru_step}[case.cell], lambda y: {"y": y}


class OnnxRuntime:
    name = "ONNX Runtime"

    def __init__(self, threads):
        import onnx
        import onnxruntime

        self.onnx, self.ort, self.threads = onnx, onnxruntime, threads

    def version(self):
        return self.ort.__version__

    def _session(self, case, p, inputs, outputs, nodes):
        helper = self.onnx.helper
        W, R, *biases = reordered(self.name, case, p)
        b = np.concatenate(biases)
        constants = {"W": W[None], "R": R[None], "b": b[None], "V": p.V, "a": p.a}
        tensor = self.onnx.TensorProto.FLOAT

        def info(item):
            return helper.make_tensor_value_info(item[0], tensor, item[1])

        graph = helper.make_graph(
            nodes,
            case.cell,
            [info(i) for i in inputs.items()],
            [info(o) for o in outputs.items()],
            [self.onnx.numpy_helper.from_array(v, k) for k, v in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
        options = self.ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        return self.ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def prepare(self, case, p):
        if case.work == TRAIN or case.dtype != "float32":
            raise UnsupportedError("inference only, float32 only")
        if case.work == STEP:
            return self._prepare_step(case, p)
        B, T, I, H = case.B, case.T, case.I, case.H
        node = self._node(case, ["x", "W", "R", "b"], ["y"])
        session = self._session(case, p, {"x": (T, B, I)}, {"y": (T, 1, B, H)}, [node])
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", self.ort.OrtValue.ortvalue_from_numpy(sequence_first(p.x)))
        y = self.ort.OrtValue.ortvalue_from_shape_and_type((T, 1, B, H), np.float32)
        binding.bind_ortvalue_output("y", y)

        def forward():
            session.run_with_iobinding(binding)

        return forward, lambda _: {"y": y.numpy()[:, 0].swapaxes(0, 1)}

    def _node(self, case, inputs, outputs):
        options = {"lstm": {}, "gru": {"linear_before_reset": 1}}[case.cell]
        return self.onnx.helper.make_node(
            case.cell.upper(), inputs, outputs, hidden_size=case.H, **options
        )

    def _prepare_step(self, case, p):
        H, state, make_node = case.H, (1, 1, case.H), self.onnx.helper.make_node
        names = STATES[case.cell]
        rows = self.onnx.numpy_helper.from_array(np.array([1, H]))
        new = [f"{name}n" for name in names]
        nodes = [
            make_node("Constant", [], ["rows"], value=rows),
            self._node(case, ["x", "W", "R", "b", "", *names], ["", *new]),
            make_node("Reshape", ["hn", "rows"], ["row"]),
            make_node("Gemm", ["row", "V", "a"], ["y"], transB=1),
        ]
        inputs = {"x": (1, 1, case.I)} | dict.fromkeys(names, state)
        outputs = {"y": (1, 1)} | dict.fromkeys(new, state)
        session = self._session(case, p, inputs, outputs, nodes)
        value = self.ort.OrtValue.ortvalue_from_numpy
        x, y = value(p.x), value(np.zeros((1, 1), np.float32))
        states = [[value(np.zeros(state, np.float32)) for _ in names] for _ in range(2)]
        bindings = []
        for source, target in (states, states[::-1]):
            binding = session.io_binding()
            binding.bind_ortvalue_input("x", x)
            binding.bind_ortvalue_output("y", y)
            for name, old, new in zip(names, source, target, strict=True):
                binding.bind_ortvalue_input(name, old)
                binding.bind_ortvalue_output(name + "n", new)
            bindings.append(binding)

        def step():
            session.run_with_iobinding(bindings[0])
            bindings.reverse()
            return float(y.numpy()[0, 0])

        return step, lambda y: {"y": y}


class OpenVino:
    name = "OpenVINO"

    def __init__(self, threads):
        import openvino
        from openvino import opset8

        self.ov, self.op, self.threads = openvino, opset8, threads

    def version(self):
        return self.ov.__version__

    def prepare(self, case, p):
        if case.work == TRAIN or case.dtype != "float32":
            raise UnsupportedError("inference only, float32 is its widest type")
        ov, op = self.ov, self.op
        B, T, I, H = case.B, case.T, case.I, case.H
        x = op.parameter([B, T, I], np.float32)
        lengths = op.constant(np.full(B, T, np.int32))
        W, R, b, bR = reordered(self.name, case, p)
        if case.cell == "gru":  # one bias for z and r, two for n
            b = np.concatenate([b, bR[-H:]])
        weights = [op.constant(v[None]) for v in (W, R, b)]
        states = [op.parameter([B, 1, H], np.float32) for _ in STATES[case.cell]]
        if case.cell == "gru":
            layer = op.gru_sequence(
                x, *states, lengths, *weights, H, "forward", linear_before_reset=True
            )
        else:
            layer = op.lstm_sequence(x, *states, lengths, *weights, H, "forward")
        outputs = [layer.output(k) for k in range(1 + len(states))]
        if case.work == STEP:
            row = op.reshape(layer.output(1), op.constant(np.array([1, H])), False)
            linear = op.add(op.matmul(row, op.constant(p.V), False, True), op.constant(p.a))
            outputs[0] = linear.output(0)
        else:
            outputs = outputs[:1]
        model = ov.Model(outputs, [x, *states], case.cell)
        config = {
            "INFERENCE_NUM_THREADS": self.threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        request = ov.Core().compile_model(model, "CPU", config).create_infer_request()
        inputs = [request.get_input_tensor(k).data for k in range(1 + len(states))]
        inputs[0][...] = p.x
        for array in inputs[1:]:
            array[...] = 0
        result = [request.get_output_tensor(k).data for k in range(len(outputs))]
        if case.work == FORWARD:
            return request.infer, lambda _: {"y": result[0][:, 0]}

        def step():
            request.infer()
            for array, new in zip(inputs[1:], result[1:], strict=True):
                array[...] = new
            return float(result[0][0, 0])

        return step, lambda y: {"y": y}


class Jax:
    """A compiled scan over time; R transposed beforehand, which halves the time of small ones."""

    name = "JAX"
    UNROLLED = (1, 2)  # steps of the scan in training, the faster on the shape; forward always 1

    def __init__(self, threads):
        import jax

        # The hand-over to a thread of its own costs a step more than the step.
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        jax.config.update("jax_enable_x64", True)
        self.jax = jax

    def version(self):
        return self.jax.__version__

    def cell(self, state, a, Rt, bR=None):
        """(h, c), or (h,) of a GRU, which has bR, a step later; a = W x + b."""
        sigmoid, jnp = self.jax.nn.sigmoid, self.jax.numpy
        if bR is None:
            h, c = state
            i, f, g, o = jnp.split(a + h @ Rt, 4, axis=-1)
            c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
            return sigmoid(o) * jnp.tanh(c), c
        (h,) = state
        H = h.shape[-1]
        m = h @ Rt
        r, z = jnp.split(sigmoid(a[..., : 2 * H] + m[..., : 2 * H]), 2, axis=-1)
        n = jnp.tanh(a[..., 2 * H :] + r * (m[..., 2 * H :] + bR))
        return (n + z * (h - n),)

    def layer(self, x, W, R, b, *bR, unroll=1):
        """h (T, B, H) for x (T, B, I)."""
        jax, jnp = self.jax, self.jax.numpy
        Rt = R.T

        def advance(state, a):
            state = self.cell(state, a, Rt, *bR)
            return state, state[0]

        zeros = jnp.zeros((x.shape[1], R.shape[1]), x.dtype)
        start = (zeros,) if bR else (zeros, zeros)
        return jax.lax.scan(advance, start, x @ W.T + b, unroll=unroll)[1]

    def prepare(self, case, p):
        jnp = self.jax.numpy
        if case.work == STEP:
            return self._prepare_step(case, p)
        arrays = [jnp.asarray(v) for v in (sequence_first(p.x), *p.blocks.values())]
        if case.work == FORWARD:
            compiled = self.jax.jit(self.layer)
            return (
                lambda: compiled(*arrays).block_until_ready(),
                lambda y: {"y": np.asarray(y).swapaxes(0, 1)},
            )
        dy = jnp.asarray(sequence_first(p.dy))
        run = fastest([self._train(arrays, dy, unroll) for unroll in self.UNROLLED])

        def read(result):
            y, grads = result
            arrays = {"y": y, **dict(zip(p.gradients, grads, strict=True))}
            arrays = {k: np.asarray(v) for k, v in arrays.items()}
            return arrays | {k: arrays[k].swapaxes(0, 1) for k in ("y", "dx")}

        return run, read

    def _train(self, arrays, dy, unroll):
        jax = self.jax

        @jax.jit
        def train(dy, *arrays):
            y, pullback = jax.vjp(lambda *arrays: self.layer(*arrays, unroll=unroll), *arrays)
            return y, pullback(dy)

        return lambda: jax.block_until_ready(train(dy, *arrays))

    def _prepare_step(self, case, p):
        jnp = self.jax.numpy
        W, R, b, *bR = (jnp.asarray(v) for v in p.blocks.values())
        V, a, x = jnp.asarray(p.V), jnp.asarray(p.a), jnp.asarray(p.x[:, 0])

        @self.jax.jit
        def advance(state, x):
            state = self.cell(state, x @ W.T + b, R.T, *bR)
            return state, state[0] @ V.T + a

        zeros = jnp.zeros((1, case.H), case.dtype)
        state = [(zeros,) if bR else (zeros, zeros)]

        def step():
            state[0], y = advance(state[0], x)
            return float(y[0, 0])

        return step, lambda y: {"y": y}


class LiteRt:
    """A flat buffer with the fused LSTM operator, as a converted Keras layer has it."""

    name = "LiteRT"

    def __init__(self, threads):
        from ai_edge_litert import interpreter, schema_py_generated

        self.interpreter, self.schema, self.threads = interpreter, schema_py_generated, threads

    def version(self):
        from importlib.metadata import version

        return version("ai-edge-litert")

    def _model(self, case, p):
        import flatbuffers

        s, B, T, I, H = self.schema, case.B, case.T, case.I, case.H
        buffers, tensors = [s.BufferT()], []

        def tensor(shape, data=None, variable=False):
            made = s.TensorT(shape=list(shape), name=str(len(tensors)), isVariable=variable)
            made.type = s.TensorType.FLOAT32
            if data is not None:
                made.buffer = len(buffers)
                data = np.ascontiguousarray(data, np.float32)
                buffers.append(s.BufferT(data=data.view(np.uint8).ravel()))
            tensors.append(made)
            return len(tensors) - 1

        def blocks(weights):
            return [tensor(w.shape, w) for w in np.split(weights, 4)]

        x, y = tensor((T, B, I)), tensor((T, B, H))
        inputs = [x, *blocks(p.W), *blocks(p.R), -1, -1, -1, *blocks(p.b), -1, -1]
        inputs += [tensor((B, H), variable=True), tensor((B, H), variable=True), -1, -1, -1, -1]
        options = s.UnidirectionalSequenceLSTMOptionsT(
            fusedActivationFunction=s.ActivationFunctionType.TANH, timeMajor=True
        )
        kinds = s.BuiltinOptions
        operators = [s.OperatorT(0, inputs, [y], kinds.UnidirectionalSequenceLSTMOptions, options)]
        if case.work == STEP:
            output = tensor((1, 1))
            layer = [y, tensor(p.V.shape, p.V), tensor(p.a.shape, p.a)]
            options = s.FullyConnectedOptionsT()
            operators.append(s.OperatorT(1, layer, [output], kinds.FullyConnectedOptions, options))
            y = output
        graph = s.SubGraphT(tensors=tensors, inputs=[x], outputs=[y], operators=operators)
        code = s.BuiltinOperator
        codes = [code.UNIDIRECTIONAL_SEQUENCE_LSTM, code.FULLY_CONNECTED]
        codes = [s.OperatorCodeT(deprecatedBuiltinCode=c, builtinCode=c) for c in codes]
        model = s.ModelT(version=3, operatorCodes=codes, subgraphs=[graph], buffers=buffers)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def prepare(self, case, p):
        if case.work == TRAIN or case.dtype != "float32" or case.cell != "lstm":
            raise UnsupportedError("inference only, float32 only, no operator for a GRU")
        net = self.interpreter.Interpreter(
            model_content=self._model(case, p), num_threads=self.threads
        )
        net.allocate_tensors()
        source = net.get_input_details()[0]["index"]
        target = net.get_output_details()[0]["index"]
        x = sequence_first(p.x)
        net.set_tensor(source, x)
        if case.work == FORWARD:

            def forward():
                net.reset_all_variables()
                net.invoke()

            return forward, lambda _: {"y": net.get_tensor(target).swapaxes(0, 1)}

        def step():
            net.set_tensor(source, x)
            net.invoke()
            return float(net.get_tensor(target)[0, 0])

        return step, lambda y: {"y": y}


class NumPy:
    """The loop that a person writes by hand; in float64 also the reference."""

    name = "NumPy"

    def __init__(self, threads):
        pass  # the BLAS took its number of threads from the environment

    def version(self):
        return np.__version__

    def prepare(self, case, p):
        if case.work == STEP:
            return self._prepare_step(case, p)
        x, dy = sequence_first(p.x), sequence_first(p.dy)
        forward, backward = {
            "lstm": (numpy_forward, numpy_backward),
            "gru": (numpy_gru_forward, numpy_gru_backward),
        }[case.cell]
        if case.work == FORWARD:
            return (
                lambda: forward(x, **p.blocks)[0],
                lambda h: {"y": h[1:].swapaxes(0, 1)},
            )

        def train():
            h, *saved = forward(x, **p.blocks)
            return h[1:], backward(dy, x, p.W, p.R, h, *saved)

        def read(result):
            h, grads = result
            arrays = {"y": h, **dict(zip(p.gradients, grads, strict=True))}
            return arrays | {k: arrays[k].swapaxes(0, 1) for k in ("y", "dx")}

        return train, read

    def _prepare_step(self, case, p):
        if case.cell == "gru":
            return self._prepare_gru_step(case, p)
        H, half = case.H, np.float32(0.5)
        weights, x = np.concatenate([p.W, p.R], axis=1), p.x[0, 0]
        scale = np.repeat([half, half, np.float32(1), half], H)
        shift = np.repeat([half, half, np.float32(0), half], H)
        inputs, c = np.zeros(case.I + H, case.dtype), np.zeros(H, case.dtype)
        h = inputs[case.I :]

        def step():
            inputs[: case.I] = x
            a = weights @ inputs
            a += p.b
            a *= scale
            np.tanh(a, out=a)
            a *= scale
            a += shift
            np.multiply(c, a[H : 2 * H], out=c)
            np.add(c, a[:H] * a[2 * H : 3 * H], out=c)
            np.multiply(a[3 * H :], np.tanh(c), out=h)
            return float(p.V[0] @ h + p.a[0])

        return step, lambda y: {"y": y}

    def _prepare_gru_step(self, case, p):
        H, half = case.H, p.x.dtype.type(0.5)
        h, x = np.zeros(H, case.dtype), p.x[0, 0]
        bias = recurrent_bias(case, p)

        def step():
            a = p.W @ x
            a += p.b
            m = p.R @ h
            m += bias
            gates, n = a[: 2 * H], a[2 * H :]
            gates += m[: 2 * H]
            gates *= half  # logistic(a) = (1 + tanh(a / 2)) / 2
            np.tanh(gates, out=gates)
            gates *= half
            gates += half
            n += gates[:H] * m[2 * H :]
            np.tanh(n, out=n)
            np.subtract(h, n, out=h)
            np.multiply(h, gates[H:], out=h)
            np.add(h, n, out=h)
            return float(p.V[0] @ h + p.a[0])

        return step, lambda y: {"y": y}


def numpy_forward(x, W, R, b):
    """h and c (T + 1, B, H), slot 0 the initial state; gates (T, B, 4H) after their activations."""
    T, B = x.shape[:2]
    H = R.shape[1]
    Rt, half = R.T.copy(), x.dtype.type(0.5)
    scale = np.repeat([half, half, x.dtype.type(1), half], H)  # logistic(a) = (1 + tanh(a / 2)) / 2
    shift = np.repeat([half, half, x.dtype.type(0), half], H)
    gates = x @ W.T
    gates += b
    h, c = (np.zeros((T + 1, B, H), x.dtype) for _ in "hc")
    for t in range(T):
        a = gates[t]
        a += h[t] @ Rt
        a *= scale
        np.tanh(a, out=a)
        a *= scale
        a += shift
        new = c[t + 1]
        np.multiply(a[:, H : 2 * H], c[t], out=new)
        new += a[:, :H] * a[:, 2 * H : 3 * H]
        np.tanh(new, out=h[t + 1])
        h[t + 1] *= a[:, 3 * H :]
    return h, c, gates


def numpy_backward(dy, x, W, R, h, c, gates):
    H = R.shape[1]
    i, f, g, o = (gates[:, :, k * H : (k + 1) * H] for k in range(4))
    squashed = np.tanh(c[1:])
    # Each pre-activation's gradient as a multiple of dc (of dh for the output gate).
    slopes = np.empty_like(gates)
    slopes[:, :, :H] = g * i * (1 - i)
    slopes[:, :, H : 2 * H] = c[:-1] * f * (1 - f)
    slopes[:, :, 2 * H : 3 * H] = i * (1 - g * g)
    slopes[:, :, 3 * H :] = squashed * o * (1 - o)
    state = o * (1 - squashed * squashed)
    da = slopes.reshape(*slopes.shape[:2], 4, H)
    dh, dc = np.zeros_like(h[0]), np.zeros_like(c[0])
    for t in range(len(x) - 1, -1, -1):
        dh += dy[t]
        dc += dh * state[t]
        da[t, :, :3] *= dc[:, None]
        da[t, :, 3] *= dh
        dc *= f[t]
        np.matmul(slopes[t], R, out=dh)
    rows = slopes.reshape(-1, 4 * H)
    dW = rows.T @ x.reshape(len(rows), -1)
    dR = rows.T @ h[:-1].reshape(len(rows), -1)
    return slopes @ W, dW, dR, rows.sum(axis=0)


def numpy_gru_forward(x, W, R, b, bR):
    """h (T + 1, B, H), slot 0 the initial state; gates (T, B, 3H) after their activations; m
    (T, B, H) = R_n h(t-1) + bR."""
    T, B = x.shape[:2]
    H = R.shape[1]
    Rt, half = R.T.copy(), x.dtype.type(0.5)
    gates = x @ W.T
    gates += b
    h, m = np.zeros((T + 1, B, H), x.dtype), np.empty((T, B, H), x.dtype)
    for t in range(T):
        products = h[t] @ Rt
        a, n = gates[t, :, : 2 * H], gates[t, :, 2 * H :]
        a += products[:, : 2 * H]
        a *= half  # logistic(a) = (1 + tanh(a / 2)) / 2
        np.tanh(a, out=a)
        a *= half
        a += half
        np.add(products[:, 2 * H :], bR, out=m[t])
        n += a[:, :H] * m[t]
        np.tanh(n, out=n)
        np.subtract(h[t], n, out=h[t + 1])
        h[t + 1] *= a[:, H:]
        h[t + 1] += n
    return h, gates, m


def numpy_gru_backward(dy, x, W, R, h, gates, m):
    H = R.shape[1]
    r, z, n = (gates[:, :, k * H : (k + 1) * H] for k in range(3))
    # The gradients of n and z as multiples of dh, that of r as a multiple of that of n.
    of_n, of_z, of_r = (1 - z) * (1 - n * n), (h[:-1] - n) * z * (1 - z), m * r * (1 - r)
    da, through = np.empty_like(gates), np.empty_like(gates)  # of W x + b, and of R h
    dh = np.zeros_like(h[0])
    for t in range(len(x) - 1, -1, -1):
        dh += dy[t]
        d_r, d_z, d_n = (da[t, :, k * H : (k + 1) * H] for k in range(3))
        np.multiply(of_n[t], dh, out=d_n)
        np.multiply(of_z[t], dh, out=d_z)
        np.multiply(of_r[t], d_n, out=d_r)
        through[t, :, : 2 * H] = da[t, :, : 2 * H]
        np.multiply(d_n, r[t], out=through[t, :, 2 * H :])
        dh *= z[t]
        dh += through[t] @ R
    rows, inner = da.reshape(-1, 3 * H), through.reshape(-1, 3 * H)
    dW = rows.T @ x.reshape(len(rows), -1)
    dR = inner.T @ h[:-1].reshape(len(rows), -1)
    return da @ W, dW, dR, rows.sum(axis=0), inner[:, 2 * H :].sum(axis=0)


PEERS = (Torch, OnnxRuntime, OpenVino, Jax, LiteRt, NumPy)
