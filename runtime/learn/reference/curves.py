"""Records the losses of 20 training steps in PyTorch, for three networks.

    python3 curves.py > ../src/task/trainer/training/curves.json

The tensors, samples and classes come from `hashed.py` by their names: `sample 0` is the first batch. A mask is where the
first channel of its sample is above 0. Five batches are taken in turn. A loss is the loss of a batch before its step. The
learning rates are so small that f32 and f64 agree: with 0.02, the losses of the residual network in f32 differ from those
in f64 by 0.06. Needs torch and numpy.
"""

import json

import torch
from torch import nn
from torch.nn import functional

from hashed import integers, values
from unet import UNet, fill

ROWS = 8
BATCHES = 5
STEPS = 20


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.fc1 = nn.Linear(16 * 3 * 3, 20)
        self.fc2 = nn.Linear(20, 4)

    def forward(self, x):
        for layer in (self.conv1, self.conv2):
            x = functional.max_pool2d(functional.relu(layer(x)), 2)
        return self.fc2(functional.relu(self.fc1(x.flatten(1))))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class Residual(nn.Module):
    """ResNet-18 with an eighth of the channels."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        for stage in range(4):
            inputs, outputs, stride = 8 << max(stage - 1, 0), 8 << stage, 1 if stage == 0 else 2
            setattr(self, f"layer{stage + 1}", nn.Sequential(Block(inputs, outputs, stride), Block(outputs, outputs, 1)))
        self.fc = nn.Linear(64, 4)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def dice(output, mask):
    both, all_ = (output * mask).flatten(1).sum(1), (output + mask).flatten(1).sum(1)
    return 1 - (2 * (both + 1) / (all_ + 1)).mean()


RESIDUAL = """
blocks:
  main:
  - {conv2d: {name: conv1, out: $out, kernel: 3, stride: $stride, padding: 1, bias: false}}
  - {batch_norm: {name: bn1}}
  - relu
  - {conv2d: {name: conv2, out: $out, kernel: 3, padding: 1, bias: false}}
  - {batch_norm: {name: bn2}}
  same: [{block: main, out: $out, stride: 1, as: y}, {add: , from: [y, in]}, relu]
  halved:
  - {block: main, out: $out, stride: 2, as: y}
  - {conv2d: {name: downsample.0, out: $out, kernel: 1, stride: 2, bias: false}, from: in}
  - {batch_norm: {name: downsample.1}, as: z}
  - {add: , from: [y, z]}
  - relu
layers:
- {conv2d: {name: conv1, out: 8, kernel: 7, stride: 2, padding: 3, bias: false}}
- {batch_norm: {name: bn1}}
- relu
- {max_pool: {kernel: 3, stride: 2, padding: 1}}
- {block: same, name: layer1, out: 8, repeat: 2}
- {block: halved, name: layer2.0, out: 16}
- {block: same, name: layer2.1, out: 16}
- {block: halved, name: layer3.0, out: 32}
- {block: same, name: layer3.1, out: 32}
- {block: halved, name: layer4.0, out: 64}
- {block: same, name: layer4.1, out: 64}
- adaptive_avg_pool
- flatten
- {linear: {name: fc, out: 4}}
"""
CASES = {
    "cnn": ("network: cnn\nchannels: [8, 16]\nhidden: [20]\noutputs: 4", Convolutional(), [1, 12, 12], 0.02),
    "resnet": (RESIDUAL, Residual(), [3, 64, 64], 0.0002),
    "unet": ("network: unet\nbase: 4\ndepth: 3", UNet(4, 3), [3, 36, 28], 0.001),
}


def curve(network, shape, rate):
    with torch.no_grad():
        fill(network)
    network.train()
    if isinstance(network, UNet):
        steps = torch.optim.Adam(network.parameters(), lr=rate)
    else:
        steps = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
    losses = []
    for step in range(STEPS):
        number = step % BATCHES
        x = torch.from_numpy(values(f"sample {number}", [ROWS, *shape]))
        if isinstance(network, UNet):
            loss = dice(network(x), (x[:, :1] > 0).float())
        else:
            labels = torch.from_numpy(integers(f"class {number}", ROWS) % 4)
            loss = functional.cross_entropy(network(x), labels)
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(round(loss.item(), 7))
    return losses


if __name__ == "__main__":
    torch.set_num_threads(1)
    cases = {}
    for name, (model, network, shape, rate) in CASES.items():
        model = f"input: {shape}\n{model.strip()}\n"
        cases[name] = {"model": model, "learning_rate": rate, "losses": curve(network, shape, rate)}
    print(json.dumps({"torch": torch.__version__, "rows": ROWS, "batches": BATCHES, "cases": cases}, separators=(",", ":")))
