"""The Greengrass nucleus: the link to it over IPC, and what comes and goes by that link."""
