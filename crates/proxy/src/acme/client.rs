//! How an authority is spoken to: HTTP/1.1 over TLS, a connection for each request. An order makes
//! about a dozen of them, once in two months.

use std::{error::Error as StdError, path::Path, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header::HOST, uri::Scheme};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tokio_rustls::TlsConnector;

/// For a request and its answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer of an authority is longer.
const LONGEST: usize = 1 << 20;

type Failure = Box<dyn StdError + Send + Sync>;

/// A client for one authority.
pub(super) struct Client(TlsConnector);

impl Client {
    /// One that trusts those in this file, or those whom the system trusts. Blocks as long as the
    /// files do.
    pub(super) fn new(root: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match root {
            Some(path) => {
                let unusable = |reason: &dyn std::fmt::Display| {
                    format!("the file {} cannot be used as `root`: {reason}", path.display())
                };
                let found = CertificateDer::pem_file_iter(path)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|error| unusable(&error))?;
                for certificate in found {
                    roots.add(certificate).map_err(|error| unusable(&error))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err(match root {
                Some(path) => {
                    format!("the file {} holds no certificate in PEM form", path.display())
                }
                None => "the system trusts no certificate authority; install its list \
                         (ca-certificates), or name a file by `root`"
                    .to_owned(),
            });
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let connector = self.0.clone();
        Box::pin(async move {
            let uri = request.uri().clone();
            let failure = match timeout(PATIENCE, ask(connector, request)).await {
                Ok(Ok(response)) => return Ok(response.into()),
                Ok(Err(error)) => format!("{uri} cannot be asked: {error}"),
                Err(_) => format!("{uri} did not answer within {} s", PATIENCE.as_secs()),
            };
            Err(instant_acme::Error::Other(failure.into()))
        })
    }
}

async fn ask(
    connector: TlsConnector,
    mut request: Request<BodyWrapper<Bytes>>,
) -> Result<Response<Full<Bytes>>, Failure> {
    let uri = request.uri().clone();
    if uri.scheme() != Some(&Scheme::HTTPS) {
        return Err("it is not an https:// address".into());
    }
    let authority = uri.authority().ok_or("it names no host")?;
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(443))).await?;
    let stream = connector.connect(ServerName::try_from(host.to_owned())?, stream).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _driver = Driver(tokio::spawn(async move {
        // What is wrong with it is told to who waits for the answer.
        let _ = connection.await;
    }));
    request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse::<Uri>()?;
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, LONGEST).collect().await?.to_bytes();
    Ok(Response::from_parts(parts, Full::new(body)))
}

/// Ends with who waits for the answer.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
