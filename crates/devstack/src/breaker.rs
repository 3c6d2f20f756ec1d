//! A TCP proxy that breaks connections.
