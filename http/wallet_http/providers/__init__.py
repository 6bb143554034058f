"""The providers behind the engine's ports: real ones, and simulated ones for development."""
