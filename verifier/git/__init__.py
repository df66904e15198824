"""Reading git repositories: what a pull request changes, and record folders straight from the object store."""
