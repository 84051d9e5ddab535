"""From what the cloud desires to the GX, and back: journal, writes, service."""
