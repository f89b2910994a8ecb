"""The practice model: reads instructions, finds evidence in the prompt, composes answers, and judges answers.

Pure functions of their arguments: no clock, no global randomness, no network. Chance is a hash of what is asked.
"""
