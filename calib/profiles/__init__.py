"""The shipped instrument profiles, one TOML file each."""
