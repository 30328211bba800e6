//! How an environment is encrypted: certificates in files, and those that the proxy orders.

use tidegate_types::{Acme, CertificateFiles, EnvironmentName, Tls};

use super::{environment::address, fields::Fields};
use crate::problem::Report;

const CERTIFICATE: &str = "environments.*.tls.certificates.*";

pub(super) fn read(
    name: &EnvironmentName,
    fields: &Fields<'_>,
    report: &mut Report<'_>,
) -> Option<Box<Tls>> {
    let span = fields.span("tls")?;
    let tls = fields.child("tls");
    let items = tls.items("certificates");
    let certificates = items.unwrap_or_default().iter().map(|item| {
        let fields = Fields::new(Some(item), CERTIFICATE);
        let path = |name| fields.value::<String>(name).into();
        CertificateFiles { certificate: path("certificate"), key: path("key") }
    });
    let acme = acme(name, &tls, report);
    if let (Some([]), Some(span)) = (items, tls.span("certificates")) {
        report
            .error(
                "empty-list",
                span,
                format!("`tls.certificates` of environment `{name}` names no certificate"),
            )
            .help("name a certificate and its key, or remove `certificates`");
    } else if tls.node("certificates").is_none() && tls.node("acme").is_none() {
        report
            .error(
                "missing-key",
                span,
                format!("`tls` of environment `{name}` does not say where certificates come from"),
            )
            .help("add `certificates` for files of your own, or `acme` to have them ordered");
    }
    Some(Box::new(Tls {
        certificates: certificates.collect(),
        acme,
        redirect_from: address(&tls, "redirect_from"),
    }))
}

fn acme(name: &EnvironmentName, tls: &Fields<'_>, report: &mut Report<'_>) -> Option<Acme> {
    tls.node("acme")?;
    let acme = tls.child("acme");
    let hosts = acme.items("hosts").unwrap_or_default();
    if let (Some([]), Some(span)) = (acme.items("hosts"), acme.span("hosts")) {
        report
            .error("empty-list", span, format!("`tls.acme.hosts` of environment `{name}` is empty"))
            .help("name the hosts that lead here");
    }
    if let (Some(false), Some(span)) = (acme.given("agree_to_terms"), acme.span("agree_to_terms")) {
        report
            .error(
                "not-agreed",
                span,
                format!(
                    "`tls.acme` of environment `{name}` does not agree to the authority's terms"
                ),
            )
            .help(
                "no authority issues a certificate without: read its terms and write \
                 `agree_to_terms: true`, or name certificates of your own in files",
            );
    }
    let directory: String = acme.value("directory");
    if let Some(span) = acme.span("directory")
        && !directory.starts_with("https://")
    {
        report
            .error("bad-url", span, format!("`{directory}` is not an https:// address"))
            .help("write the address of the authority's directory, or leave it out");
    }
    Some(Acme {
        hosts: hosts.iter().filter_map(|host| Some(host.scalar()?.text.clone())).collect(),
        email: acme.text("email").map(str::to_owned),
        directory,
        root: acme.text("root").map(Into::into),
    })
}
