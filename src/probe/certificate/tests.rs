//! Real handshakes against an in-memory server.
