"""What every address of the API shares: access, rate limits, problem documents, tracing, bodies."""
