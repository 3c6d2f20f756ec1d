//! Dead letters: refused messages, stored in a separate stream. Their format and storage, and listing and replaying
//! them, for the service, the commands and HTTP.

pub(crate) mod subjects;
pub(crate) mod dead_letter_format;
pub(crate) mod legacy;
pub(crate) mod dead_letter_stream;
pub(crate) mod store;
pub(crate) mod notes;
pub(crate) mod removal;
pub(crate) mod dropping;
pub(crate) mod list;
pub(crate) mod replay;
pub(crate) mod refused_before;
pub(crate) mod watch;
pub(crate) mod counter;
