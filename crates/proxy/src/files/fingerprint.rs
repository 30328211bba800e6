//! Names that say what is in a file.
//!
//! Build tools put a hash of a file's content into its name: `app.3f9c1a2b.js`. A path with one in
//! it means the same bytes in every release that has it. There is no agreed form, so this is a
//! guess, and it leans towards yes: taken for a fingerprint by mistake, a file that a release has
//! dropped is answered a while longer; not recognised, an open page breaks.

/// Whether a path, as it stands in a request, leads to a file that is not a page and has a
/// fingerprint in its name, or is in a folder that has one.
pub(crate) fn is_in(path: &str) -> bool {
    let mut segments = path.rsplit('/');
    let Some((stem, extension)) = segments.next().and_then(|name| name.rsplit_once('.')) else {
        return false;
    };
    if is_of_page(extension) {
        return false;
    }
    ends_in_one(stem) || has_one(stem) || segments.any(has_one)
}

/// Whether a file whose name has this extension is a page.
pub(crate) fn is_of_page(extension: &str) -> bool {
    ["html", "htm", "xhtml", "shtml"].iter().any(|page| extension.eq_ignore_ascii_case(page))
}

fn has_one(segment: &str) -> bool {
    segment.split(['.', '-', '_']).any(is_one)
}

/// What stands between two separators. A word, also with a number behind it, is none.
fn is_one(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    if part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return match part.len() {
            0..4 => false,
            4..6 => digits > 0 && digits < part.len(),
            6..8 => digits > 0,
            _ => true,
        };
    }
    let word = part.trim_end_matches(|last: char| last.is_ascii_digit());
    part.len() >= 8
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && (word.bytes().any(|byte| byte.is_ascii_digit())
            || part.len() == 8 && part.bytes().skip(1).any(|byte| byte.is_ascii_uppercase()))
}

/// Eight characters at the end, as bundlers that count in base 64 have them: there may be separators
/// among them.
fn ends_in_one(stem: &str) -> bool {
    let Some((name, end)) = stem.len().checked_sub(8).and_then(|at| stem.split_at_checked(at))
    else {
        return false;
    };
    name.ends_with(['-', '.'])
        && end.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        && !end.bytes().all(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_build_tools_are_recognised() {
        for path in [
            // webpack, with shorter and longer hashes
            "/app.3f9c.js",
            "/static/js/main.8d3f1a2b.js",
            "/static/js/787.28cb0dcd.chunk.js.map",
            "/main.4d0e3c9b5a7f8e1d2c3b.css",
            // Vite and Rollup
            "/assets/index-BkQ3dXyZ.js",
            "/assets/index-BkQWdXyZ.js",
            "/assets/index-D_5xa-3k.js",
            "/assets/logo-ZxDrb_pQ.svg",
            // esbuild, Angular
            "/chunk-ABCDEFGH.js",
            "/main-5QK2XJ7H.js",
            // Next.js: also in a folder
            "/_next/static/x8Sd4fQ0sFaa91kLmN3pq/_buildManifest.js",
            "/_next/static/chunks/app/page-1c0a2f6d6ad7ab3e.js",
            // Nuxt, SvelteKit, Astro, Parcel, Hugo
            "/_nuxt/Bx3fL9aQ.js",
            "/_app/immutable/chunks/entry.Xyz123_4.js",
            "/_astro/index.DfT3kqZ1.css",
            "/index.4f2a1b9c.js",
            "/main.min.3b1f5c20b8d6e9f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f70819.css",
        ] {
            assert!(is_in(path), "{path}");
        }
    }

    #[test]
    fn names_of_people_and_pages_are_not() {
        for path in [
            "/",
            "",
            "/app.js",
            "/docs/",
            "/orders/3f9c1a2b",
            "/orders/3f9c1a2b/",
            "/index.html",
            "/page-3f9c1a2b.html",
            "/page.3f9c1a2b.HTM",
            "/x8Sd4fQ0sFaa91kLmN3pq/",
            "/x8Sd4fQ0sFaa91kLmN3pq/index.html",
            "/sw.js",
            "/service-worker.js",
            "/firebase-messaging-sw.js",
            "/ngsw-worker.js",
            "/manifest.json",
            "/manifest.webmanifest",
            "/robots.txt",
            "/sitemap.xml",
            "/favicon.ico",
            "/apple-touch-icon.png",
            "/.well-known/security.txt",
            "/images/section12.png",
            "/css/bootstrap5.min.css",
            "/js/jquery-3.7.1.min.js",
            "/img/photo-2024.jpg",
            "/fonts/inter-regular.woff2",
            "/js/myComponent.js",
            "/é-ééé.js",
        ] {
            assert!(!is_in(path), "{path}");
        }
    }
}
