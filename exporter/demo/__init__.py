"""A stand-in cluster and registry over real HTTP, filled with a real Mojaloop release."""
