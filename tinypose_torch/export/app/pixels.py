"""Reading frames of every pixel format in a program: pixels are gathered first, then converted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tinypose_torch.export.graphs import ToFloat

Size = tuple[int, int]

# OpenCV's BT.601 with limited range, in 2^20ths: luma, and V and U of red, green and blue.
_LUMA = 1220542
_CHROMA = ((1673527, 0), (-852492, -409993), (0, 2116026))
_SHIFT = 20
_HALF = 2**10  # numbers are split into multiples of 2^10 and rests, which float32 holds exactly


class PixelReader(nn.Module):
    """Gathers interleaved pixels ``(H, W, C)``, and gives their RGB values.

    Args:
        order: Place of red, green and blue among the C channels.
        channels: Number of channels C.
    """

    steps: tuple[int, ...] = (1,)  # pixels per value of each plane, along both axes

    def __init__(self, frame_size: Size, order: Sequence[int] = (0, 1, 2), channels: int = 3) -> None:
        super().__init__()
        self.frame_size, self.channels = frame_size, channels
        self.to_float = ToFloat()
        self.to_rgb: nn.Module = nn.Identity()
        if list(order) != list(range(channels)):  # exact: one factor is 1, and the others are 0
            self.to_rgb = linear([[float(place == channel) for channel in range(channels)] for place in order])

    def planes(self, frame: Tensor) -> tuple[Tensor, ...]:
        """The arrays of a frame that have rows and columns."""
        return (frame,)

    def gather(self, planes: Sequence[Tensor], axis: int, lines: Tensor) -> tuple[Tensor, ...]:
        """Rows (axis 0) or columns (axis 1) of pixels, from each plane."""
        return tuple(
            plane.index_select(axis, torch.div(lines, step, rounding_mode="floor") if step > 1 else lines)
            for plane, step in zip(planes, self.steps, strict=True)
        )

    def columns(self, planes: Sequence[Tensor], start: int, stop: int, group: int) -> tuple[Tensor, ...]:
        """The columns of pixels from ``start`` to ``stop``, which are multiples of ``group``, from each plane."""
        return tuple(
            _columns(plane, start, stop, group)
            if step == 1
            else plane.index_select(1, torch.arange(start, stop) // step)
            for plane, step in zip(planes, self.steps, strict=True)
        )

    def values(self, *planes: Tensor) -> Tensor:
        """Gathered pixels as float32 ``(..., C)``, whole numbers, which blends are linear in; `to_rgb` gives colours."""
        return self.to_float(planes[0])


class NV21Reader(PixelReader):
    """Gathers pixels of NV21 ``(H * 3 / 2, W)``, and converts them to RGB with OpenCV's integer arithmetic.

    The sums of products have up to 29 bits. They are computed in two halves, each exact in float32.
    """

    steps = (1, 2)

    def __init__(self, frame_size: Size) -> None:
        super().__init__(frame_size)
        offsets = [2 ** (_SHIFT - 1) - 16 * _LUMA - 128 * sum(factors) for factors in _CHROMA]
        self.luma = nn.ModuleList(linear([[half] for half in halves]) for halves in _split([_LUMA] * 3))
        factors = zip(*(_split(list(column)) for column in zip(*_CHROMA, strict=True)), strict=True)
        self.chroma = nn.ModuleList(
            linear(list(zip(*halves, strict=True)), offset)
            for halves, offset in zip(factors, _split(offsets), strict=True)
        )

    def planes(self, frame: Tensor) -> tuple[Tensor, ...]:
        height, width = self.frame_size
        return frame[:height], frame[height:].reshape(height // 2, width // 2, 2)

    def values(self, *planes: Tensor) -> Tensor:
        """RGB values of luma ``(..., R, w)`` and chroma ``(..., r, w, 2)``, with one or two rows of luma per row of chroma."""
        luma, chroma = self.to_float(planes[0]).clamp(min=16), self.to_float(planes[1])
        rows, columns = chroma.numel() // (2 * luma.shape[-1]), 3 * luma.shape[-1]
        upper, lower = (
            light(luma.reshape(-1, 1)).reshape(rows, -1, columns) + colour(chroma).reshape(rows, 1, columns)
            for light, colour in zip(self.luma, self.chroma, strict=True)
        )
        colours = torch.floor((upper + torch.floor(lower * (1 / _HALF))) * (_HALF / 2**_SHIFT))
        return colours.clamp(0, 255).reshape(*luma.shape, 3)


def _columns(plane: Tensor, start: int, stop: int, group: int) -> Tensor:
    """Columns of a plane, sliced by groups: ExecuTorch copies what it slices element by element."""
    height, _, *rest = plane.shape
    groups = plane.reshape(height, -1, group, *rest)[:, start // group : stop // group]
    return groups.reshape(height, stop - start, *rest)


def _split(numbers: list[int]) -> tuple[list[float], list[float]]:
    """Multiples of 2^10, and rests from 0 to 1023."""
    return [float(number // _HALF) for number in numbers], [float(number % _HALF) for number in numbers]


def linear(weight: Sequence[Sequence[float]] | Tensor, bias: Sequence[float] | None = None) -> nn.Linear:
    """A linear layer of the last dimension with given weights."""
    layer = nn.Linear(len(weight[0]), len(weight), bias is not None)
    layer.weight.data = torch.as_tensor(weight)
    if bias is not None:
        layer.bias.data = torch.tensor(bias)
    return layer.requires_grad_(False)


_READERS = {
    "rgb": PixelReader,
    "rgba": lambda size: PixelReader(size, channels=4),
    "bgr": lambda size: PixelReader(size, (2, 1, 0)),
    "nv21": NV21Reader,
}


def pixel_reader(pixels: str, frame_size: Size) -> PixelReader:
    """The reader of frames (height, width) of a pixel format."""
    return _READERS[pixels](frame_size)
