"""Flask ingress: parse, call a use case, shape the answer."""
