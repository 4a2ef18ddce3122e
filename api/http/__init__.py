"""Headers and bodies to values and back; who may ask; how errors are told."""
