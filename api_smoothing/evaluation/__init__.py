"""From a data set and a provider to numbers: what is certified, how sure, at what price."""
