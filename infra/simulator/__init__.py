"""A stand-in for the model providers: OpenAI's and Anthropic's wire protocols before a small practice model.

It imports nothing of the project but itself and is started as a process: ``python -m infra.simulator``.
"""
