"""``make demo``: a prompt's whole life in a few minutes, on real servers, each step checked."""
