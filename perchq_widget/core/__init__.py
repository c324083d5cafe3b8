"""Numbers: grids, conventions, affine kernels, ranges, metrics and findings. numpy and ml_dtypes only."""
