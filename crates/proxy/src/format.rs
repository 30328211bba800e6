//! In which form a client wants to read what the proxy says itself.

use http::{HeaderValue, Request, header::ACCEPT};

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For all who name none of the others.
    Text,
    /// For programs.
    Json,
    /// For browsers.
    Html,
}

impl Format {
    /// Which one a request asks for. A browser names HTML and everything else as well.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        Self::of_accept(request.headers().get(ACCEPT).map(HeaderValue::as_bytes))
    }

    /// Which one a header `Accept` asks for.
    pub(crate) fn of_accept(accept: Option<&[u8]>) -> Self {
        let accept = accept.and_then(|accept| std::str::from_utf8(accept).ok()).unwrap_or("");
        if accept.contains("text/html") {
            Self::Html
        } else if accept.contains("application/json") {
            Self::Json
        } else {
            Self::Text
        }
    }

    /// As the header `Content-Type` has it.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Html => "text/html; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
        }
    }
}

/// A page for people, without anything that has to be asked for elsewhere.
pub(crate) fn page(status: u16, title: &str, sentence: &str) -> String {
    let (title, sentence) = (escaped(title), escaped(sentence));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n\
         <style>:root{{color-scheme:light dark;font:1.1rem/1.5 system-ui,sans-serif}}\
         main{{max-width:34rem;margin:20vh auto;padding:0 1rem}}\
         small{{opacity:.6}}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
         <p>{sentence}</p>\n<p><small>{status}</small></p>\n</main>\n</body>\n</html>\n"
    )
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_pages_and_programs_get_data() {
        for (accept, wanted) in [
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("application/json"), Format::Json),
            (Some("application/json, text/plain, */*"), Format::Json),
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Format::Html),
        ] {
            let mut request = Request::new(());
            if let Some(accept) = accept {
                request.headers_mut().insert(ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(Format::of(&request), wanted, "{accept:?}");
        }
    }

    #[test]
    fn nothing_that_is_written_becomes_part_of_a_page() {
        let page = page(503, "a & b", "<script>alert(\"x\")</script> it's");
        assert!(page.contains("<h1>a &amp; b</h1>"), "{page}");
        let wanted = "<p>&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; it&#39;s</p>";
        assert!(page.contains(wanted), "{page}");
    }
}
