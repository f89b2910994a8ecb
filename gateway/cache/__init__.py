"""The answer cache: what may be kept, under which key, for how long, and when it is no longer true."""
