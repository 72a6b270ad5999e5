"""The command line. One command a file; ``main`` loads each only when it is called."""
