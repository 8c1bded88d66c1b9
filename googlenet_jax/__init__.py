"""GoogLeNet (Inception v1) in JAX and Flax, as a codebase for research."""

__version__ = '0.1.0'
