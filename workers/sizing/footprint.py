"""How much memory an ingestion process takes at its peak, from the settings alone.

The rule: nothing of the work grows with the number of images; what does, an embedded collection's share that must be
in memory, is told for each point. Constants were measured on Linux with torch 2.13, or stand
elsewhere, which a test holds; another holds the sum against a real run. No heavy module is imported.
"""

from dataclasses import dataclass

from connector.models.catalog import find_space, image_tower_of
from connector.models.declaration import Space
from connector.settings import Settings
from connector.store.open import capabilities_of
from workers.sizing.image_work import ImageWork, image_work
from workers.sizing.plan import CODE_BITS, CODE_EXTRA, ID_BYTES

MIB = 1024 * 1024

LIBRARIES = 490 * MIB
"""Python, torch in its CPU build, transformers and Qdrant's client, imported; the CUDA build takes more."""
LOADING = 1.9
"""Peak of loading over the weights: what the file holds, the pass rebuilt from it, the copy in bfloat16."""
ACTIVATIONS = 1.7
"""An image under way over what one layer holds of it: 2 MiB were measured in ViT-B/32."""
BATCH = 16
"""Images in a batch where the device has not chosen yet."""
ORDINARY = 12_000_000 * 6
"""Bytes to decode an ordinary photograph: 12 megapixels of a progressive JPEG."""
WORST = 32
"""Bytes a pixel that decoding takes at most: ``connector.images.decode.BYTES_PER_PIXEL``."""
POINTS_UNDER_WAY = 3 * 1024
"""Points in the last channel and in the store's hands: ``workers.pipeline.pipeline.UPSERT_POINTS`` three times."""
UNSEALED = 25_000
"""Points the embedded engine holds at most until it seals them: ``connector.store.edge.optimize.SEAL_MOST``."""
KNOWN = 4096
"""Contents that are remembered: ``workers.pipeline.deduplication.REMEMBERED``."""
POINT = 5 * 1024
"""A point's payload and indexes as the store holds them until they are sealed."""

LINKED_INDEX = 100
"""A point in the index of a linked field, which the embedded engine keeps in memory: measured on folders, tags and
cameras of 100,000 points, five tags each."""


WORDS = 144 * MIB
"""What the embedded engine lays out for words, however few: the sparse vector and three texts that filters look at."""

READERS = 4
"""Processes that read text where the settings leave it open: ``workers.ocr.texts.MOST_PROCESSES``."""
READER = 300 * MIB
"""One of them with its models, reading a small image; and what each pixel of a larger one adds."""
READER_PIXEL = 207


@dataclass(frozen=True, slots=True)
class Footprint:
    """Peak memory in bytes: with ordinary photographs, and where every decoder meets ``limits.max_pixels`` at once.

    ``point`` is what each point of an embedded collection adds: its code, its id, and a place in the index of each of
    ``qdrant.linked_fields``; 0 where a server has them.
    """

    ordinary: int
    most: int
    point: int


def footprint(settings: Settings, *, cores: int) -> Footprint:
    """The peak of one ingestion process on the CPU; what a GPU holds is not counted."""
    space = find_space(settings.model.space)
    work = image_work(image_tower_of(settings.model, space=space))
    weights = work.weights
    decoders = settings.ingest.decoders or cores
    readers = _readers(settings, cores=cores)
    here = capabilities_of(settings.qdrant).in_process
    working = (
        weights + _batches(settings, space=space, work=work, callers=cores) + _points(space) + (WORDS if here else 0)
    )
    files = settings.ingest.buffer_bytes * 9 // 8  # those that wait, and the readers' bundles
    ordinary = LIBRARIES + max(round(LOADING * weights), working + readers + files // 4 + decoders * ORDINARY)
    most = LIBRARIES + max(
        round(LOADING * weights), working + readers + files + decoders * WORST * settings.limits.max_pixels
    )
    linked = LINKED_INDEX * len(settings.qdrant.linked_fields)
    point = space.dims * CODE_BITS // 8 + CODE_EXTRA + ID_BYTES + linked if here else 0
    return Footprint(ordinary=ordinary, most=most, point=point)


def _readers(settings: Settings, *, cores: int) -> int:
    """The processes that read text, and the images that are decoded for them."""
    if settings.ocr.images == "off":
        return 0
    count = settings.ocr.processes or min(READERS, cores)
    return count * (READER + READER_PIXEL * settings.ocr.max_side**2 + ORDINARY)


def _batches(settings: Settings, *, space: Space, work: ImageWork, callers: int) -> int:
    """Pixels that wait in the channel and in slots, and activations."""
    batch = settings.model.batch_size or BATCH
    pixels = 3 * space.image_size**2
    return callers * batch * (4 * pixels + round(ACTIVATIONS * work.activations))


def _points(space: Space) -> int:
    return (POINTS_UNDER_WAY + KNOWN + UNSEALED) * (4 * space.dims + POINT)
