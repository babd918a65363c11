"""Small browser components: markup with events, the browser itself."""
