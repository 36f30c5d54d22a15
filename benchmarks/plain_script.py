"""The script a user would write first: what polyglance is compared with.

python -m benchmarks.plain_script PHOTOS MODEL STORE
"""

import json
import sys
import time
import uuid
from pathlib import Path

from PIL import Image
from qdrant_client import QdrantClient, models
from sentence_transformers import SentenceTransformer

BATCH = 64


def main(photos: Path, model_folder: Path, store: Path) -> None:
    """Embed every JPEG below a folder and store it; prints the images and the seconds, loading left out."""
    model = SentenceTransformer(str(model_folder))
    client = QdrantClient(path=str(store))
    client.create_collection("photos", vectors_config=models.VectorParams(size=512, distance=models.Distance.COSINE))
    paths = sorted(photos.rglob("*.jpg"))
    started = time.perf_counter()
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        vectors = model.encode([Image.open(path) for path in batch], batch_size=BATCH, show_progress_bar=False)
        client.upsert(
            "photos",
            [
                models.PointStruct(
                    id=str(uuid.uuid5(uuid.NAMESPACE_URL, str(path))),
                    vector=vector.tolist(),
                    payload={"path": str(path)},
                )
                for path, vector in zip(batch, vectors, strict=True)
            ],
        )
    seconds = time.perf_counter() - started
    print(json.dumps({"images": len(paths), "seconds": seconds}))
    client.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
