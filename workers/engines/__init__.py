"""Executors: where shards run. Each only turns shards into futures; ``workers.run`` does the rest, once for all."""
