"""A static site that runs an app file in browsers."""
