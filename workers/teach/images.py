"""The images that lines and captions name: their vectors, by the space's own image tower, which is not trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from connector.errors import ConfigError, UnreadableImage
from connector.images.load import ImageLoader
from connector.models.image_tower import ImageTower
from connector.settings import Settings

BATCH = 64


@dataclass(frozen=True, slots=True)
class ImageVectors:
    """Vectors of images, (n, dims) at length 1, and the row of each by the name that it was given by."""

    vectors: Tensor
    rows: Mapping[str, int]


def read_images(folder: Path, names: Sequence[str], *, settings: Settings) -> ImageVectors:
    """Embed the images of these names below a folder. Raises ConfigError for one that is missing or unreadable."""
    if not folder.is_dir():
        raise ConfigError(f"--images {folder} is no folder.")
    distinct = list(dict.fromkeys(names))
    missing = [name for name in distinct if not (folder / name).is_file()]
    if missing:
        raise ConfigError(f"{folder} has no {missing[0]}, which a line names" + _more(len(missing) - 1))
    tower = ImageTower.load(settings.model)
    size, resizing = tower.space.image_size, tower.space.image.resizing
    loader = ImageLoader(limits=settings.limits, web=settings.web)
    found = []
    try:
        for start in range(0, len(distinct), BATCH):
            some = distinct[start : start + BATCH]
            pixels = [loader.read(folder / name, size=size, resizing=resizing) for name in some]
            found.append(tower.embed(np.stack(pixels)))
    except UnreadableImage as error:
        raise ConfigError(f"{error} A line names it; take the line or its third column away.") from error
    finally:
        loader.close()
    return ImageVectors(torch.from_numpy(np.concatenate(found)), {name: row for row, name in enumerate(distinct)})


def _more(count: int) -> str:
    return f", nor {count:,} more." if count else "."
