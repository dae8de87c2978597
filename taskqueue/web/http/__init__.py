"""What all addresses of the API share: access, rate limits, problem documents, tracing, bodies."""
