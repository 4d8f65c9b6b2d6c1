//! Messages and descriptors as packets of a `SOCK_SEQPACKET` socket, for both ends.
