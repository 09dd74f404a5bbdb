//! Sockets and HTTP: warp lives here and nowhere else.
