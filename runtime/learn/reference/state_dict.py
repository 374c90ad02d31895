"""Writes the state dict of a small U-Net as PyTorch's users save it.

    python3 state_dict.py ../src/task/trainer/training/unet.safetensors

The network is `{network: unet, base: 1}` of a plan, with the values of `hashed.py` and a count of 3 batches in each
normalisation. Needs torch, numpy and safetensors.
"""

import sys

import torch
from safetensors.torch import save_file

from unet import UNet, fill

network = UNet(1)
with torch.no_grad():
    fill(network)
    for tensor in network.state_dict().values():
        if tensor.dtype == torch.int64:
            tensor.fill_(3)
save_file(network.state_dict(), sys.argv[1])
