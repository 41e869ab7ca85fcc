"""From query indices to outcomes: noise, denoiser, request, retries, drift."""
