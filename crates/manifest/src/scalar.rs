//! Single values: which texts they take and what is said about others.

use tidegate_types::{ComponentName, Duration, InvalidNetwork, Network, Share};

use crate::{
    guard, suggest, variable,
    yaml::{Scalar, ScalarKind},
};

/// The longest time that can be asked for; keeps sums of times far from overflow.
pub(crate) const LONGEST: Duration = Duration::from_hours(24 * 365);

/// What a single value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// A shell command.
    Command,
    /// Name of a project, a component or an environment.
    Name,
    /// `true` or `false`.
    Boolean,
    /// A whole number between two.
    Integer { least: u32, most: u32 },
    /// A duration, 0 included.
    Duration,
    /// A duration above 0.
    PositiveDuration,
    /// A share of traffic.
    Share,
    /// A number of bytes.
    Size,
    /// A file or folder of the repository.
    Path,
    /// A file of the machine that serves.
    AbsolutePath,
    /// The path of a URL.
    UrlPath,
    /// The name of a host.
    Host,
    /// The name of a header by whose value visitors can be known.
    Header,
    /// An address and a port.
    Address,
    /// An address, or all that begin alike.
    Network,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Text, number or boolean, taken as written.
    Verbatim,
    /// The type of a variable.
    VariableType,
    /// A guard.
    Guard,
}

/// Why a value is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) label: Option<String>,
    pub(crate) help: Option<String>,
    /// The part of the text that is wrong, in bytes; all of it when absent.
    pub(crate) part: Option<(usize, usize)>,
}

impl Fault {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), label: None, help: None, part: None }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn part(mut self, start: usize, end: usize) -> Self {
        self.part = Some((start, end));
        self
    }
}

const SIZE_UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Bytes, from text such as `8MiB`; at most 1 TiB.
pub(crate) fn size(text: &str) -> Option<u64> {
    let (digits, unit) =
        SIZE_UNITS.into_iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let bytes = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=1 << 40).contains(&bytes).then_some(bytes)
}

/// A path of the repository without `./` in front and `/` behind.
pub(crate) fn tidy_path(text: &str) -> String {
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

impl Kind {
    /// What such a value is called in messages.
    pub(crate) fn noun(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Command => "a shell command".to_owned(),
            Self::Name => "a name".to_owned(),
            Self::Boolean => "`true` or `false`".to_owned(),
            Self::Integer { least, most } => format!("a whole number from {least} to {most}"),
            Self::Duration | Self::PositiveDuration => "a duration such as `30s`".to_owned(),
            Self::Share => "a share such as `10%`".to_owned(),
            Self::Size => "a size such as `8MiB`".to_owned(),
            Self::Path => "a path in the repository".to_owned(),
            Self::AbsolutePath => "an absolute path".to_owned(),
            Self::UrlPath => "a URL path such as `/api`".to_owned(),
            Self::Host => "a host name".to_owned(),
            Self::Header => "the name of a header such as `X-User-Id`".to_owned(),
            Self::Address => "an address such as `127.0.0.1:8080`".to_owned(),
            Self::Network => "a network such as `10.0.0.0/8`".to_owned(),
            Self::Choice(words) => suggest::list(words.iter().copied(), "or"),
            Self::Verbatim => "text, a number or a boolean".to_owned(),
            Self::VariableType => "the type of a variable".to_owned(),
            Self::Guard => "a guard such as `error_rate > 5% for 2m`".to_owned(),
        }
    }

    /// Whether the value may stand here.
    pub(crate) fn check(self, scalar: &Scalar) -> Result<(), Fault> {
        let text = scalar.text.as_str();
        if text.contains('\0') {
            return Err(
                Fault::new("bad-text", "U+0000 cannot be passed to a process").help("remove it")
            );
        }
        match self {
            Self::Verbatim => Ok(()),
            Self::Text => plain_text(scalar),
            Self::Command => plain_text(scalar).and_then(|()| {
                if text.trim().is_empty() {
                    Err(Fault::new("bad-text", "the command is empty")
                        .help("write what runs, as you would type it in a shell"))
                } else {
                    Ok(())
                }
            }),
            Self::Name => plain_text(scalar).and_then(|()| name(text)),
            Self::Boolean => boolean(scalar),
            Self::Integer { least, most } => integer(scalar, least, most),
            Self::Duration | Self::PositiveDuration => {
                duration(text, self == Self::PositiveDuration)
            }
            Self::Share => share(text),
            Self::Size => size(text).map(|_| ()).ok_or_else(|| {
                let fault = Fault::new("bad-size", format!("`{text}` is not a size"));
                let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
                let unit = text[number.len()..].trim().to_ascii_lowercase();
                let unit = match unit.as_bytes().first() {
                    Some(b'k') => "KiB",
                    Some(b'g') => "GiB",
                    _ => "MiB",
                };
                let guess = format!("{number}{unit}");
                fault.help(if size(&guess).is_some() && !number.is_empty() {
                    format!("sizes are written with KiB, MiB or GiB: `{guess}`")
                } else {
                    "sizes are whole numbers with KiB, MiB or GiB, as in `8MiB`".to_owned()
                })
            }),
            Self::Path => plain_text(scalar).and_then(|()| path(text)),
            Self::AbsolutePath => plain_text(scalar).and_then(|()| absolute_path(text)),
            Self::UrlPath => url_path(text),
            Self::Host => plain_text(scalar).and_then(|()| host(text)),
            Self::Header => plain_text(scalar).and_then(|()| header(text)),
            Self::Address => address(text),
            Self::Network => network(text),
            Self::Choice(words) => choice(text, words),
            Self::VariableType => variable::parse_type(text).map(|_| ()),
            Self::Guard => guard::parse(text).map(|_| ()),
        }
    }
}

fn plain_text(scalar: &Scalar) -> Result<(), Fault> {
    let text = scalar.text.as_str();
    let what = match scalar.kind() {
        ScalarKind::Text => return Ok(()),
        ScalarKind::Boolean => "a boolean",
        ScalarKind::Integer | ScalarKind::Number => "a number",
    };
    Err(Fault::new("wrong-type", format!("text is expected, but `{text}` is {what}"))
        .help(format!("put it in quotes: \"{text}\"")))
}

fn name(text: &str) -> Result<(), Fault> {
    let Err(error) = text.parse::<ComponentName>() else {
        return Ok(());
    };
    let mut guess: String = text
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    guess = guess
        .trim_start_matches(|c: char| !c.is_ascii_lowercase())
        .trim_end_matches('-')
        .to_owned();
    let fault = Fault::new("bad-name", error.to_string());
    Err(if guess.parse::<ComponentName>().is_ok() {
        fault.help(format!("for example `{guess}`"))
    } else {
        fault
    })
}

fn boolean(scalar: &Scalar) -> Result<(), Fault> {
    if scalar.kind() == ScalarKind::Boolean {
        return Ok(());
    }
    let text = scalar.text.as_str();
    let fault =
        Fault::new("wrong-type", format!("`true` or `false` is expected, but this is `{text}`"));
    Err(match text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "y" | "true" | "1" => fault.help("write `true`, without quotes"),
        "no" | "off" | "n" | "false" | "0" => fault.help("write `false`, without quotes"),
        _ => fault,
    })
}

fn integer(scalar: &Scalar, least: u32, most: u32) -> Result<(), Fault> {
    let text = scalar.text.as_str();
    let range = Kind::Integer { least, most }.noun();
    let range = if least == most { format!("`{least}`") } else { range };
    match text.parse::<u32>() {
        Ok(number) if (least..=most).contains(&number) && scalar.kind() == ScalarKind::Integer => {
            Ok(())
        }
        Ok(number) if (least..=most).contains(&number) => Err(Fault::new(
            "wrong-type",
            format!("a number is expected, but \"{text}\" in quotes is text"),
        )
        .help("remove the quotes")),
        _ if scalar.kind() == ScalarKind::Text => Err(Fault::new(
            "wrong-type",
            format!("{range} is expected, but this is the text `{text}`"),
        )),
        _ => Err(Fault::new("out-of-range", format!("{range} is expected, but this is {text}"))),
    }
}

/// Reads a duration and says what is wrong with it.
pub(crate) fn duration(text: &str, positive: bool) -> Result<(), Fault> {
    let fault = Fault::new("bad-duration", format!("`{text}` is not a duration"));
    match text.parse::<Duration>() {
        Ok(duration) if duration > LONGEST => {
            Err(Fault::new("bad-duration", format!("`{text}` is longer than a year")))
        }
        Ok(duration) if positive && duration.is_zero() => {
            Err(Fault::new("bad-duration", "this time has to be longer than nothing")
                .help("write a time such as `1s`"))
        }
        Ok(_) => Ok(()),
        Err(_) => Err(fault.help(duration_help(text))),
    }
}

fn duration_help(text: &str) -> String {
    let compact: String =
        text.to_ascii_lowercase().chars().filter(|c| !c.is_whitespace()).collect();
    if !compact.is_empty() && compact.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("say of what: `{compact}s` for seconds, `{compact}m` for minutes");
    }
    let number = compact.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &compact[number.len()..] {
        "ms" | "milliseconds" | "millis" => "ms",
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        _ => "",
    };
    let guess = format!("{number}{unit}");
    if guess.parse::<Duration>().is_ok() {
        format!("write `{guess}`")
    } else {
        "write whole numbers with units from large to small: `500ms`, `30s`, `5m`, `24h`, `7d`, `1h30m`"
            .to_owned()
    }
}

fn share(text: &str) -> Result<(), Fault> {
    if text.parse::<Share>().is_ok() {
        return Ok(());
    }
    let fault = Fault::new("bad-share", format!("`{text}` is not a share of the traffic"));
    let compact = text.trim_end_matches('%').trim().trim_end_matches(" percent");
    let guess = format!("{compact}%");
    let fraction = compact.parse::<f64>().ok().filter(|part| *part > 0.0 && *part < 1.0);
    Err(if let Some(fraction) = fraction {
        let whole = format!("{:.2}", fraction * 100.0);
        let whole = whole.trim_end_matches('0').trim_end_matches('.');
        fault.help(format!("shares are percentages: write `{whole}%`"))
    } else if guess.parse::<Share>().is_ok() && guess != text {
        fault.help(format!("shares are percentages: write `{guess}`"))
    } else {
        fault.help("shares are percentages from `0%` to `100%`, with at most two decimals: `0.5%`")
    })
}

fn path(text: &str) -> Result<(), Fault> {
    let fault = |message: String| Fault::new("bad-path", message);
    if text.trim().is_empty() {
        return Err(fault("the path is empty".to_owned()).help("write `.` for the whole"));
    }
    if text.starts_with(['/', '~']) || text.contains('\\') || text.get(1..2) == Some(":") {
        let help = if text.contains('\\') {
            format!("write it with `/`: `{}`", text.replace('\\', "/"))
        } else {
            "write it relative to the folder of the repository, as in `apps/api`".to_owned()
        };
        return Err(fault(format!("`{text}` is not a path inside the repository")).help(help));
    }
    if text.split('/').any(|part| part == "..") {
        return Err(fault(format!("`{text}` leaves the repository")).help(
            "a release is made from one commit of this repository and nothing else: remove `..`",
        ));
    }
    if text.split('/').any(|part| part == ".git") {
        return Err(fault(format!("`{text}` is git's own folder")));
    }
    Ok(())
}

fn absolute_path(text: &str) -> Result<(), Fault> {
    let fault = |message: String| Fault::new("bad-path", message);
    if text.len() < 2 || !text.starts_with('/') {
        return Err(fault(format!("`{text}` is not an absolute path"))
            .help("write where it is on the machine that serves, as in `/etc/ssl/shop.pem`"));
    }
    if text.contains(char::is_control) {
        return Err(fault("the path has a control character".to_owned()));
    }
    Ok(())
}

fn url_path(text: &str) -> Result<(), Fault> {
    let fault = |message: &str| Fault::new("bad-url-path", format!("`{text}` {message}"));
    if !text.starts_with('/') {
        return Err(fault("is not a URL path: it starts with no `/`").help(format!(
            "write `/{}`",
            text.trim_start_matches("http://").trim_start_matches("https://")
        )));
    }
    if let Some(index) = text.find(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
        let length = text[index..].chars().next().map_or(1, char::len_utf8);
        return Err(fault("has a character that no URL path has").part(index, index + length));
    }
    Ok(())
}

/// Headers that say something about the connection, the message or all visitors at once.
const NOT_OF_A_VISITOR: [&str; 16] = [
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "tidegate-mirror",
    "tidegate-revision",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn header(text: &str) -> Result<(), Fault> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || text.len() > 100 || !text.bytes().all(is_name) {
        let fault = Fault::new("bad-header", format!("`{text}` is not the name of a header"));
        return Err(fault.help("write the name alone, without a colon, as in `X-User-Id`"));
    }
    if NOT_OF_A_VISITOR.iter().any(|name| name.eq_ignore_ascii_case(text)) {
        let fault = Fault::new("bad-header", format!("`{text}` does not say who a visitor is"));
        return Err(if text.eq_ignore_ascii_case("cookie") {
            fault.help("write `sticky: cookie`; the proxy gives visitors a cookie of its own")
        } else {
            fault.help("name a header that has another value for each visitor, as `X-User-Id` has")
        });
    }
    Ok(())
}

fn host(text: &str) -> Result<(), Fault> {
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        return Ok(());
    }
    let guess = text
        .trim_start_matches("https://")
        .trim_start_matches("http://")
        .split(['/', ':'])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let fault = Fault::new("bad-host", format!("`{text}` is not the name of a host"));
    Err(if guess.contains('*') {
        fault
            .help("this version has no wildcards: name each host; a route without `host` takes any")
    } else if guess.split('.').all(label) {
        fault.help(format!("write the name alone, in lower case: `{guess}`"))
    } else {
        fault.help("write a name such as `shop.example.com`, or leave `host` out for any")
    })
}

fn address(text: &str) -> Result<(), Fault> {
    let fault = Fault::new("bad-address", format!("`{text}` is no address to listen on"));
    match text.parse::<std::net::SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(()),
        Ok(_) => Err(fault.help("leave `listen` out, and a free port is chosen once and kept")),
        Err(_) => {
            let port = text.rsplit(':').next().unwrap_or_default();
            Err(match port.parse::<u16>() {
                Ok(port) if port != 0 && text.starts_with("localhost:") => {
                    fault.help(format!("write `127.0.0.1:{port}`"))
                }
                Ok(port) if port != 0 && text.starts_with([':', '*']) => fault.help(format!(
                    "write `{port}` for this machine only, or `0.0.0.0:{port}` for every network"
                )),
                _ => fault
                    .help("write a port (`8080`) or an IP address with a port (`127.0.0.1:8080`)"),
            })
        }
    }
}

fn network(text: &str) -> Result<(), Fault> {
    let fault = Fault::new("bad-network", format!("`{text}` is not a network"));
    match text.parse::<Network>() {
        Ok(_) => Ok(()),
        Err(InvalidNetwork::Within { network, .. }) => Err(fault.help(format!(
            "write `{network}` for the whole network, or the address alone without `/`"
        ))),
        Err(InvalidNetwork::Text(_)) => {
            Err(fault.help("write an IP address, or a network such as `10.0.0.0/8`"))
        }
    }
}

fn choice(text: &str, words: &[&str]) -> Result<(), Fault> {
    if words.contains(&text) {
        return Ok(());
    }
    let fault = Fault::new(
        "unknown-value",
        format!("{} is expected, but this is `{text}`", suggest::list(words.iter().copied(), "or")),
    );
    Err(match suggest::nearest(text, words.iter().copied()) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault,
    })
}
