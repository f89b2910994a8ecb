"""What is configured and stored in Prefect: credentials, connections and policies, and no business logic.

Every block has a default for each field (a required one added later would break saved blocks), and is saved under the
name ``default`` by ``promptyard up`` from the same values that the gateway reads from its environment.
"""
