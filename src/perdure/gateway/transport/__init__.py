"""From a transport library to the neutral core and back, the same for httpx and httpx2."""
