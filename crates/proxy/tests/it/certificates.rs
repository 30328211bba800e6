//! Certificates in files, and clients that look at what they are shown.

use std::{net::SocketAddr, path::Path, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tidegate_types::{CertificateFiles, Gateway, Tls, data_plane::ProxyTable};

use crate::harness::{Caller, socket_to};

/// A certificate in a file, its key in another.
pub(crate) struct Certificate {
    pub(crate) files: CertificateFiles,
    pub(crate) der: CertificateDer<'static>,
}

impl Certificate {
    /// One for this host, signed by itself.
    pub(crate) fn write(folder: &Path, name: &str, host: &str) -> Self {
        let params = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
        Self::write_from(folder, name, &params)
    }

    pub(crate) fn write_from(folder: &Path, name: &str, params: &rcgen::CertificateParams) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let files = CertificateFiles {
            certificate: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        Self { files, der: certificate.der().clone() }
    }
}

/// A table that is reached by TLS with these.
pub(crate) fn encrypted(table: ProxyTable, certificates: &[&Certificate]) -> ProxyTable {
    let certificates = certificates.iter().map(|certificate| certificate.files.clone()).collect();
    let gateway =
        Gateway { tls: Some(Tls { certificates, ..Tls::default() }.into()), ..table.gateway };
    ProxyTable { gateway, ..table }
}

/// A client that trusts everybody and remembers sessions.
pub(crate) fn trusting(
    versions: &[&'static rustls::SupportedProtocolVersion],
    protocols: &[&str],
) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A client of any version and HTTP/1.1.
pub(crate) fn anybody() -> Arc<ClientConfig> {
    trusting(rustls::ALL_VERSIONS, &[])
}

/// A connection after its handshake.
pub(crate) type Encrypted = StreamOwned<ClientConnection, std::net::TcpStream>;

pub(crate) fn handshake(
    address: SocketAddr,
    host: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<Encrypted> {
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, socket_to(address));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// What a client that asks for this host is shown.
pub(crate) fn shown(address: SocketAddr, host: &str) -> CertificateDer<'static> {
    let stream = handshake(address, host, &anybody()).unwrap();
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

/// A caller by TLS and HTTP/1.1.
pub(crate) fn caller(address: SocketAddr) -> Caller {
    Caller::over(handshake(address, "shop", &anybody()).unwrap())
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
