"""Azure AI Vision: Image Analysis 4.0 and 3.2 through Microsoft's clients."""

from api_smoothing.adapters.azure.adapter import AzureAdapter, credentials, load

__all__ = ["AzureAdapter", "credentials", "load"]
