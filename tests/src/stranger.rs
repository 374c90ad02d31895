//! Links that no real collaborator would make: with any certificate or none, and to any server.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use quinn::{
    ClientConfig, ConnectError, Connection, ConnectionError, Endpoint, TransportConfig, VarInt,
    crypto::rustls::QuicClientConfig,
};
use rustls::{
    ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    version::TLS13,
};

/// Why a stranger has no link.
#[derive(Debug, thiserror::Error)]
pub enum NoLink {
    /// No socket.
    #[error("no socket: {0}")]
    Socket(#[from] std::io::Error),
    /// The address cannot be dialled.
    #[error("cannot dial: {0}")]
    Dial(#[from] ConnectError),
    /// The handshake was refused.
    #[error("{0}")]
    Refused(#[from] ConnectionError),
}

/// A client that shows the certificate `own`, or none.
///
/// # Errors
/// When rustls refuses the certificate.
pub fn client(
    own: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
) -> Result<QuicClientConfig, Error> {
    QuicClientConfig::try_from(config(own)?).map_err(|e| Error::General(e.to_string()))
}

/// The same for any carrier.
///
/// # Errors
/// When rustls refuses the certificate.
pub fn config(
    own: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
) -> Result<rustls::ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believer(provider)));
    let mut config = match own {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"fl/1".to_vec()];
    Ok(config)
}

/// Dials; `window` unread bytes may be in flight to this side.
///
/// # Errors
/// [`NoLink`].
pub async fn dial(
    to: SocketAddr,
    config: QuicClientConfig,
    window: u32,
) -> Result<(Endpoint, Connection), NoLink> {
    let mut transport = TransportConfig::default();
    transport.receive_window(VarInt::from_u32(window)).stream_receive_window(VarInt::from_u32(window));
    let mut client = ClientConfig::new(Arc::new(config));
    client.transport_config(Arc::new(transport));
    let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let connection = endpoint.connect_with(client, to, "aggregator.fl")?.await?;
    Ok((endpoint, connection))
}

/// Shakes hands with a server over TCP, sends nothing, and reads until the server ends the connection.
/// Returns how the connection ended, or how many bytes came before its end.
///
/// # Errors
/// The socket's, also when the server does not end the connection `within` this time. A failure of TLS is
/// inside as a [`rustls::Error`].
pub fn read_over_tcp(to: SocketAddr, config: rustls::ClientConfig, within: Duration) -> io::Result<usize> {
    let name = ServerName::try_from("aggregator.fl").map_err(io::Error::other)?;
    let tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let socket = TcpStream::connect(to)?;
    socket.set_read_timeout(Some(within))?;
    let mut stream = StreamOwned::new(tls, socket);
    stream.flush()?;
    stream.read_to_end(&mut Vec::new())
}

/// Accepts every server.
#[derive(Debug)]
struct Believer(Arc<CryptoProvider>);

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
