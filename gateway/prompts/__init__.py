"""Managed prompts on the online path: templates, who gets which version, and how a change of that arrives."""
