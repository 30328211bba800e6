//! Where a proxy is reached.

use std::{io, net::SocketAddr, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use tidegate_types::CertificateFiles;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::TlsConnector;

use crate::Failure;

/// The host that clients ask for.
pub(crate) const HOST: &str = "localhost";

/// The addresses of a proxy.
#[derive(Debug, Clone)]
pub(crate) struct Doors {
    /// HTTP/1.1.
    pub(crate) plain: SocketAddr,
    /// HTTP/2 by prior knowledge.
    pub(crate) http2: SocketAddr,
    /// HTTP/2 by agreement in a handshake.
    pub(crate) tls: SocketAddr,
    /// Trusts the certificate that is shown there.
    pub(crate) trust: Arc<ClientConfig>,
}

/// A connection, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Connects; `buffer` is how much of what is not read yet the operating system keeps.
pub(crate) async fn connect(address: SocketAddr, buffer: Option<u32>) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(buffer) = buffer {
        socket.set_recv_buffer_size(buffer)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Agrees on HTTP/2.
pub(crate) async fn encrypt(
    stream: TcpStream,
    trust: &Arc<ClientConfig>,
) -> io::Result<Box<dyn Stream>> {
    let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::clone(trust)).connect(name, stream).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::other("HTTP/2 was not agreed on"));
    }
    Ok(Box::new(stream))
}

/// Writes a certificate for [`HOST`], signed by itself, and says who trusts it.
pub(crate) fn certificate(folder: &Path) -> Result<(CertificateFiles, Arc<ClientConfig>), Failure> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec![HOST.to_owned()])?.self_signed(&key)?;
    let files =
        CertificateFiles { certificate: folder.join("proxy.crt"), key: folder.join("proxy.key") };
    std::fs::write(&files.certificate, certificate.pem())?;
    std::fs::write(&files.key, key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate.der().to_vec()))?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok((files, Arc::new(config)))
}
