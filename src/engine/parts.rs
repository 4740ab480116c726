//! What several verbs need. A part knows parts, and calls no verb.

pub(crate) mod answer;
pub(crate) mod ask;
pub(crate) mod audience;
pub(crate) mod cursors;
pub(crate) mod limits;
pub(crate) mod lookup;
pub(crate) mod masked;
pub(crate) mod membership;
pub(crate) mod presence;
pub(crate) mod push;
pub(crate) mod receipts;
pub(crate) mod rows;
pub(crate) mod sessions;
pub(crate) mod shares;
pub(crate) mod signed;
pub(crate) mod stamp;
pub(crate) mod unread;
