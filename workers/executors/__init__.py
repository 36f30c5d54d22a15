"""Executors: where shards run. Each only turns shards into futures; ``workers.run.loop`` does the rest, for all."""
