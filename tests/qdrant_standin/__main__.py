"""``python -m tests.qdrant_standin --rest-port 0 --grpc-port 0`` prints the chosen ports as JSON and serves.

Ends when its standard input ends, so that it cannot outlive the tests that started it.
"""

import argparse
import json
import sys
import threading
import warnings
from pathlib import Path

from tests.qdrant_standin.faults import Script
from tests.qdrant_standin.keys import Keys
from tests.qdrant_standin.rest import RestServer
from tests.qdrant_standin.rpc import serve
from tests.qdrant_standin.store import Store


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.qdrant_standin", description=__doc__)
    parser.add_argument("--rest-port", type=int, default=0)
    parser.add_argument("--grpc-port", type=int, default=0)
    parser.add_argument("--api-key")
    parser.add_argument("--read-only-api-key")
    parser.add_argument("--certificate", type=Path, help="PEM: key and chain; turns TLS on for both transports")
    parser.add_argument("--journal", type=Path, help="file that keeps the collections over a kill -9")
    chosen = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning, module="qdrant_client")

    store, script = Store(chosen.journal), Script()
    keys = Keys(full=chosen.api_key, read_only=chosen.read_only_api_key)
    rest = RestServer(chosen.rest_port, store=store, script=script, keys=keys)
    if chosen.certificate is not None:
        rest.use_tls(chosen.certificate)
    rpc, grpc_port = serve(chosen.grpc_port, store=store, script=script, keys=keys, certificate=chosen.certificate)
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    sys.stdout.write(json.dumps({"rest_port": rest.port, "grpc_port": grpc_port}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    rpc.stop(grace=None).wait()
    rest.shutdown()


if __name__ == "__main__":
    main()
