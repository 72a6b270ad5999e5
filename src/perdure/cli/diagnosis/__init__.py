"""Why a run is where it is, and which command is the next."""
