"""Triton kernels of the similarity ops, for CUDA devices; in Triton's interpreter they run on the CPU."""
