//! Who a client is: credentials to principals.

/// Where in a request or on a connection a credential was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `Authorization: Bearer …`.
    Header,
    /// The offered subprotocol `bearer.…`.
    Subprotocol,
    /// The query parameter `token`.
    Query,
    /// A first message `auth`.
    Message,
}
