//! Which file answers a request.

use std::{
    fs::{File, Metadata},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{
        ACCEPT_ENCODING, ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
        CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE,
        VARY,
    },
};
use tidegate_types::{RevisionId, data_plane::OtherFiles};

use super::{
    body::FileBody,
    content_type, fingerprint,
    folder::{Folder, Found, OpenFolder},
    range::{self, Range},
};
use crate::{answer::AnswerKind, ticket::Ticket};

/// A site that is served.
#[derive(Debug)]
pub(crate) struct Site {
    folder: Folder,
    single_page: bool,
    /// Of other releases, the newest first.
    others: Vec<Folder>,
}

impl Site {
    pub(crate) fn new(
        root: &Path,
        revision: &RevisionId,
        single_page: bool,
        others: &[OtherFiles],
    ) -> Self {
        let other = |other: &OtherFiles| Folder::new(&other.root, &other.revision);
        Self {
            folder: Folder::new(root, revision),
            single_page,
            others: others.iter().map(other).collect(),
        }
    }

    /// Answers a request for `target`, which is the request's own without the route's prefix.
    pub(crate) fn answer<B>(
        &self,
        request: &Request<B>,
        target: &Uri,
        mut ticket: Ticket,
    ) -> Response<AnswerKind> {
        let response = match *request.method() {
            Method::GET | Method::HEAD => self.find_and_open(request, target),
            _ => {
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD.\n");
                let methods = HeaderValue::from_static("GET, HEAD");
                response.headers_mut().insert(ALLOW, methods);
                Ok(response)
            }
        };
        let response = response.unwrap_or_else(|error| {
            tracing::warn!(root = %self.folder.root().display(), %error, "a file cannot be served");
            text(StatusCode::INTERNAL_SERVER_ERROR, "The file cannot be read.\n")
        });
        ticket.answered(response.status());
        response.map(|content| match content {
            Content::Text(text) => {
                ticket.sends(text.as_ref().map_or(0, Bytes::len));
                ticket.complete();
                AnswerKind::Fixed(text)
            }
            Content::File(file) => {
                if file.left() == 0 {
                    ticket.complete();
                }
                AnswerKind::File(file, ticket)
            }
        })
    }

    fn find_and_open<B>(
        &self,
        request: &Request<B>,
        target: &Uri,
    ) -> std::io::Result<Response<Content>> {
        let Some(folder) = self.folder.open() else {
            return Err(std::io::Error::other("the folder of the site is not there"));
        };
        match folder.find(target.path())? {
            Found::File(path) => answer(request, &folder, &path),
            Found::Folder => Ok(redirect(request.uri())),
            Found::Nothing => {
                if let Some(response) = self.of_another(request, target) {
                    return Ok(response);
                }
                let index = folder.path().join("index.html");
                let name = target.path().rsplit('/').next().unwrap_or_default();
                if self.single_page && !name.contains('.') && index.is_file() {
                    return answer(request, &folder, &index);
                }
                Ok(text(StatusCode::NOT_FOUND, "There is no such page.\n"))
            }
        }
    }

    /// The answer from another release, to a page that came from there. Only a file whose name says
    /// what is in it: of anything else this release says what there is, also by not having it.
    fn of_another<B>(&self, request: &Request<B>, target: &Uri) -> Option<Response<Content>> {
        if self.others.is_empty() || !fingerprint::is_in(target.path()) {
            return None;
        }
        // One that has gone meanwhile, or cannot be read, is none.
        self.others.iter().filter_map(Folder::open).find_map(|folder| {
            match folder.find(target.path()) {
                Ok(Found::File(path)) if !is_page(&path) => answer(request, &folder, &path).ok(),
                _ => None,
            }
        })
    }
}

/// Whether a file is a page, compressed or not.
fn is_page(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').skip(1).any(fingerprint::is_of_page)
}

/// A file, as far as the client wants it.
fn answer<B>(
    request: &Request<B>,
    folder: &OpenFolder,
    path: &Path,
) -> std::io::Result<Response<Content>> {
    let headers = request.headers();
    let extension = path.extension().and_then(|name| name.to_str()).unwrap_or("");
    let (file, metadata, encoding) = open_encoded(folder, path, headers)?;
    let length = metadata.len();
    let tag = entity_tag(folder.tag(), &metadata, encoding);

    let mut response = Response::new(Content::File(FileBody::empty()));
    let out = response.headers_mut();
    let cache = if extension.starts_with("htm") { "no-cache" } else { "public, max-age=3600" };
    out.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    out.insert(ETAG, tag.clone());
    out.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if headers.get_all(IF_NONE_MATCH).iter().any(|known| names_tag(known, &tag)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    out.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let content_type = content_type::of(extension);
    out.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(encoding) = encoding {
        out.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    let (first, count) = match wanted_range(headers, &tag, length) {
        Range::Whole => (0, length),
        Range::Part { first, last } => {
            out.insert(CONTENT_RANGE, value(&format!("bytes {first}-{last}/{length}"))?);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            (first, last - first + 1)
        }
        Range::Unsatisfiable => {
            out.insert(CONTENT_RANGE, value(&format!("bytes */{length}"))?);
            out.remove(CONTENT_ENCODING);
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            return Ok(response);
        }
    };
    let out = response.headers_mut();
    out.insert(CONTENT_LENGTH, HeaderValue::from(count));
    if request.method() == Method::GET {
        *response.body_mut() = Content::File(FileBody::new(file, first, count));
    }
    Ok(response)
}

fn entity_tag(folder: u64, metadata: &Metadata, encoding: Option<&str>) -> HeaderValue {
    let (length, time) = (metadata.len(), metadata.mtime());
    let encoding = encoding.unwrap_or("");
    let text = format!("\"{folder:x}-{length:x}-{time:x}{encoding}\"");
    value(&text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

enum Content {
    Text(Option<Bytes>),
    File(FileBody),
}

/// Opens the file, or what was compressed of it beforehand if the client takes that.
fn open_encoded(
    folder: &OpenFolder,
    path: &Path,
    headers: &HeaderMap,
) -> std::io::Result<(File, Metadata, Option<&'static str>)> {
    for (encoding, suffix) in [("br", ".br"), ("gzip", ".gz")] {
        if !accepts(headers, encoding) {
            continue;
        }
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        if let Some(compressed) = folder.within(Path::new(&name))?
            && let Ok(file) = File::open(compressed)
            && let Ok(metadata) = file.metadata()
            && metadata.is_file()
        {
            return Ok((file, metadata, Some(encoding)));
        }
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata, None))
}

fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|choice| {
            let mut parts = choice.split(';').map(str::trim);
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case(encoding))
                && !parts.any(|weight| {
                    weight.strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0_f32))
                })
        })
}

fn names_tag(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(known), Ok(tag)) = (known.to_str(), tag.to_str()) else {
        return false;
    };
    known
        .split(',')
        .map(str::trim)
        .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// A part is only good together with parts of the same file.
fn wanted_range(headers: &HeaderMap, tag: &HeaderValue, length: u64) -> Range {
    match (text_of(headers, &RANGE), headers.get(IF_RANGE)) {
        (None, _) => Range::Whole,
        (Some(_), Some(condition)) if condition != tag => Range::Whole,
        (Some(wanted), _) => range::parse(wanted, length),
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn value(text: &str) -> std::io::Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(std::io::Error::other)
}

fn text(status: StatusCode, sentence: &'static str) -> Response<Content> {
    let mut response = Response::new(Content::Text(Some(Bytes::from_static(sentence.as_bytes()))));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// To the same path with a slash, so that relative links in its index work.
fn redirect(uri: &Uri) -> Response<Content> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let Ok(location) = HeaderValue::from_str(&format!("{}/{query}", uri.path())) else {
        return text(StatusCode::NOT_FOUND, "There is no such page.\n");
    };
    let mut response = text(StatusCode::PERMANENT_REDIRECT, "Add a slash.\n");
    response.headers_mut().insert(LOCATION, location);
    response
}
