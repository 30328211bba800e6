//! Static sites.

mod body;
mod content_type;
mod range;
mod site;

pub(crate) use body::FileBody;
pub(crate) use site::Site;
