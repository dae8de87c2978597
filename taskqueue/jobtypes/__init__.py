"""Says what may run: the `@job` decorator, the signature as the contract of a payload, retries and limits."""
