"""PyTorch on a network of `training`: the layers, the data and the first parameters are those of the bench.

The job on standard input holds `model` (input, layers, from), `files` (features, labels and parameters, as f32),
`rows`, `loss`, `learning_rate`, `momentum`, `threads`, `steps`, `repetitions` and `channels_last`. The answer, one JSON
line, holds the median and the least wall time of a step, its processor time, the peak memory and the mean loss.
"""

import json
import os
import statistics
import sys
import time

JOB = json.load(sys.stdin)
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(JOB["threads"])

try:
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError as error:
    print(json.dumps({"system": "PyTorch", "skipped": f"not installed: {error}"}))
    sys.exit(0)


def pair(value):
    value = value if isinstance(value, list) else [value]
    return tuple(value * 2 if len(value) == 1 else value)


class Network(nn.Module):
    """The graph of a plan's model."""

    def __init__(self, model):
        super().__init__()
        self.layers, self.from_ = [], model.get("from") or []
        self.modules_ = nn.ModuleList()
        sample = torch.zeros(2, *model["input"])
        places = [sample]
        for index, entry in enumerate(model["layers"]):
            word, settings = next(iter(entry.items())) if isinstance(entry, dict) else (entry, {})
            settings = settings or {}
            self.layers.append((word, settings, self.module(word, settings, self.inputs(places, index)[0])))
            places.append(self.apply_(index, places))

    def inputs(self, places, index):
        return [places[place] for place in (self.from_[index] if self.from_ else [index])]

    def module(self, word, settings, x):
        made = None
        if word == "linear":
            made = nn.Linear(x.shape[-1], settings["out"], bias=settings["bias"])
        elif word in ("conv2d", "conv_transpose2d"):
            kind = nn.Conv2d if word == "conv2d" else nn.ConvTranspose2d
            made = kind(x.shape[1], settings["out"], pair(settings["kernel"]), pair(settings["stride"]),
                        pair(settings["padding"])[:2], bias=settings["bias"])
        elif word == "batch_norm":
            kind = nn.BatchNorm2d if x.dim() == 4 else nn.BatchNorm1d
            made = kind(x.shape[1], eps=settings["eps"], momentum=settings["momentum"])
        if made is not None:
            self.modules_.append(made)
        return made

    def apply_(self, index, places):
        word, settings, module = self.layers[index]
        inputs = self.inputs(places, index)
        x = inputs[0]
        if module is not None:
            return module(x)
        if word == "relu":
            return F.relu(x)
        if word == "sigmoid":
            return torch.sigmoid(x)
        if word == "flatten":
            return torch.flatten(x, 1)
        if word == "max_pool":
            stride = pair(settings["stride"]) if settings.get("stride") else None
            return F.max_pool2d(x, pair(settings["kernel"]), stride, pair(settings["padding"]))
        if word == "adaptive_avg_pool":
            return F.adaptive_avg_pool2d(x, pair(settings["size"]))
        if word == "add":
            return sum(inputs[1:], x)
        if word == "concat":
            return torch.cat(inputs, 1 + settings["axis"])
        if word == "pad_to":
            down, across = (inputs[1].shape[n] - x.shape[n] for n in (2, 3))
            return F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        raise SystemExit(f"a layer that this script lacks: {word}")

    def forward(self, sample):
        places = [sample]
        for index in range(len(self.layers)):
            places.append(self.apply_(index, places))
        return places[-1]

    def load(self, values):
        """The parameters in the order of the layers."""
        at = 0
        with torch.no_grad():
            for _, _, module in self.layers:
                names = ["weight", "bias", "running_mean", "running_var"]
                for name in names if module is not None else []:
                    tensor = getattr(module, name, None)
                    if tensor is not None:
                        tensor.copy_(torch.from_numpy(values[at : at + tensor.numel()]).reshape(tensor.shape))
                        at += tensor.numel()
        assert at == len(values), (at, len(values))


def loss_of(name):
    if name == "cross_entropy":
        return lambda output, labels: F.cross_entropy(output, labels.long().flatten())
    return lambda output, labels: F.binary_cross_entropy_with_logits(output.flatten(1), labels.flatten(1))


def main():
    torch.set_num_threads(JOB["threads"])
    torch.set_num_interop_threads(1)
    read = {name: np.fromfile(path, np.float32) for name, path in JOB["files"].items()}
    network = Network(JOB["model"])
    features = torch.from_numpy(read["features"]).reshape(JOB["rows"], *JOB["model"]["input"])
    labels = torch.from_numpy(read["labels"]).reshape(JOB["rows"], -1)
    if JOB["channels_last"] and features.dim() == 4:
        network, features = network.to(memory_format=torch.channels_last), features.contiguous(
            memory_format=torch.channels_last
        )
    loss_function, walls, processor, losses = loss_of(JOB["loss"]), [], [], []
    for repetition in range(JOB["repetitions"] + 1):
        network.load(read["parameters"])
        optimiser = torch.optim.SGD(network.parameters(), JOB["learning_rate"], JOB["momentum"])
        losses, began, cpu = [], time.perf_counter(), time.process_time()
        for _ in range(JOB["steps"]):
            optimiser.zero_grad()
            loss = loss_function(network(features), labels)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        if repetition > 0:
            walls.append((time.perf_counter() - began) / JOB["steps"])
            processor.append((time.process_time() - cpu) / JOB["steps"])
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(json.dumps({
        "system": f"PyTorch {torch.__version__}", "wall_s": statistics.median(walls), "least_s": min(walls),
        "cpu_s": statistics.median(processor), "peak_bytes": int(peak.split()[1]) * 1024,
        "loss": statistics.fmean(losses),
    }))


main()
