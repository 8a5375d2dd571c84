"""Linear layers in 8 bits, for CPUs without bf16: two to four times faster for few rows, and a quarter of the memory.

Weights have a scale for each output, activations one for each row, so that no row depends on its neighbours. Sums are
of whole numbers and therefore exact. What is lost is about one percent of each product's length.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from t2icli.ground.errors import T2IError
from t2icli.nn.tied import Tied

TINY = torch.finfo(torch.float32).tiny
STEPS = 63
"""Whole numbers on either side of 0 for activations.

Without VNNI instructions two products are added in 16 bits, which is enough for 63. With them 127 would do, but which
instructions a library uses is not for us to know: variables limit it too. So all processors get the same.
"""
LEAST = 1 << 18
"""Weights of a layer, from which on it is worth it: bringing activations into 8 bits takes its time too."""


class Int8Linear(nn.Module):
    """In place of a linear layer that is not trained any more."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        scales = weight.abs().amax(dim=1).clamp(min=TINY) / 127
        self.shape = (weight.shape[0], weight.shape[1])
        self.multiply = (by_fbgemm if has_fbgemm() else by_onednn)(weight, scales, STEPS)
        self.bias = None if bias is None else bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        largest = x.abs().amax(dim=-1, keepdim=True)  # of zeros it is 0, and so is the product whatever is in it
        product = self.multiply(x / largest)
        return product * largest if self.bias is None else torch.addcmul(self.bias, product, largest)


def by_fbgemm(weight: Tensor, scales: Tensor, steps: int) -> Callable[[Tensor], Tensor]:
    """Products of rows between -1 and 1: the quickest there are, but torch wants to be rid of quantized tensors."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            zeros = torch.zeros(len(weight), dtype=torch.int64)
            whole = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(whole, None)
    finally:
        torch.backends.quantized.engine = before
    # Bytes have no sign: 0 is stored as their middle.
    product: Callable[..., Tensor] = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
    return lambda x: product(x, 1 / steps, steps + 1, packed)


def by_onednn(weight: Tensor, scales: Tensor, steps: int) -> Callable[[Tensor], Tensor]:
    """The same by way of what torch.compile uses, at half the speed for few rows."""
    zeros = torch.zeros(len(weight), dtype=torch.int64)
    product: Callable[..., Tensor] = torch.ops.onednn.qlinear_pointwise
    packed = torch.ops.onednn.qlinear_prepack((weight / scales[:, None]).round().to(torch.int8), None)
    middle = torch.tensor(steps + 1.5)  # cutting off then rounds

    def multiply(x: Tensor) -> Tensor:
        whole = torch.add(middle, x, alpha=steps).to(torch.uint8)
        inputs, outputs = (1 / steps, steps + 1), (1.0, 0, torch.float32)
        return product(whole, *inputs, packed, scales, zeros, None, *outputs, "none", [], "")

    return multiply


def is_possible() -> bool:
    return has_fbgemm() or (torch.backends.mkldnn.is_available() and platform.machine() in ("x86_64", "AMD64"))


def has_fbgemm() -> bool:
    op = "linear_with_input_q_dq_qweight_dq_output_fp32"
    return "fbgemm" in torch.backends.quantized.supported_engines and hasattr(torch.ops.quantized, op)


def quantize(model: nn.Module, device: torch.device) -> None:
    """Put 8-bit layers into the place of a loaded model's large linear layers, but of none that lends to others."""
    if device.type != "cpu" or not is_possible():
        raise T2IError(f"int8 is for Intel's and AMD's CPUs, not for {device.type!r}", "use bf16, fp32 or auto")
    lenders = {module.owner[0] for module in model.modules() if type(module) is Tied}
    # torch's own transformer layers reach for their parts' weights.
    parents = [module for module in model.modules() if not isinstance(module, nn.TransformerEncoderLayer)]
    for parent in parents:
        for name, child in parent.named_children():
            if type(child) is not Tied and (type(child) is not nn.Linear or child in lenders):
                continue
            if child.weight.numel() >= LEAST:
                setattr(parent, name, Int8Linear(child.weight.detach().float(), child.bias))
