"""One module for each wire protocol, named after it: ``openai.py`` is ``protocol: openai``.

A module offers ``provider(name, settings, chain, clock) -> Provider``; ``build.py`` finds it by its name alone. It is
imported only when a configured provider speaks its protocol, as the SDKs take long to import.
"""
