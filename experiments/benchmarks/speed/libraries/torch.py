"""PyTorch: `nn.Embedding`, `nn.LSTM`, `nn.Linear`, fused Adam, `inference_mode`."""

import os
from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.benchmarks.speed.shapes import (
    GENERATED,
    LEARNING_RATE,
    Array,
    Layer,
    Program,
    Shape,
    draw_ids,
    draw_inputs,
    draw_prompt,
    draw_weights,
)
from lstm_jax.interop import TORCH, Direction, Style

States = tuple[Tensor, Tensor]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# Between two looks at the clock: nobody waits for each step of a GPU.
STEPS = 8 if DEVICE.type == "cuda" else 1
torch.set_num_threads(len(os.sched_getaffinity(0)))


class Network(nn.Module):
    """Embedding, layers, dense; time first."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed = nn.Embedding(shape.vocab, shape.hidden)
        self.lstm = nn.LSTM(shape.hidden, shape.hidden, shape.layers)
        self.head = nn.Linear(shape.hidden, shape.vocab)
        weights = draw_weights(shape)
        with torch.no_grad():
            self.embed.weight.copy_(torch.from_numpy(weights.embedding))
            self.head.weight.copy_(torch.from_numpy(weights.w_out.T))
            self.head.bias.copy_(torch.from_numpy(weights.b_out))
        for depth, layer in enumerate(weights.layers):
            set_layer(self.lstm, depth, layer)
        self.to(DEVICE)

    def forward(
        self, ids: Tensor, states: States | None = None
    ) -> tuple[Tensor, States]:
        """Logits [T, B, V] and the last states."""
        hs, states = self.lstm(self.embed(ids), states)
        return self.head(hs), states


def about() -> dict[str, Any]:
    """Versions, threads, device."""
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "cpu"
    return {
        "torch": torch.__version__,
        "device": name,
        "threads": torch.get_num_threads(),
    }


def set_layer(lstm: nn.LSTM, depth: int, layer: Layer) -> None:
    """Our layer as PyTorch has it: transposed, and the bias in two parts."""
    arrays = TORCH.outward(Style(), Direction(*layer))
    with torch.no_grad():
        for name, array in arrays.items():
            getattr(lstm, f"{name}_l{depth}").copy_(torch.from_numpy(array))


def wait() -> None:
    """Until the device has nothing left to do."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def allow_tf32(allowed: bool) -> None:
    """Round the factors of float32 products on a GPU, or do not."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed


def train(
    shape: Shape, tf32: bool = False, autocast: bool = False, graph: bool = False
) -> Program:
    """Adam steps; `autocast` multiplies in bfloat16, `graph` replays a CUDA graph."""
    allow_tf32(tf32)
    network = Network(shape)
    optimizer = torch.optim.Adam(
        network.parameters(), lr=LEARNING_RATE, fused=True, capturable=graph
    )
    inputs, targets = (
        torch.from_numpy(ids.astype(np.int64)).to(DEVICE) for ids in draw_ids(shape)
    )
    batches = cycle(list(zip(inputs, targets, strict=True)))

    def loss(network: Network, inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=autocast):
            logits, _ = network(inputs)
        logits = logits.float().flatten(0, 1)
        return nn.functional.cross_entropy(logits, targets.flatten())

    def step(inputs: Tensor, targets: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(network, inputs, targets).backward()
        optimizer.step()

    taken = captured(step, *next(batches)) if graph else step

    def run() -> None:
        allow_tf32(tf32)
        for _ in range(STEPS):
            taken(*next(batches))
        wait()

    def proof() -> dict[str, Array]:
        fresh = Network(shape)
        nats = loss(fresh, inputs[0], targets[0])
        nats.backward()
        found = {"loss": nats, "w_out": fresh.head.weight.grad.T}
        for depth in range(shape.layers):
            found[f"w_h{depth}"] = getattr(fresh.lstm, f"weight_hh_l{depth}").grad.T
        return {name: to_numpy(tensor) for name, tensor in found.items()}

    return Program(run, STEPS, proof)


def captured(
    step: Callable[[Tensor, Tensor], None], inputs: Tensor, targets: Tensor
) -> Callable[[Tensor, Tensor], None]:
    """A step as one CUDA graph, the way PyTorch's notes on CUDA graphs capture one."""
    inputs, targets = inputs.clone(), targets.clone()
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            step(inputs, targets)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(inputs, targets)

    def replay(new_inputs: Tensor, new_targets: Tensor) -> None:
        inputs.copy_(new_inputs)
        targets.copy_(new_targets)
        graph.replay()

    return replay


def evaluate(shape: Shape, autocast: bool = False) -> Program:
    """The loss of a batch."""
    network = Network(shape)
    inputs, targets = (
        torch.from_numpy(ids[0].astype(np.int64)).to(DEVICE) for ids in draw_ids(shape)
    )

    @torch.inference_mode()
    def run() -> float:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=autocast):
            logits, _ = network(inputs)
        flat = logits.float().flatten(0, 1), targets.flatten()
        return float(nn.functional.cross_entropy(*flat))

    return Program(run, 1, lambda: {"loss": np.asarray(run())})


def layer(
    shape: Shape,
    dtype: str = "float32",
    tf32: bool = False,
    gradient: bool = True,
    autocast: bool = False,
) -> Program:
    """Outputs, and the gradients of weights and inputs."""
    kind = getattr(torch, dtype)
    lstm = nn.LSTM(shape.hidden, shape.hidden)
    set_layer(lstm, 0, draw_weights(shape).layers[0])
    lstm.to(DEVICE, kind)
    xs, dys = (torch.from_numpy(a).to(DEVICE, kind) for a in draw_inputs(shape))
    xs.requires_grad_()

    @torch.inference_mode()
    def forward() -> Tensor:
        allow_tf32(tf32)
        found = [lstm(xs)[0] for _ in range(STEPS)]
        wait()
        return found[-1]

    def both() -> Tensor:
        allow_tf32(tf32)
        ys = xs
        for _ in range(STEPS):
            xs.grad = None
            lstm.zero_grad(set_to_none=True)
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=autocast):
                ys, _ = lstm(xs)
            ys.backward(dys.to(ys.dtype))
        wait()
        return ys

    def proof() -> dict[str, Array]:
        found = {
            "ys": both(),
            "dxs": xs.grad,
            "w_x": lstm.weight_ih_l0.grad.T,
            "w_h": lstm.weight_hh_l0.grad.T,
            "b": lstm.bias_ih_l0.grad,
        }
        return {name: to_numpy(tensor) for name, tensor in found.items()}

    return Program(both if gradient else forward, STEPS, proof)


def copy(shape: Shape) -> Program:
    """A ceiling: an array read and written once. A unit is 1e9 bytes."""
    array = square(shape, torch.float32)
    out = torch.empty_like(array)
    return repeated(lambda: torch.add(array, 1, out=out), 2 * array.nbytes / 1e9)


def product(shape: Shape, dtype: str = "float32", tf32: bool = False) -> Program:
    """A ceiling: a square product. A unit is 1e9 operations."""
    array = square(shape, getattr(torch, dtype))

    def call() -> None:
        allow_tf32(tf32)
        torch.mm(array, array)

    return repeated(call, 2 * shape.hidden**3 / 1e9)


def square(shape: Shape, dtype: torch.dtype) -> Tensor:
    """Random numbers: zeros are multiplied faster."""
    return torch.randn(shape.hidden, shape.hidden, device=DEVICE).to(dtype)


def repeated(call: Callable[[], object], units: float) -> Program:
    """Calls at a stretch: starting one is no part of it."""

    def run() -> None:
        for _ in range(STEPS):
            call()
        wait()

    return Program(run, STEPS * units, dict)


def generate(shape: Shape) -> Program:
    """The prompt is read once and its state repeated; the likeliest symbol follows."""
    network = Network(shape)
    prompt = torch.from_numpy(draw_prompt(shape).astype(np.int64)).to(DEVICE)[:, None]

    @torch.inference_mode()
    def run() -> Array:
        logits, states = network(prompt)
        ids = logits[-1:].argmax(-1).repeat(1, shape.batch)
        states = tuple(state.repeat(1, shape.batch, 1) for state in states)
        made = [ids]
        for _ in range(GENERATED - 1):
            logits, states = network(ids, states)
            ids = logits.argmax(-1)
            made.append(ids)
        return torch.cat(made).cpu().numpy()

    return Program(run, GENERATED, lambda: {"ids": run()})


def to_numpy(tensor: Tensor) -> Array:
    """A copy outside PyTorch."""
    return tensor.detach().float().cpu().numpy()
