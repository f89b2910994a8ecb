"""Background calls through the providers' batch APIs: half the price, and an answer within hours.

``running`` plays calls through the same request path as single ones, ``round`` gathers what they ask of a provider into
batches, ``records`` remembers those in SQL, ``openai_batches`` and ``anthropic_batches`` know the wire.
"""
