"""The pure core: from MQTT messages to the documents of the shadows, and nothing that waits, reads or writes."""
