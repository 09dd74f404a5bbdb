//! Sockets and HTTP: warp lives here and nowhere else.

pub mod accept;
pub mod credentials;
pub mod origin;
pub mod refusal;
pub mod upgrade;
