//! What must hold for any bytes from outside.
//!
//! One function for each place where Tidegate reads what it did not write itself, or what a disk
//! may have damaged. Each takes any bytes and panics when a promise is broken. The targets in
//! `fuzz/` call them with what libFuzzer makes up; the test of this crate calls them with the
//! committed seeds and with everything that was ever found, so that both hold the same promises.

mod answer;
mod api;
mod choices;
mod control;
mod detect;
mod folder;
mod manifest;
mod proxy_header;
mod records;
mod request;
mod rollout;
mod sections;
mod state;
mod wire;

/// A promise about any bytes: panics when they break it.
pub type Promise = fn(&[u8]);

/// Every target with its name in `fuzz/`.
pub const TARGETS: &[(&str, Promise)] = &[
    ("answer", answer),
    ("api", api),
    ("control", control),
    ("detect", detect),
    ("manifest", manifest),
    ("proxy-header", proxy_header),
    ("records", records),
    ("request", request),
    ("state", state),
];

/// A manifest is accepted or told what is wrong with it; what is accepted can be planned, and its
/// plans succeed in a world in which everything works.
pub fn manifest(bytes: &[u8]) {
    manifest::hold(bytes);
}

/// Whatever state is stored, whatever comes in and whatever is seen: the state machine answers, the
/// same way each time, and what it answers is the same after it was stored.
pub fn state(bytes: &[u8]) {
    state::hold(bytes);
}

/// Whatever clients send, in whatever pieces: an endpoint gets requests that can be understood in
/// one way only, and none that could not.
pub fn request(bytes: &[u8]) {
    request::hold(bytes);
}

/// Whatever endpoints answer: a client can tell one answer from the next.
pub fn answer(bytes: &[u8]) {
    answer::hold(bytes);
}

/// Whatever is said on the data plane's control socket is answered; a table that is refused changes
/// nothing, and one that is taken is in force, stored, and there again after a restart.
pub fn control(bytes: &[u8]) {
    control::hold(bytes);
}

/// Whatever a connection begins with where it says for whom it is: pieces give what the whole gives,
/// and nothing behind the header is taken.
pub fn proxy_header(bytes: &[u8]) {
    proxy_header::hold(bytes);
}

/// Whatever a disk gives back in place of a file or row: it is read, or said to be damaged, and what
/// is read is the same after it was written again.
pub fn records(bytes: &[u8]) {
    records::hold(bytes);
}

/// Whatever is asked of the API is answered, and a refusal says why.
pub fn api(bytes: &[u8]) {
    api::hold(bytes);
}

/// Whatever is in somebody's folder: the manifest that is written for it is one that is accepted.
pub fn detect(bytes: &[u8]) {
    detect::hold(bytes);
}
