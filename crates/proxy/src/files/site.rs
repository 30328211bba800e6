//! Which file answers a request.

use std::{
    fs::{File, Metadata},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
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
use tidegate_types::RevisionId;

use super::{
    body::FileBody,
    content_type,
    range::{self, Range},
};
use crate::{answer::AnswerKind, path, ticket::Ticket};

/// A folder that is served.
#[derive(Debug)]
pub(crate) struct Site {
    root: PathBuf,
    single_page: bool,
    /// Part of every entity tag: a build may give all files of all releases the same time.
    tag: u64,
}

/// What answers a path.
#[derive(Debug)]
enum Found {
    File(PathBuf),
    /// A folder asked for without its slash.
    Folder,
    Nothing,
}

impl Site {
    pub(crate) fn new(root: PathBuf, single_page: bool, revision: &RevisionId) -> Self {
        let mut hasher = DefaultHasher::new();
        revision.hash(&mut hasher);
        Self { root, single_page, tag: hasher.finish() }
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
            tracing::warn!(root = %self.root.display(), %error, "a file cannot be served");
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
        let Ok(root) = self.root.canonicalize() else {
            return Err(std::io::Error::other("the folder of the site is not there"));
        };
        match find(&root, target.path())? {
            Found::File(path) => self.open(request, &root, &path),
            Found::Folder => Ok(redirect(request.uri())),
            Found::Nothing => {
                let index = root.join("index.html");
                let name = target.path().rsplit('/').next().unwrap_or_default();
                if self.single_page && !name.contains('.') && index.is_file() {
                    return self.open(request, &root, &index);
                }
                Ok(text(StatusCode::NOT_FOUND, "There is no such page.\n"))
            }
        }
    }

    fn open<B>(
        &self,
        request: &Request<B>,
        root: &Path,
        path: &Path,
    ) -> std::io::Result<Response<Content>> {
        let headers = request.headers();
        let extension = path.extension().and_then(|name| name.to_str()).unwrap_or("");
        let (file, metadata, encoding) = open_encoded(root, path, headers)?;
        let length = metadata.len();
        let tag = self.entity_tag(&metadata, encoding);

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

    fn entity_tag(&self, metadata: &Metadata, encoding: Option<&str>) -> HeaderValue {
        let (length, time) = (metadata.len(), metadata.mtime());
        let encoding = encoding.unwrap_or("");
        let text = format!("\"{:x}-{length:x}-{time:x}{encoding}\"", self.tag);
        value(&text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    }
}

enum Content {
    Text(Option<Bytes>),
    File(FileBody),
}

fn find(root: &Path, path: &str) -> std::io::Result<Found> {
    let Some(relative) = path::decode(path)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|path| !path.contains(['\0', '\\']))
    else {
        return Ok(Found::Nothing);
    };
    let relative = relative.trim_start_matches('/');
    if relative.split('/').any(|part| matches!(part, "." | ".."))
        || relative.contains("//")
        || path.starts_with("//")
    {
        return Ok(Found::Nothing);
    }
    let Some(found) = within(root, &root.join(relative))? else {
        return Ok(Found::Nothing);
    };
    let wants_folder = relative.is_empty() || relative.ends_with('/');
    match (found.is_dir(), wants_folder) {
        (true, false) => Ok(Found::Folder),
        (false, false) => Ok(Found::File(found)),
        (false, true) => Ok(Found::Nothing),
        (true, true) => Ok(within(root, &found.join("index.html"))?
            .filter(|index| index.is_file())
            .map_or(Found::Nothing, Found::File)),
    }
}

/// The real place of a path if it is below `root`, wherever symbolic links lead.
fn within(root: &Path, path: &Path) -> std::io::Result<Option<PathBuf>> {
    use std::io::ErrorKind::{InvalidFilename, NotADirectory, NotFound, PermissionDenied};
    match path.canonicalize() {
        Ok(real) if real.starts_with(root) => Ok(Some(real)),
        Ok(_) => Ok(None),
        Err(error)
            if matches!(
                error.kind(),
                NotFound | NotADirectory | PermissionDenied | InvalidFilename
            ) || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Opens the file, or what was compressed of it beforehand if the client takes that.
fn open_encoded(
    root: &Path,
    path: &Path,
    headers: &HeaderMap,
) -> std::io::Result<(File, Metadata, Option<&'static str>)> {
    for (encoding, suffix) in [("br", ".br"), ("gzip", ".gz")] {
        if !accepts(headers, encoding) {
            continue;
        }
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        if let Some(compressed) = within(root, Path::new(&name))?
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
