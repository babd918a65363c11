"""The archive: a folder of products and one database; the only part of the core that writes."""
