//! How long a certificate is valid: the two times in its DER form, which the TLS library looks at
//! only for the certificates of others.

use std::path::Path;

use rustls::pki_types::{CertificateDer, pem::PemObject as _};

/// From when until when.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) from: Moment,
    pub(crate) until: Moment,
}

/// A moment in seconds since 1970, and as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) seconds: i64,
    pub(crate) text: String,
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

impl Validity {
    /// Of the first certificate in a file in PEM form.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        Self::of(&CertificateDer::from_pem_file(path).ok()?)
    }

    /// Of a certificate in DER form.
    pub(crate) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate, _) = element(certificate)?;
        let (_, mut rest, _) = element(certificate)?;
        if rest.first() == Some(&VERSION) {
            rest = element(rest)?.2;
        }
        // The serial number, the algorithm and the issuer.
        for _ in 0..3 {
            rest = element(rest)?.2;
        }
        let (tag, times, _) = element(rest)?;
        if tag != SEQUENCE {
            return None;
        }
        let (from_tag, from, times) = element(times)?;
        let (until_tag, until, _) = element(times)?;
        Some(Self { from: moment(from_tag, from)?, until: moment(until_tag, until)? })
    }
}

/// The first element's tag and content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn moment(tag: u8, text: &[u8]) -> Option<Moment> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let full = match tag {
        UTC_TIME if text.len() == 12 && text < "50" => format!("20{text}"),
        UTC_TIME if text.len() == 12 => format!("19{text}"),
        GENERALIZED_TIME if text.len() == 14 => text.to_owned(),
        _ => return None,
    };
    if !full.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| full[from..to].parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have their odd day at the end.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day
        - 1
        - 719_468;
    Some(Moment {
        seconds: ((days * 24 + hour) * 60 + minute) * 60 + second,
        text: format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (GENERALIZED_TIME, "20000229120000Z", Some(951_825_600)),
            (GENERALIZED_TIME, "20501301000000Z", None),
            (UTC_TIME, "20000101000000Z", None),
            (UTC_TIME, "70010100000\u{e9}Z", None),
        ] {
            let found = moment(tag, text.as_bytes()).map(|moment| moment.seconds);
            assert_eq!(found, seconds, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Validity::of(&bytes);
        }
    }
}
