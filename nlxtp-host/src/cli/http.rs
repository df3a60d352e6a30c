//! Fetching over HTTP and HTTPS, with the proxies that the environment names and the certificates that
//! the system trusts.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use nlxtp_host::error::{Error, ErrorKind, Result};
use nlxtp_host::packages::{Fetch, Fetched};
use ureq::Agent;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};

const CONNECT: Duration = Duration::from_secs(30);
const RESPONSE: Duration = Duration::from_secs(60);
const REDIRECTS: u32 = 5;

/// The client of all downloads of one call.
pub struct Http(Agent);

impl Http {
    /// A client that has made no connection yet.
    pub fn client() -> Arc<dyn Fetch> {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .user_agent(concat!("nlxtp/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(REDIRECTS)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(RESPONSE))
            .build();
        Arc::new(Self(Agent::new_with_config(config)))
    }

    fn get(&self, url: &str, from: u64) -> Result<Response<ureq::Body>> {
        let mut request = self.0.get(url).header(header::ACCEPT_ENCODING, "identity");
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        request.call().map_err(|error| {
            let kind = match error {
                ureq::Error::BadUri(_) | ureq::Error::TooManyRedirects => ErrorKind::NotFound,
                _ => ErrorKind::Io,
            };
            Error::new(kind, "the request failed").with_source(error.to_string())
        })
    }
}

impl Fetch for Http {
    fn fetch(&self, url: &str, from: u64) -> Result<Fetched> {
        let response = self.get(url, from)?;
        let begins_at = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => begin_of(&response).ok_or_else(|| {
                Error::new(ErrorKind::Io, "the server sends a part of the file and does not say which")
            })?,
            // What is kept of the file is longer than the server's.
            StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => return self.fetch(url, 0),
            status => return Err(refused(status)),
        };
        Ok(Fetched { begins_at, body: Box::new(response.into_body().into_reader()) as Box<dyn Read + Send> })
    }
}

/// `Content-Range: bytes BEGIN-END/ALL`
fn begin_of(response: &Response<ureq::Body>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

fn refused(status: StatusCode) -> Error {
    let may_pass = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS | StatusCode::TOO_EARLY);
    let kind = if may_pass { ErrorKind::Io } else { ErrorKind::NotFound };
    Error::new(kind, format!("the server answers \"{status}\""))
}
