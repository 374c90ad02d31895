"""Records the values of the U-Net that a test of this crate expects.

    python3 unet.py > ../src/task/trainer/training/unet.json

The network is `network: unet` of a plan. Its weights, the picture and the mask come from `hashed.py`, so no weights are
stored. Needs torch and numpy.
"""

import json

import torch
from torch import nn
from torch.nn import functional

from hashed import integers, scale, values


def double(inputs, outputs):
    layers = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class Convolutions(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = double(inputs, outputs)

    def forward(self, x):
        return self.conv(x)


class Down(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.mpconv = nn.Sequential(nn.MaxPool2d(2), Convolutions(inputs, outputs))

    def forward(self, x):
        return self.mpconv(x)


class Up(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.conv = Convolutions(inputs, outputs)

    def forward(self, x, skip):
        x = self.up(x)
        down, across = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
        x = functional.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return self.conv(torch.cat([skip, x], 1))


class UNet(nn.Module):
    def __init__(self, base, depth=4):
        super().__init__()
        self.depth = depth
        self.inc = Convolutions(3, base)
        for n in range(1, depth + 1):
            setattr(self, f"down{n}", Down(base << (n - 1), base << n))
        for n in range(1, depth + 1):
            setattr(self, f"up{n}", Up(base << (depth - n + 1), base << (depth - n)))
        self.outc = nn.Conv2d(base, 1, 1)

    def forward(self, x):
        skips = [self.inc(x)]
        for n in range(1, self.depth + 1):
            skips.append(getattr(self, f"down{n}")(skips[-1]))
        x = skips.pop()
        for n in range(1, self.depth + 1):
            x = getattr(self, f"up{n}")(x, skips.pop())
        return torch.sigmoid(self.outc(x))


def fill(network):
    transposed = {f"{name}.weight" for name, m in network.named_modules() if isinstance(m, nn.ConvTranspose2d)}
    for name, tensor in network.state_dict().items():
        if tensor.dtype == torch.int64:
            tensor.zero_()
        else:
            shape = list(tensor.shape)
            tensor.copy_(torch.from_numpy(values(name, shape, *scale(name, shape, name in transposed))))


def sums(tensor):
    """The sum and the sum of squares, which f64 adds up."""
    tensor = tensor.detach().double()
    return [round_to(tensor.sum()), round_to((tensor**2).sum())]


def round_to(value):
    return float(f"{value.item():.9g}")


def record(base, height, width, rows=2):
    network = UNet(base)
    fill(network)
    parameters = dict(network.named_parameters())
    found = {"tensors": len(network.state_dict()), "parameters": sum(p.numel() for p in parameters.values())}
    layers = {}
    for name, module in network.named_modules():
        if not list(module.children()) and not isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda _, __, out, name=name: layers.__setitem__(name, sums(out)))
    picture = torch.from_numpy(values("input", [rows, 3, height, width]))
    mask = torch.from_numpy((integers("mask", rows * height * width) >= 0).astype("float32")).reshape(rows, -1)
    places = [0, 1, width, height * width // 2, height * width - 1, rows * height * width - 1]

    def seen(output):
        return {"output": output.detach().flatten()[places].tolist(), "output_sum_sumsq": sums(output), "layers": dict(layers)}

    network.eval()
    with torch.no_grad():
        found["eval"] = seen(network(picture))
    network.train()
    output = network(picture)
    found["train"] = seen(output)
    shares = output.reshape(rows, -1)
    score = 2 * ((shares * mask).sum(1) + 1) / (shares.sum(1) + mask.sum(1) + 1)
    loss = 1 - score.sum() / rows
    loss.backward()
    found["train"] |= {
        "loss": loss.item(),
        "running": {name: sums(t) for name, t in network.state_dict().items() if "running" in name},
        "grad_l2": {name: round_to(p.grad.double().norm()) for name, p in parameters.items()},
        "grad_first": {name: round_to(p.grad.flatten()[0]) for name, p in parameters.items()},
    }
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    sizes = [(64, 64, 64), (64, 52, 44), (16, 52, 44)]
    recorded = {f"base{base}_2x3x{height}x{width}": record(base, height, width) for base, height, width in sizes}
    print(json.dumps({"torch": torch.__version__} | recorded, separators=(",", ":")))
