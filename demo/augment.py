"""Images as training sees them: moved, recoloured, covered, mixed; all in batched tensor code.

A share of each batch is left exactly as the product decodes it: alpha on white, 128 px to 64 px by antialiased bicubic.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate

SIZE = 64  # what the tower sees
LOOSE = 80  # what the moved images are sampled from
PLAIN_SHARE = 0.5  # in the end; all of them in the beginning
RAMP = 0.35  # share of the schedule over which the others come in: from the start, they stop learning altogether


def decode(rgba: Tensor) -> Tensor:
    """(n, 128, 128, 4) straight RGBA uint8 -> (n, 3, 64, 64) uint8, as the product decodes an image."""
    alpha = rgba[..., 3:].float() / 255
    white = (rgba[..., :3].float() * alpha + 255 * (1 - alpha)).round().to(torch.uint8)
    return interpolate(white.permute(0, 3, 1, 2), size=(SIZE, SIZE), mode="bicubic", antialias=True)


def loosen(rgba: Tensor) -> Tensor:
    """(n, 128, 128, 4) straight RGBA uint8 -> (n, 4, 80, 80) premultiplied uint8, to be moved and recoloured."""
    colours, alpha = rgba[..., :3].float(), rgba[..., 3:].float()
    flat = torch.cat((colours * alpha / 255, alpha), dim=-1).round().to(torch.uint8)
    return interpolate(flat.permute(0, 3, 1, 2), size=(LOOSE, LOOSE), mode="bicubic", antialias=True)


class Augmenter:
    """Draws one random version of each image."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def _uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(*shape, generator=self._generator) * (high - low) + low

    def _chance(self, count: int, share: float) -> Tensor:
        return self._uniform(count) < share

    def __call__(self, loose: Tensor, plain: Tensor, *, mirror: Tensor, progress: float) -> Tensor:
        """(n, 4, 80, 80) uint8 and the same decoded -> (n, 3, 64, 64) in 0..1; `mirror`: may be mirrored."""
        count = len(loose)
        moved = grid_sample(loose.float() / 255, self._grid(count, mirror), align_corners=False)
        image = self._recolour(moved)
        image = self._cover(self._blur(image))
        exact = self._chance(count, 1 - (1 - PLAIN_SHARE) * min(progress / RAMP, 1.0))
        image[exact] = plain[exact].float() / 255
        return image

    def _grid(self, count: int, mirror: Tensor) -> Tensor:
        """Where each output pixel is read: an affine map and a gentle warp."""
        turn = self._uniform(count, low=-1, high=1) * self._uniform(count) * math.radians(16)
        scale = self._uniform(count, low=math.log(0.88), high=math.log(1.22)).exp()
        aspect = self._uniform(count, low=-0.1, high=0.1).exp()
        shear = self._uniform(count, low=-0.08, high=0.08)
        flip = 1 - 2 * (self._chance(count, 0.25) & mirror).float()
        cos, sin = turn.cos() * scale, turn.sin() * scale
        theta = torch.stack(
            (cos * aspect * flip, (shear * cos - sin) * aspect, self._uniform(count, low=-0.07, high=0.07),
             sin / aspect * flip, (shear * sin + cos) / aspect, self._uniform(count, low=-0.07, high=0.07)),
            dim=1,
        ).view(count, 2, 3)  # fmt: skip
        grid = torch.nn.functional.affine_grid(theta, [count, 1, SIZE, SIZE], align_corners=False)
        strength = self._uniform(count, 1, 1, 1, high=0.06) * self._chance(count, 0.4).view(-1, 1, 1, 1)
        knots = torch.randn(count, 2, 4, 4, generator=self._generator) * strength
        warp = interpolate(knots, size=(SIZE, SIZE), mode="bicubic", align_corners=True)
        return grid + warp.permute(0, 2, 3, 1)

    def _recolour(self, rgba: Tensor) -> Tensor:
        """Premultiplied RGBA -> RGB: other hues, saturation and brightness, on white or another colour."""
        count = len(rgba)
        alpha = rgba[:, 3:]
        matrix = self._colours(count)
        shift = self._uniform(count, 3, 1, low=-0.12, high=0.12)
        flat = rgba[:, :3].flatten(2)
        mixed = torch.baddbmm(shift * alpha.flatten(2), matrix, flat).view_as(rgba[:, :3])
        negative = self._chance(count, 0.03).view(-1, 1, 1, 1)
        mixed = torch.where(negative, alpha - mixed, mixed)
        ground = 1 - self._uniform(count, 3, 1, 1) ** 2 * self._chance(count, 0.35).view(-1, 1, 1, 1)
        return (mixed + ground * (1 - alpha)).clamp_(0, 1)

    def _colours(self, count: int) -> Tensor:
        """(n, 3, 3): a turn of hue about the grey axis, then saturation, then a gain for each channel."""
        wide = self._chance(count, 0.15)
        angle = self._uniform(count, low=-1, high=1) * torch.where(wide, math.pi, 0.35)
        cos, sin = angle.cos(), angle.sin() / math.sqrt(3)
        third = (1 - cos) / 3
        near, far, same = third - sin, third + sin, cos + third
        hue = torch.stack((same, near, far, far, same, near, near, far, same), dim=1).view(count, 3, 3)
        grey = torch.tensor([0.299, 0.587, 0.114]).expand(3, 3)
        saturation = self._uniform(count, 1, 1, low=0.3, high=1.6)
        saturation = saturation * ~self._chance(count, 0.12).view(-1, 1, 1)
        mixed = saturation * torch.eye(3) + (1 - saturation) * grey
        gain = self._uniform(count, 1, 1, low=0.7, high=1.25) * self._uniform(count, 3, 1, low=0.85, high=1.15)
        return gain * (mixed @ hue)

    def _blur(self, image: Tensor) -> Tensor:
        """Soften some, sharpen some, add grain to some."""
        count = len(image)
        soft = avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)
        amount = self._uniform(count, 1, 1, 1, low=-0.8, high=1.0) * self._chance(count, 0.3).view(-1, 1, 1, 1)
        image = image + amount * (soft - image)
        grain = self._uniform(count, 1, 1, 1, high=0.08) * self._chance(count, 0.2).view(-1, 1, 1, 1)
        return (image + grain * torch.randn(image.shape, generator=self._generator)).clamp_(0, 1)

    def _cover(self, image: Tensor) -> Tensor:
        """Hide a rectangle of a fifth of them."""
        count = len(image)
        places = torch.arange(SIZE).view(1, SIZE)
        start = self._uniform(count, 2, high=SIZE * 0.8)
        length = self._uniform(count, 2, low=SIZE * 0.12, high=SIZE * 0.35) * self._chance(count, 0.2).view(-1, 1)
        inside = [(places >= start[:, d : d + 1]) & (places < (start + length)[:, d : d + 1]) for d in (0, 1)]
        hidden = (inside[0].unsqueeze(2) & inside[1].unsqueeze(1)).unsqueeze(1)
        return torch.where(hidden, self._uniform(count, 3, 1, 1), image)
