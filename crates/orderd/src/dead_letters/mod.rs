//! Dead letters: messages that could not be taken in, kept in a separate stream. Their form, their storage, and
//! what lists and replays them, for the service, the commands and HTTP.

pub(crate) mod subjects;
pub(crate) mod message;
pub(crate) mod legacy;
pub(crate) mod stream;
pub(crate) mod store;
pub(crate) mod list;
pub(crate) mod replay;
pub(crate) mod watch;
pub(crate) mod counter;
