"""The page: what an instrument scientist opens every morning, over the archive that `calib` keeps."""
