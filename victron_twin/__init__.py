"""Victron Twin: a digital twin of a Victron Energy site in AWS IoT device shadows."""

__version__ = "0.1.0"
