"""What calls to a service have in common: time limits, proxies, SDKs, messages without secrets, gRPC."""
