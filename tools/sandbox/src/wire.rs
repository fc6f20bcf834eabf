//! Requests and answers as plain values, and a listener whose connections can be cut.
//!
//! Promises: a request is read within limits before anything looks at it; a cut connection sends not one byte more.
//! Does not: know either vendor.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use base64::Engine as _;
use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The largest request body: the file of a bulk job. Both vendors refuse far smaller ones on other routes.
pub(crate) const BODY_MAX: usize = 150 * 1024 * 1024;

/// The longest path with query. A SOQL query in the address may reach 16 KiB at the vendor.
pub(crate) const PATH_MAX: usize = 16 * 1024;

/// The most query parameters that are read.
const PARAMETERS_MAX: usize = 100;

/// One request, fully read.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    /// The path as sent, without the query.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// `http://127.0.0.1:port` of the server that was asked.
    pub(crate) base_url: String,
}

impl Call {
    /// The decoded segments of the path. A trailing slash makes no segment.
    pub(crate) fn segments(&self) -> Vec<String> {
        self.path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| decode(part, Plus::Kept))
            .collect()
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A parameter that is a comma list, or repeated, or both.
    pub(crate) fn list(&self, name: &str) -> Option<Vec<String>> {
        let values: Vec<&str> = self
            .query
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .collect();
        if values.is_empty() {
            return None;
        }
        let parts = values.iter().flat_map(|value| value.split(','));
        Some(
            parts
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty())
                .collect(),
        )
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Who is asking, as they call themselves.
    pub(crate) fn by(&self) -> &str {
        self.header("user-agent").unwrap_or("unknown")
    }

    /// The bearer token of the request, empty without one.
    pub(crate) fn bearer(&self) -> &str {
        self.header("authorization")
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, sent)| sent.trim())
            .unwrap_or("")
    }

    /// User and password of HTTP Basic.
    pub(crate) fn basic(&self) -> Option<(String, String)> {
        let (scheme, sent) = self.header("authorization")?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(sent.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }

    pub(crate) fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body).map_err(|source| source.to_string())
    }

    pub(crate) fn form(&self) -> Vec<(String, String)> {
        pairs(&String::from_utf8_lossy(&self.body))
    }
}

/// The pairs of a query or a form.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|part| !part.is_empty())
        .take(PARAMETERS_MAX)
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(key, Plus::IsSpace), decode(value, Plus::IsSpace))
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    /// In a path, plus is plus.
    Kept,
    /// In a query or form, plus is a space.
    IsSpace,
}

fn decode(text: &str, plus: Plus) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let pair = text
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, pair) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                at += 3;
                continue;
            }
            (b'+', _) if plus == Plus::IsSpace => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// One answer, before it is put on the wire.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Empty,
    Json(Value),
    Html(String),
    Csv(String),
}

impl Reply {
    pub(crate) fn json(status: u16, body: Value) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            content: Content::Json(body),
        }
    }

    pub(crate) fn empty(status: u16) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            content: Content::Empty,
        }
    }

    pub(crate) fn html(status: u16, page: String) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            content: Content::Html(page),
        }
    }

    pub(crate) fn csv(text: String) -> Reply {
        Reply {
            status: 200,
            headers: Vec::new(),
            content: Content::Csv(text),
        }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    /// The answer for the wire. `keep` halves or delays a body when an injected fault asks for it.
    pub(crate) fn into_response(self, keep: Keep) -> Response {
        let (kind, mut bytes) = match self.content {
            Content::Empty => (None, Vec::new()),
            Content::Json(body) => (Some("application/json;charset=UTF-8"), body.to_string().into_bytes()),
            Content::Html(page) => (Some("text/html; charset=utf-8"), page.into_bytes()),
            Content::Csv(text) => (Some("text/csv"), text.into_bytes()),
        };
        if keep == Keep::Half {
            bytes.truncate(bytes.len() / 2);
        }
        let body = match keep {
            Keep::All | Keep::Half => Body::from(bytes),
            Keep::Drip(delay) => {
                let rest = bytes.split_off(bytes.len() / 2);
                let late = stream::once(async move {
                    tokio::time::sleep(delay).await;
                    Ok::<_, io::Error>(rest)
                });
                Body::from_stream(stream::iter([Ok(bytes)]).chain(late))
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if let Some(kind) = kind {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    All,
    Half,
    /// Everything, but the second half late.
    Drip(std::time::Duration),
}

/// A handle that cuts one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut(Arc<AtomicBool>);

impl Cut {
    pub(crate) fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::SeqCst) {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "cut by an injected fault",
            ));
        }
        Ok(())
    }
}

impl Connected<IncomingStream<'_, CuttingListener>> for Cut {
    fn connect_info(stream: IncomingStream<'_, CuttingListener>) -> Cut {
        stream.io().cut.clone()
    }
}

/// Accepts connections that can be cut from inside.
pub(crate) struct CuttingListener(pub(crate) TcpListener);

impl Listener for CuttingListener {
    type Io = CuttableStream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (CuttableStream, Self::Addr) {
        // Called by path because both traits have an `accept`; axum's one retries and never fails.
        let (stream, address) = <TcpListener as Listener>::accept(&mut self.0).await;
        (
            CuttableStream {
                stream,
                cut: Cut::default(),
            },
            address,
        )
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// A connection that stops working once it is cut.
pub(crate) struct CuttableStream {
    stream: TcpStream,
    cut: Cut,
}

impl AsyncRead for CuttableStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.cut.check()?;
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.cut.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
