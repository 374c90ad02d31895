"""Records what layers of a plan compute in PyTorch, and their gradients.

    python3 layers.py > ../src/task/trainer/training/kinds.json

Each case is a model as a plan has it. Its input and its tensors come from `hashed.py` by their names; the gradients are
those of the sum of output * hashed("coefficients"). Needs torch and numpy.
"""

import json

import torch
from torch.nn import functional as F

from hashed import values

IMAGE = (2, 4, 5, 6)
SEQUENCE = (2, 4, 9)


class Tensors(dict):
    """The tensors of a model, made when they are first asked for."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def make(self, name, *shape):
        if name not in self:
            self[name] = torch.from_numpy(values(name, shape, self.factor)).requires_grad_(True)
        return self[name]


CASES = {}


def case(name, layers, shape, function, factor=1.0):
    tensors = Tensors(factor)
    x = torch.from_numpy(values("input", shape)).requires_grad_(True)
    output = function(x, tensors.make)
    (output * torch.from_numpy(values("coefficients", tuple(output.shape)))).sum().backward()
    short = lambda t: [float(f"{v:.7g}") for v in t.detach().flatten().tolist()]
    CASES[name] = {
        "layers": layers,
        "input": list(shape[1:]),
        "factor": factor,
        "shape": list(output.shape),
        "output": short(output),
        "gradients": {"input": short(x.grad)} | {name: short(t.grad) for name, t in tensors.items()},
    }


def after(name, layers, function, shape=IMAGE, factor=1.0):
    """A layer without tensors, after a linear layer over the last axis."""
    width = shape[-1]
    first = f"{{linear: {{name: a, out: {width}, bias: false}}, as: a}}"
    linear = lambda x, t: F.linear(x, t("a.weight", width, width))
    case(name, f"[{first}, {layers}]", shape, lambda x, t: function(linear(x, t), x), factor)


def one(name, layer, shape, function):
    case(name, f"[{{{layer}}}]", shape, function)


one("conv1d", "conv1d: {name: a, out: 6, kernel: 3, stride: 2, padding: 3, dilation: 2, groups: 2}", SEQUENCE,
    lambda x, t: F.conv1d(x, t("a.weight", 6, 2, 3), t("a.bias", 6), 2, 3, 2, 2))
one("conv1d_ends", "conv1d: {name: a, out: 3, kernel: 3, padding: [2, 0], bias: false}", SEQUENCE,
    lambda x, t: F.conv1d(F.pad(x, (2, 0)), t("a.weight", 3, 4, 3)))
one("conv2d_sides", "conv2d: {name: a, out: 6, kernel: [3, 2], stride: [2, 1], padding: [1, 2], dilation: [1, 2], groups: 2}", IMAGE,
    lambda x, t: F.conv2d(x, t("a.weight", 6, 2, 3, 2), t("a.bias", 6), (2, 1), (1, 2), (1, 2), 2))
one("conv2d_depthwise", "conv2d: {name: a, out: 4, kernel: 5, padding: 2, groups: 4}", IMAGE,
    lambda x, t: F.conv2d(x, t("a.weight", 4, 1, 5, 5), t("a.bias", 4), 1, 2, 1, 4))
one("conv2d_edges", "conv2d: {name: a, out: 6, kernel: 3, stride: 2, padding: [2, 1, 0, 1]}", IMAGE,
    lambda x, t: F.conv2d(F.pad(x, (0, 1, 2, 1)), t("a.weight", 6, 4, 3, 3), t("a.bias", 6), 2))
one("conv_transpose2d", "conv_transpose2d: {name: a, out: 6, kernel: 3, stride: 2, padding: 1, output_padding: 1, groups: 2, dilation: 2}", IMAGE,
    lambda x, t: F.conv_transpose2d(x, t("a.weight", 4, 3, 3, 3), t("a.bias", 6), 2, 1, 1, 2, 2))
one("linear_image", "linear: {name: a, out: 3}", IMAGE, lambda x, t: F.linear(x, t("a.weight", 3, 6), t("a.bias", 3)))
one("linear_sequence", "linear: {name: a, out: 3}", SEQUENCE, lambda x, t: F.linear(x, t("a.weight", 3, 9), t("a.bias", 3)))
one("layer_norm", "layer_norm: {name: a}", SEQUENCE, lambda x, t: F.layer_norm(x, (9,), t("a.weight", 9), t("a.bias", 9)))
one("layer_norm_image", "layer_norm: {name: a, axes: 3, eps: 0.001}", IMAGE,
    lambda x, t: F.layer_norm(x, (4, 5, 6), t("a.weight", 4, 5, 6), t("a.bias", 4, 5, 6), 1e-3))
one("group_norm", "group_norm: {name: a, groups: 2}", IMAGE, lambda x, t: F.group_norm(x, 2, t("a.weight", 4), t("a.bias", 4)))
one("instance_norm", "group_norm: {name: a, groups: 4, eps: 0.01}", SEQUENCE,
    lambda x, t: F.group_norm(x, 4, t("a.weight", 4), t("a.bias", 4), 1e-2))
for corners in (True, False):
    word = str(corners).lower()
    after(f"bilinear_scale_{word}", f"{{upsample: {{mode: bilinear, scale: 2, corners: {word}}}}}",
          lambda y, _, c=corners: F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=c))
    after(f"bilinear_size_{word}", f"{{upsample: {{mode: bilinear, size: [3, 11], corners: {word}}}}}",
          lambda y, _, c=corners: F.interpolate(y, size=(3, 11), mode="bilinear", align_corners=c))
    after(f"linear_scale_{word}", f"{{upsample: {{mode: bilinear, scale: 2, corners: {word}}}}}",
          lambda y, _, c=corners: F.interpolate(y, scale_factor=2, mode="linear", align_corners=c), SEQUENCE)
after("nearest_scale", "{upsample: {mode: nearest, scale: [2, 3]}}", lambda y, _: F.interpolate(y, scale_factor=(2, 3)))
after("nearest_size", "{upsample: {mode: nearest, size: [3, 11]}}", lambda y, _: F.interpolate(y, size=(3, 11)))
after("nearest_sequence", "{upsample: {mode: nearest, scale: 2}}", lambda y, _: F.interpolate(y, scale_factor=2), SEQUENCE)
after("adaptive_uneven", "{adaptive_avg_pool: {size: [3, 4]}}", lambda y, _: F.adaptive_avg_pool2d(y, (3, 4)))
after("adaptive_global", "adaptive_avg_pool", lambda y, _: F.adaptive_avg_pool2d(y, 1))
after("adaptive_sequence", "{adaptive_avg_pool: {size: 4}}", lambda y, _: F.adaptive_avg_pool1d(y, 4), SEQUENCE)
after("avg_pool_padded", "{avg_pool: {kernel: 3, stride: 2, padding: 1}}", lambda y, _: F.avg_pool2d(y, 3, 2, 1))
after("avg_pool_uncounted", "{avg_pool: {kernel: 3, stride: 2, padding: 1, ceil: true, count_pad: false}}",
      lambda y, _: F.avg_pool2d(y, 3, 2, 1, ceil_mode=True, count_include_pad=False))
after("avg_pool_ceil", "{avg_pool: {kernel: 3, stride: 2, padding: 1, ceil: true}}", lambda y, _: F.avg_pool2d(y, 3, 2, 1, ceil_mode=True))
after("avg_pool_sequence", "{avg_pool: {kernel: 3, stride: 2, padding: 1}}", lambda y, _: F.avg_pool1d(y, 3, 2, 1), SEQUENCE)
after("max_pool_padded", "{max_pool: {kernel: 3, stride: 2, padding: 1}}", lambda y, _: F.max_pool2d(y, 3, 2, 1))
after("max_pool_ceil", "{max_pool: {kernel: [2, 3], stride: 2, ceil: true}}", lambda y, _: F.max_pool2d(y, (2, 3), 2, ceil_mode=True))
after("max_pool_dropped", "{max_pool: {kernel: 2, stride: 3, padding: 1, ceil: true}}", lambda y, _: F.max_pool2d(y, 2, 3, 1, ceil_mode=True))
after("max_pool_ties", "relu, {max_pool: {kernel: 2}}", lambda y, _: F.max_pool2d(F.relu(y), 2))
after("max_pool_sequence", "{max_pool: {kernel: 3, stride: 2, padding: 1}}", lambda y, _: F.max_pool1d(y, 3, 2, 1), SEQUENCE)
after("leaky_relu", "{leaky_relu: {slope: 0.1}}", lambda y, _: F.leaky_relu(y, 0.1))
after("silu", "silu", lambda y, _: F.silu(y))
after("hard_swish", "hard_swish", lambda y, _: F.hardswish(y), factor=4.0)
after("hard_sigmoid", "hard_sigmoid", lambda y, _: F.hardsigmoid(y), factor=4.0)
after("relu6", "relu6", lambda y, _: F.relu6(y), factor=4.0)
after("elu", "{elu: {alpha: 0.5}}", lambda y, _: F.elu(y, 0.5))
after("softmax", "softmax", lambda y, _: F.softmax(y, 1))
after("softmax_last", "{softmax: {axis: 1}}", lambda y, _: F.softmax(y, 2), SEQUENCE)
after("log_softmax", "{log_softmax: {axis: 2}}", lambda y, _: F.log_softmax(y, 3))
after("add", "{add: , from: [a, input, a]}", lambda y, x: y + x + y)
after("sub", "{sub: , from: [input, a]}", lambda y, x: x - y)
after("mul", "{mul: , from: [a, input]}", lambda y, x: y * x)
after("mul_channels", "{adaptive_avg_pool: , as: b}, {mul: , from: [b, input]}", lambda y, x: F.adaptive_avg_pool2d(y, 1) * x)
after("concat", "{concat: , from: [input, a, input]}", lambda y, x: torch.cat([x, y, x], 1))
after("concat_last", "{concat: {axis: 2}, from: [a, input]}", lambda y, x: torch.cat([y, x], 3))
after("pad", "{pad: {by: [0, 1, 2, 3]}}", lambda y, _: F.pad(y, (2, 3, 0, 1)))
after("pad_sequence", "{pad: {by: [2, 1, 0, 0]}}", lambda y, _: F.pad(y, (2, 1)), SEQUENCE)
after("crop", "{crop: {by: [1, 0, 2, 1]}}", lambda y, _: y[:, :, 1:, 2:-1])
after("pad_to", "{crop: {by: [0, 1, 1, 2]}, as: b}, {pad_to: , from: [b, input]}", lambda y, _: F.pad(y[:, :, :-1, 1:-2], (1, 2, 0, 1)))

one("conv_transpose1d", "conv_transpose1d: {name: a, out: 6, kernel: 3, stride: 2, padding: 1, output_padding: 1, groups: 2, dilation: 2}", SEQUENCE,
    lambda x, t: F.conv_transpose1d(x, t("a.weight", 4, 3, 3), t("a.bias", 6), 2, 1, 1, 2, 2))
after("reshape", "{reshape: {shape: [6, 20]}}", lambda y, _: y.reshape(2, 6, 20))
after("permute", "{permute: {order: [2, 0, 1]}}", lambda y, _: y.permute(0, 3, 1, 2))
after("permute_sequence", "{permute: {order: [1, 0]}}", lambda y, _: y.transpose(1, 2), SEQUENCE)
after("slice", "{slice: {axis: 1, start: 1, end: 4}}", lambda y, _: y[:, :, 1:4])
after("slice_steps", "{slice: {axis: 2, start: 1, step: 2}}", lambda y, _: y[..., 1::2])
after("slice_channels", "{slice: {axis: 0, step: 3}}", lambda y, _: y[:, ::3])
after("select", "{select: {axis: 1, index: 2}}", lambda y, _: y[:, :, 2])
after("mean", "{mean: {axes: [0, 2]}}", lambda y, _: y.mean((1, 3)))
after("mean_kept", "{mean: {axes: [1], keep: true}}", lambda y, _: y.mean(2, keepdim=True), SEQUENCE)
after("max", "{max: {axes: [0]}}", lambda y, _: y.amax(1))
after("max_kept", "{max: {axes: [1, 2], keep: true}}", lambda y, _: y.amax((2, 3), keepdim=True))
after("scale", "{scale: {by: -0.3}}", lambda y, _: y * -0.3)
after("gelu_tanh", "gelu_tanh", lambda y, _: F.gelu(y, approximate="tanh"))
after("instance_norm", "{instance_norm: {eps: 0.001}}", lambda y, _: F.instance_norm(y, eps=1e-3))
after("matmul", "{permute: {order: [1, 0]}, as: b}, {matmul: , from: [b, input]}", lambda y, x: y.transpose(1, 2) @ x, SEQUENCE)
after("matmul_image", "{permute: {order: [0, 2, 1]}, as: b}, {matmul: , from: [input, b]}", lambda y, x: x @ y.transpose(2, 3))
one("prelu", "prelu: {name: a}", IMAGE, lambda x, t: F.prelu(x, t("a.weight", 1)))
one("prelu_channels", "prelu: {name: a, slopes: 4}", SEQUENCE, lambda x, t: F.prelu(x, t("a.weight", 4)))
case("parameter", "[{parameter: {name: p, shape: [1, 9], batch: true}, as: p}, {concat: , from: [p, input], as: c}, "
     "{parameter: {name: q, shape: [5, 1]}, as: q}, {mul: , from: [c, q]}]", SEQUENCE,
     lambda x, t: torch.cat([t("p", 1, 1, 9).expand(2, -1, -1), x], 1) * t("q", 5, 1))


def recurrent(kind, hidden, **settings):
    """PyTorch's own layer with the tensors of the case."""
    def run(x, make):
        layer = getattr(torch.nn, kind)(x.shape[2], hidden, batch_first=True, **settings)
        tensors = {name: make(f"a.{name}", *tensor.shape) for name, tensor in layer.named_parameters()}
        return torch.func.functional_call(layer, tensors, (x,))
    return run


one("lstm", "lstm: {name: a, hidden: 3}", SEQUENCE, lambda x, t: recurrent("LSTM", 3)(x, t)[0])
one("lstm_both", "lstm: {name: a, hidden: 3, layers: 2, bidirectional: true, bias: false, take: last}", SEQUENCE,
    lambda x, t: recurrent("LSTM", 3, num_layers=2, bidirectional=True, bias=False)(x, t)[1][0][2:].transpose(0, 1).flatten(1))
one("gru", "gru: {name: a, hidden: 3, take: last}", SEQUENCE, lambda x, t: recurrent("GRU", 3)(x, t)[1][0])
one("gru_both", "gru: {name: a, hidden: 2, layers: 2, bidirectional: true}", SEQUENCE,
    lambda x, t: recurrent("GRU", 2, num_layers=2, bidirectional=True)(x, t)[0])


def attention(x, make, heads, bias, causal):
    """The layer of PyTorch, over `[rows, length, width]`."""
    width, length = x.shape[2], x.shape[1]
    names = [("in_proj_weight", (3 * width, width)), ("in_proj_bias", (3 * width,)), ("out_proj.weight", (width, width)), ("out_proj.bias", (width,))]
    tensors = {name: make(f"a.{name}", *shape) for name, shape in names if bias or "bias" not in name}
    mask = torch.full((length, length), -torch.inf).triu(1) if causal else None
    layer = torch.nn.MultiheadAttention(width, heads, bias=bias, batch_first=True)
    return torch.func.functional_call(layer, tensors, (x, x, x), {"attn_mask": mask, "need_weights": False})[0]


one("attention", "attention: {name: a, heads: 3}", SEQUENCE, lambda x, t: attention(x, t, 3, True, False))
one("attention_causal", "attention: {name: a, heads: 1, bias: false, causal: true}", SEQUENCE, lambda x, t: attention(x, t, 1, False, True))

if __name__ == "__main__":
    print(json.dumps({"torch": torch.__version__, "cases": CASES}, separators=(",", ":")))
