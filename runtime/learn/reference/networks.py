"""Exports small networks of PyTorch as ONNX, and records what PyTorch computes with them.

    python3 networks.py export FOLDER [NAME...]    one file NAME.EXPORTER.onnx for each network and exporter
    python3 networks.py refused FOLDER             files that are refused
    python3 networks.py values > ../src/task/trainer/training/networks.json

The files in `host-tools/src/onnx/networks` are made by the first command, with two versions of PyTorch: a name that ends in
`.old` is of Debian's PyTorch 1.13. Weights and inputs come from `hashed.py`. Needs torch and numpy; `dynamo` needs onnx and
onnxscript, too.
"""

import contextlib
import io
import json
import math
import pathlib
import sys
import warnings

import torch
from torch import nn
from torch.nn import functional

from hashed import integers, scale, values


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(10, 24)
        self.norm = nn.BatchNorm1d(24)
        self.fc2 = nn.Linear(24, 16, bias=False)
        self.layer_norm = nn.LayerNorm(16)
        self.drop = nn.Dropout(0.3)
        self.fc3 = nn.Linear(16, 4)

    def forward(self, x):
        x = functional.gelu(self.norm(self.fc1(x)))
        x = self.drop(torch.tanh(self.layer_norm(self.fc2(x))))
        return functional.log_softmax(self.fc3(x), dim=-1)


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 5, padding=2)
        self.conv2 = nn.Conv2d(4, 8, 5)
        self.fc1 = nn.Linear(8 * 3 * 4, 24)
        self.fc2 = nn.Linear(24, 5)

    def forward(self, x):
        x = functional.avg_pool2d(torch.sigmoid(self.conv1(x)), 2)
        x = functional.avg_pool2d(torch.sigmoid(self.conv2(x)), 2)
        x = x.view(x.size(0), -1)
        return self.fc2(torch.sigmoid(self.fc1(x)))


class Vgg(nn.Module):
    def __init__(self):
        super().__init__()
        layers, inputs = [], 3
        for out in (6, "pool", 12, 12, "pool"):
            if out == "pool":
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(inputs, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
                inputs = out
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(nn.Linear(48, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 3))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class Basic(nn.Module):
    def __init__(self, inputs, out, stride, norm):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, out, 3, stride, 1, bias=False)
        self.bn1 = norm(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = norm(out)
        self.downsample = None
        if stride != 1 or inputs != out:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, out, 1, stride, bias=False), norm(out))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class ResNet(nn.Module):
    """ResNet-18 with fewer channels."""

    def __init__(self, width=3, norm=nn.BatchNorm2d, blocks=(2, 2, 2, 2)):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = norm(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = width
        for number, count in enumerate(blocks):
            out, layers = width << number, []
            for block in range(count):
                layers.append(Basic(inputs, out, 2 if number and not block else 1, norm))
                inputs = out
            setattr(self, f"layer{number + 1}", nn.Sequential(*layers))
        self.stages = len(blocks)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inputs, 5)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(self.stages):
            x = getattr(self, f"layer{number + 1}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


class ResNeXt(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv1 = nn.Conv2d(8, 8, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, 2, 1, groups=4, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.conv3 = nn.Conv2d(8, 16, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(16)
        self.downsample = nn.Sequential(nn.Conv2d(8, 16, 1, 2, bias=False), nn.BatchNorm2d(16))
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        x = self.stem(x)
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(functional.relu(self.bn2(self.conv2(y)))))
        x = functional.relu(y + self.downsample(x))
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class MobileNetV2(nn.Module):
    def __init__(self, channels=6, hidden=18):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU6())
        self.block = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels, 4))

    def forward(self, x):
        x = self.stem(x)
        x = x + self.block(x)
        return self.classifier(functional.adaptive_avg_pool2d(x, (1, 1)).reshape(x.shape[0], -1))


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, channels // 4, 1)
        self.fc2 = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x):
        return functional.hardsigmoid(self.fc2(functional.relu(self.fc1(self.avgpool(x))))) * x


class MobileNetV3(nn.Module):
    def __init__(self, channels=8):
        super().__init__()
        norm = {"eps": 0.001, "momentum": 0.01}
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels, **norm), nn.Hardswish(inplace=True)
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(channels, channels, 5, 1, 2, groups=channels, bias=False),
            nn.BatchNorm2d(channels, **norm),
            nn.Hardswish(),
        )
        self.se = SqueezeExcite(channels)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)
        self.classifier = nn.Sequential(nn.Linear(channels, 16), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(16, 4))

    def forward(self, x):
        x = self.stem(x)
        x = x + self.project(self.se(self.depthwise(x)))
        return self.classifier(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


class EfficientNet(nn.Module):
    def __init__(self, channels=8):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.SiLU()
        self.reduce = nn.Conv2d(channels, 2, 1)
        self.expand = nn.Conv2d(2, channels, 1)
        self.fc = nn.Linear(channels, 3)

    def forward(self, x):
        x = self.act(self.bn(self.conv(x)))
        gate = self.act(self.reduce(x.mean((2, 3), keepdim=True)))
        x = x * torch.sigmoid(self.expand(gate))
        return self.fc(x.mean([2, 3]))


class DenseNet(nn.Module):
    def __init__(self, channels=6, growth=4):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        for number in range(3):
            width = channels + number * growth
            setattr(self, f"norm{number}", nn.BatchNorm2d(width))
            setattr(self, f"conv{number}", nn.Conv2d(width, growth, 3, padding=1, bias=False))
        width = channels + 3 * growth
        self.transition = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 8, 1, bias=False), nn.AvgPool2d(2, 2)
        )
        self.classifier = nn.Linear(8, 3)

    def forward(self, x):
        features = [self.stem(x)]
        for number in range(3):
            y = functional.relu(getattr(self, f"norm{number}")(torch.cat(features, 1)))
            features.append(getattr(self, f"conv{number}")(y))
        x = functional.relu(self.transition(torch.cat(features, 1)))
        return self.classifier(torch.flatten(functional.adaptive_avg_pool2d(x, (1, 1)), 1))


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 4, 1)
        self.two = nn.Sequential(nn.Conv2d(3, 4, (1, 7), padding=(0, 3)), nn.Conv2d(4, 4, (7, 1), padding=(3, 0)))
        self.three = nn.Conv2d(3, 4, 1)
        self.fc = nn.Linear(12, 3)

    def forward(self, x):
        pooled = functional.avg_pool2d(x, 3, 1, 1)
        x = torch.cat([self.one(x), self.two(x), self.three(pooled)], 1)
        x = functional.max_pool2d(functional.relu(x), 3, 2, ceil_mode=True)
        return self.fc(x.mean([2, 3]))


def double(inputs, outputs):
    layers = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Up(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.conv = double(inputs, outputs)

    def forward(self, x, skip):
        x = self.up(x)
        down, across = skip.size()[2] - x.size()[2], skip.size()[3] - x.size()[3]
        x = functional.pad(x, [across // 2, across - across // 2, down // 2, down - down // 2])
        return self.conv(torch.cat([skip, x], dim=1))


class UNet(nn.Module):
    """Sides that two halvings do not divide, so that the skips need padding."""

    def __init__(self, base=4):
        super().__init__()
        self.inc = double(3, base)
        self.down1 = nn.Sequential(nn.MaxPool2d(2), double(base, 2 * base))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), double(2 * base, 4 * base))
        self.up1 = Up(4 * base, 2 * base)
        self.up2 = Up(2 * base, base)
        self.outc = nn.Conv2d(base, 1, 1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x = self.up2(self.up1(self.down2(x2), x2), x1)
        return torch.sigmoid(self.outc(x))


class BilinearUNet(nn.Module):
    def __init__(self, corners):
        super().__init__()
        self.inc = double(3, 4)
        self.down = double(4, 6)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=corners)
        self.decode = double(10, 4)
        self.outc = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        skip = self.inc(x)
        x = self.up(self.down(functional.max_pool2d(skip, 2)))
        return self.outc(self.decode(torch.cat([skip, x], 1)))


class AttentionUNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.inc = double(3, 4)
        self.down = double(4, 8)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.gate = nn.Conv2d(4, 4, 1)
        self.skip = nn.Conv2d(4, 4, 1)
        self.psi = nn.Conv2d(4, 1, 1)
        self.decode = double(8, 4)
        self.outc = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        skip = self.inc(x)
        x = self.up(self.down(functional.max_pool2d(skip, 2)))
        weight = torch.sigmoid(self.psi(functional.relu(self.gate(x) + self.skip(skip))))
        return self.outc(self.decode(torch.cat([skip * weight, x], 1)))


class Pyramid(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 6, 3, 2, 1)
        self.two = nn.Conv2d(6, 6, 3, 2, 1)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        fine = functional.leaky_relu(self.one(x), 0.1)
        coarse = functional.leaky_relu(self.two(fine))
        y = fine + functional.interpolate(coarse, size=fine.shape[2:], mode="nearest")
        return functional.interpolate(self.head(y), size=x.shape[-2:], mode="bilinear", align_corners=False)


class Dilated(nn.Module):
    """Dilated convolutions side by side, and the mean of the picture beside them."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 4, 1)
        self.two = nn.Conv2d(3, 4, 3, padding=2, dilation=2)
        self.three = nn.Conv2d(3, 4, (1, 5), padding=(0, 2))
        self.pool = nn.Conv2d(3, 4, 1)
        self.out = nn.Conv2d(16, 2, 1)

    def forward(self, x):
        mean = self.pool(functional.adaptive_avg_pool2d(x, 1))
        mean = functional.interpolate(mean, size=x.shape[2:], mode="bilinear", align_corners=False)
        return self.out(torch.cat([self.one(x), self.two(x), self.three(x), mean], 1))


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3, stride=2, padding=1), nn.ELU()
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1),
            nn.ELU(0.5),
            nn.ConvTranspose2d(6, 1, 3, 2, 1, output_padding=1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(3, 8, 5, padding=2),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(8, 12, 3, stride=2),
            nn.LeakyReLU(0.02),
            nn.AvgPool1d(2),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(12, 4),
        )

    def forward(self, x):
        return self.net(x)


class Temporal(nn.Module):
    """Causal convolutions: what the padding adds at the end is cut off."""

    def __init__(self, channels=6):
        super().__init__()
        self.inp = nn.Conv1d(3, channels, 1)
        self.convs = nn.ModuleList(nn.Conv1d(channels, channels, 3, padding=2 * d, dilation=d) for d in (1, 2, 4))
        self.drop = nn.Dropout(0.1)
        self.fc = nn.Linear(channels, 2)

    def forward(self, x):
        x = self.inp(x)
        for conv in self.convs:
            x = functional.relu(x + self.drop(functional.relu(conv(x)[:, :, : -conv.padding[0]])))
        return self.fc(x[:, :, -1])


class SqueezeByView(nn.Module):
    """Squeeze and excite with linear layers, as many MobileNets have it."""

    def __init__(self, channels=8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU6())
        self.squeeze = nn.Sequential(nn.Linear(channels, 4), nn.ReLU(), nn.Linear(4, channels), nn.Hardsigmoid())
        self.fc = nn.Linear(channels, 3)

    def forward(self, x):
        x = self.stem(x)
        rows, channels = x.shape[:2]
        gate = self.squeeze(functional.adaptive_avg_pool2d(x, 1).view(rows, channels)).view(rows, channels, 1, 1)
        return self.fc((x * gate).mean((2, 3)))


class OwnAttention(nn.Module):
    """The attention that most vision transformers write themselves."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        rows, length, width = x.shape
        qkv = self.qkv(x).reshape(rows, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        shares = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return self.proj((shares @ v).transpose(1, 2).reshape(rows, length, width))


class VitBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width)
        self.attn = OwnAttention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * width, width))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    def __init__(self, width=12, depth=2):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 7, width))
        self.blocks = nn.Sequential(*(VitBlock(width, 3) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class Encoder(nn.Module):
    """A transformer's encoder over a sequence, with a linear layer each for queries, keys and values."""

    def __init__(self, width=8, heads=2):
        super().__init__()
        self.heads = heads
        self.embed = nn.Linear(5, width)
        self.pos = nn.Parameter(torch.zeros(9, width))
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, width))
        self.fc = nn.Linear(width, 3)

    def forward(self, x):
        x = self.embed(x) + self.pos
        rows, length, width = x.shape
        split = lambda y: y.view(rows, length, self.heads, width // self.heads).transpose(1, 2)
        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        shares = torch.softmax(q @ k.transpose(2, 3) / (width // self.heads) ** 0.5, -1)
        x = self.norm1(x + self.out((shares @ v).transpose(1, 2).reshape(rows, length, width)))
        return self.fc(self.norm2(x + self.feed(x)).mean(1))


class ConvNext(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 2, 2)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand, self.reduce = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.gamma = nn.Parameter(torch.ones(width))
        self.fc = nn.Linear(width, 3)

    def forward(self, x):
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.reduce(functional.gelu(self.expand(y)))
        x = x + y.permute(0, 3, 1, 2)
        return self.fc(x.mean([-2, -1]))


class Mixer(nn.Module):
    def __init__(self, width=6, length=9):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(length, 10), nn.GELU(), nn.Linear(10, length))
        self.channels = nn.Sequential(nn.Linear(width, 12), nn.GELU(approximate="tanh"), nn.Linear(12, width))
        self.fc = nn.Linear(width, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return self.fc((x + self.channels(self.norm2(x))).mean(dim=1))


class Shuffle(nn.Module):
    """Channels that are mixed between two grouped convolutions."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, 2, 1)
        self.two = nn.Conv2d(8, 8, 1, groups=2)
        self.three = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        x = self.two(functional.relu(self.one(x)))
        rows, channels, height, width = x.shape
        x = x.view(rows, 2, channels // 2, height, width).transpose(1, 2).reshape(rows, channels, height, width)
        left, right = x.chunk(2, dim=1)
        x = torch.cat([left, functional.relu(self.three(right))], 1)
        return self.fc(x.amax((2, 3)))


class Gated(nn.Module):
    """Causal convolutions whose second half is a gate, and every other value of the sequence."""

    def __init__(self, channels=5):
        super().__init__()
        self.inp = nn.Conv1d(3, channels, 1)
        self.convs = nn.ModuleList(nn.Conv1d(channels, 2 * channels, 2, padding=d, dilation=d) for d in (1, 2))
        self.out = nn.Conv1d(channels, 2, 1)

    def forward(self, x):
        x = self.inp(x)
        for conv in self.convs:
            value, gate = conv(x)[:, :, : x.shape[2]].chunk(2, 1)
            x = x + torch.tanh(value) * torch.sigmoid(gate) * 0.5
        return self.out(x)[:, :, 1::2]


class Waves(nn.Module):
    """An autoencoder of sequences."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv1d(2, 6, 4, 2, 1), nn.PReLU(), nn.Conv1d(6, 4, 3, 2, 1), nn.PReLU(4))
        self.decoder = nn.Sequential(
            nn.ConvTranspose1d(4, 6, 3, 2, 1, output_padding=1), nn.ELU(), nn.ConvTranspose1d(6, 2, 4, 2, 1, bias=False)
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Style(nn.Module):
    """Instance normalisation without weights, as networks that transfer styles have it."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 3, 3, padding=1)
        self.norm, self.act = nn.InstanceNorm2d(5), nn.PReLU(5)

    def forward(self, x):
        return torch.tanh(self.two(self.act(self.norm(self.one(x))))) * 0.5


class Text(nn.Module):
    """Words as numbers."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 6)
        self.conv = nn.Conv1d(6, 8, 3, padding=1)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        x = functional.relu(self.conv(self.embed(x).transpose(1, 2)))
        return self.fc(x.mean(2))


def group_norm_resnet():
    return ResNet(4, lambda channels: nn.GroupNorm(2, channels), (1, 1))


# Each with its input's shape, the batch left out.
NETWORKS = {
    "mlp": (Mlp, [10]),
    "lenet": (LeNet, [1, 22, 26]),
    "vgg": (Vgg, [3, 16, 16]),
    "resnet18": (ResNet, [3, 40, 40]),
    "group_norm": (group_norm_resnet, [3, 24, 24]),
    "resnext": (ResNeXt, [3, 10, 10]),
    "mobilenet_v2": (MobileNetV2, [3, 16, 16]),
    "mobilenet_v3": (MobileNetV3, [3, 16, 16]),
    "efficientnet": (EfficientNet, [3, 12, 12]),
    "densenet": (DenseNet, [3, 12, 12]),
    "inception": (Inception, [3, 14, 14]),
    "unet": (UNet, [3, 22, 26]),
    "unet_corners": (lambda: BilinearUNet(True), [3, 12, 16]),
    "unet_bilinear": (lambda: BilinearUNet(False), [3, 12, 16]),
    "attention_unet": (AttentionUNet, [3, 12, 16]),
    "pyramid": (Pyramid, [3, 16, 20]),
    "dilated": (Dilated, [3, 10, 12]),
    "autoencoder": (Autoencoder, [1, 16, 16]),
    "sequence": (Sequence, [3, 40]),
    "temporal": (Temporal, [3, 20]),
    "squeeze": (SqueezeByView, [3, 12, 12]),
    "vit": (Vit, [3, 8, 12]),
    "encoder": (Encoder, [9, 5]),
    "convnext": (ConvNext, [3, 10, 12]),
    "mixer": (Mixer, [3, 12, 12]),
    "shuffle": (Shuffle, [3, 10, 14]),
    "gated": (Gated, [3, 15]),
    "waves": (Waves, [2, 16]),
    "style": (Style, [3, 9, 8]),
    "text": (Text, [11]),
}
# Networks whose samples are whole numbers, from 0 to one less than these.
NUMBERS = {"text": 20}
# Opsets of the classic exporter and of dynamo, by turns.
CLASSIC = [14, 17, 11, 16, 13, 15, 12]
DYNAMO = [20, 18]
# Metadata of nodes that stay.
KEPT = ["pkg.torch.onnx.name_scopes", "pkg.onnxscript.rewriter.rule_name"]
ROWS, STEPS, RATE = 3, 10, 0.01


def filled(name):
    """The network with the weights of the formula, and an input."""
    build, shape = NETWORKS[name]
    network = build()
    transposed = {f"{name}.weight" for name, m in network.named_modules() if isinstance(m, (nn.ConvTranspose1d, nn.ConvTranspose2d))}
    for tensor_name, tensor in network.state_dict().items():
        if tensor.dtype == torch.int64:
            tensor.zero_()
        else:
            sides = list(tensor.shape)
            tensor.copy_(torch.from_numpy(values(tensor_name, sides, *scale(tensor_name, sides, tensor_name in transposed))))
    if name in NUMBERS:
        return network, torch.from_numpy(integers("input", ROWS * math.prod(shape)) % NUMBERS[name]).reshape(ROWS, *shape)
    return network, torch.from_numpy(values("input", [ROWS, *shape]))


def export(name, folder):
    """Every other network's export leaves the batch open; the others have it baked in."""
    number = list(NETWORKS).index(name)
    old = torch.__version__.startswith("1.")
    opset, free = CLASSIC[number % len(CLASSIC)], number % 2 == 1
    names = {"input_names": ["input"], "output_names": ["output"]}
    network, x = filled(name)
    network.train()
    settings = {"opset_version": opset, "training": torch.onnx.TrainingMode.TRAINING, "do_constant_folding": False}
    if free:
        settings["dynamic_axes"] = {"input": {0: "batch"}, "output": {0: "batch"}}
    if not old:
        settings["dynamo"] = False
    ending = "old" if old else "classic"
    torch.onnx.export(network, (x,), str(folder / f"{name}.{ending}.onnx"), **names, **settings)
    if old:
        return
    network, x = filled(name)
    network.train()
    settings = {"opset_version": DYNAMO[number // 2 % 2], "dynamo": True, "optimize": False, "external_data": False}
    if not free:
        settings["dynamic_shapes"] = ({0: torch.export.Dim("batch", min=2)},)
    path = str(folder / f"{name}.dynamo.onnx")
    torch.onnx.export(network, (x,), path, verbose=False, **names, **settings)
    without_traces(path)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(5, 6, batch_first=True)
        self.act = nn.Softplus()
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(self.act(self.rnn(x)[0])).amax(1)


def export_refused(folder):
    """What `fl-host` refuses: an export with merged normalisations, and nodes that no layer stands for."""
    network, x = filled("mlp")
    torch.onnx.export(network.train(), (x,), str(folder / "merged.onnx"), dynamo=True, external_data=False, verbose=False)
    without_traces(str(folder / "merged.onnx"))
    mode = torch.onnx.TrainingMode.TRAINING
    settings = {"dynamo": False, "training": mode, "do_constant_folding": False, "opset_version": 17}
    torch.onnx.export(Recurrent().train(), (torch.zeros(3, 7, 5),), str(folder / "recurrent.onnx"), **settings)


def without_traces(path):
    """Leaves out where on this machine each line of Python stands, which takes most of the file."""
    import onnx

    model = onnx.load(path)
    for part in [model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.initializer]:
        kept = [entry for entry in part.metadata_props if entry.key in KEPT]
        del part.metadata_props[:]
        part.metadata_props.extend(kept)
    onnx.save(model, path)


def seen(output):
    """The shape, some values, their sum and the sum of squares."""
    flat = output.detach().flatten()
    step = max(1, len(flat) // 32)
    sums = [float(f"{v.item():.9g}") for v in (flat.double().sum(), (flat.double() ** 2).sum())]
    return {"shape": list(output.shape), "every": step, "values": [float(f"{v:.9g}") for v in flat[::step].tolist()], "sums": sums}


def record(name):
    """Dropout is off in both modes, because its masks are random."""
    network, x = filled(name)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    network.eval()
    with torch.no_grad():
        found = {"eval": seen(network(x))}
    network.train()
    target = torch.from_numpy(values("target", found["eval"]["shape"]))
    optimiser, losses = torch.optim.SGD(network.parameters(), lr=RATE), []
    for step in range(STEPS):
        output = network(x)
        if step == 0:
            found["train"] = seen(output)
        loss = functional.mse_loss(output, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(f"{loss.item():.9g}"))
    network.eval()
    with torch.no_grad():
        found |= {"numbers": NUMBERS[name]} if name in NUMBERS else {}
        return found | {"losses": losses, "after": seen(network(x))}


def main(command, folder=None, *names):
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    if command == "export":
        for name in names or NETWORKS:
            with contextlib.redirect_stdout(io.StringIO()):
                export(name, pathlib.Path(folder))
    elif command == "refused":
        with contextlib.redirect_stdout(io.StringIO()):
            export_refused(pathlib.Path(folder))
    elif command == "values":
        found = {"torch": torch.__version__, "rows": ROWS, "rate": RATE, "networks": {name: record(name) for name in NETWORKS}}
        print(json.dumps(found, separators=(",", ":")))


if __name__ == "__main__":
    main(*sys.argv[1:])
