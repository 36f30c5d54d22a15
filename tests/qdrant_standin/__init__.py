"""A stand-in for a Qdrant server 1.19, for tests: REST and gRPC in a process of its own, strict, with scripted faults.

It is not Qdrant. It keeps points in ``QdrantClient(":memory:")``, answers every query exactly, and knows only the
operations that our server engine uses; the others are answered with 501 or UNIMPLEMENTED. Where the client's
in-memory mode is lax, it refuses as the server is documented to. Start one with ``standin.running()``.
"""
