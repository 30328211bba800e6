//! Static sites.

mod body;
mod content_type;
mod fingerprint;
mod folder;
mod range;
mod site;

pub(crate) use body::FileBody;
pub(crate) use site::Site;
