//! Whose signature on a server's certificate counts.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// The environment variable that names the file of certificate authorities.
pub(crate) const VARIABLE: &str = "CONTROL_PLANE_CA_FILE";

/// The certificate authorities that vouch for servers: those of the web, or the ones that a file names and no others.
///
/// Clones are one.
#[derive(Clone, Default)]
pub struct Authorities(Option<Arc<Vec<Certificate<'static>>>>);

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() {
            "given"
        } else {
            "the web's"
        })
    }
}

impl Authorities {
    /// Reads certificates in PEM.
    ///
    /// # Errors
    /// Why the file cannot be used, in the user's terms.
    pub fn read(file: &Path) -> Result<Self, String> {
        let named = file.display();
        let pem =
            std::fs::read(file).map_err(|error| format!("`{named}` cannot be read: {error}"))?;
        let mut certificates = Vec::new();
        for item in parse_pem(&pem) {
            match item {
                Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
                Ok(_) => {}
                Err(error) => return Err(format!("`{named}` is not PEM: {error}")),
            }
        }
        if certificates.is_empty() {
            let detail = "holds no certificate between `-----BEGIN CERTIFICATE-----` and its end";
            return Err(format!("`{named}` {detail}"));
        }
        Ok(Self(Some(Arc::new(certificates))))
    }

    pub(crate) fn tls(&self) -> TlsConfig {
        let roots = match &self.0 {
            None => RootCerts::WebPki,
            Some(certificates) => RootCerts::Specific(certificates.clone()),
        };
        TlsConfig::builder().root_certs(roots).build()
    }
}

/// What is wrong with a server's TLS, if that is why a request failed.
pub(crate) fn distrusted(error: &ureq::Error) -> Option<String> {
    let detail = match error {
        // As what is wrong with what came.
        ureq::Error::Io(cause) if cause.kind() == io::ErrorKind::InvalidData => cause.to_string(),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => error.to_string(),
        _ => return None,
    };
    Some(if detail.contains("UnknownIssuer") {
        format!(
            "its certificate is signed by no authority that is trusted here ({detail}); name the file of the one \
             that signs it with {VARIABLE}"
        )
    } else {
        format!("its TLS is not accepted: {detail}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_by_name() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("ca.pem");
        let refused = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Authorities::read(&file).unwrap_err()
        };
        assert!(refused("").contains("ca.pem` holds no certificate"));
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(refused(key).contains("holds no certificate"));
        assert!(refused("-----BEGIN CERTIFICATE-----\nAAAA\n").contains("is not PEM"));
        std::fs::remove_file(&file).unwrap();
        assert!(
            Authorities::read(&file)
                .unwrap_err()
                .contains("cannot be read")
        );
    }
}
