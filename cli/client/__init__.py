"""One API as the commands see it: its address, requests, answers."""
