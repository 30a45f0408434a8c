"""facepay's working parts: everything that is neither a schema, an agent's entry point, nor a load test."""
