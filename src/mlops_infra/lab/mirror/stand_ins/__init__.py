"""Sources of the lab's stand-ins: what they replace can be had from no registry that the lab reaches."""
