//! How long and how much the gateway of an environment allows.

use tidegate_types::{Duration, EnvironmentName, GatewayLimits};

use super::fields::Fields;
use crate::{problem::Report, scalar};

/// A head of this size is read at once in any case.
const SMALLEST_HEAD: (u64, &str) = (8 << 10, "8KiB");

/// Each connection may take as much memory.
const LARGEST_HEAD: (u64, &str) = (1 << 20, "1MiB");

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_hours(1);

/// Reads `limits` of a gateway. What is out of bounds is reported and counts as not written.
pub(super) fn read(
    of: &EnvironmentName,
    gateway: &Fields<'_>,
    report: &mut Report<'_>,
) -> Option<Box<GatewayLimits>> {
    gateway.node("limits")?;
    let fields = gateway.child("limits");
    let limits = GatewayLimits {
        head_size: head_size(of, &fields, report),
        head_timeout: time(of, &fields, "head_timeout", report),
        idle_timeout: time(of, &fields, "idle_timeout", report),
        connect_timeout: time(of, &fields, "connect_timeout", report),
        answer_timeout: time(of, &fields, "answer_timeout", report),
        http2_streams: fields.given("http2_streams"),
    };
    (limits != GatewayLimits::default()).then(|| Box::new(limits))
}

fn head_size(of: &EnvironmentName, fields: &Fields<'_>, report: &mut Report<'_>) -> Option<u64> {
    let text = fields.text("head_size")?;
    let size = scalar::size(text)?;
    let ((least, smallest), (most, largest)) = (SMALLEST_HEAD, LARGEST_HEAD);
    if (least..=most).contains(&size) {
        return Some(size);
    }
    report
        .error(
            "out-of-range",
            fields.span("head_size")?,
            format!(
                "`gateway.limits.head_size` of environment `{of}`: {smallest} to {largest} is expected, \
                 but this is {text}"
            ),
        )
        .help(format!("write `{}`", if size < least { smallest } else { largest }));
    None
}

fn time(
    of: &EnvironmentName,
    fields: &Fields<'_>,
    name: &str,
    report: &mut Report<'_>,
) -> Option<Duration> {
    let time: Duration = fields.given(name)?;
    if (SHORTEST..=LONGEST).contains(&time) {
        return Some(time);
    }
    let nearest = time.clamp(SHORTEST, LONGEST);
    report
        .error(
            "out-of-range",
            fields.span(name)?,
            format!(
                "`gateway.limits.{name}` of environment `{of}`: {SHORTEST} to {LONGEST} is expected, \
                 but this is {time}"
            ),
        )
        .help(format!("write `{nearest}`"));
    None
}
