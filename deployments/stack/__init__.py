"""The local stack: everything promptyard needs, started, watched and stopped on one machine."""
