//! Telemetry: log lines to standard error, and spans to a collector by OTLP where one is configured.
//!
//! Promises: only attributes that are named in [`spans`] leave the process, so no text of a customer does; a collector that is slow,
//! away or refuses costs spans and nothing else, and is named once; nobody pays for spans that nobody reads.

#[cfg(feature = "otlp")]
pub(crate) mod export;
#[cfg(feature = "otlp")]
mod spans;

use tracing::Subscriber;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt};

use crate::config::{ConfigError, TelemetryAccess};

/// Why spans cannot be sent as configured.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "nothing is sent"))]
pub(crate) enum TelemetryError {
    /// A header has no value.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address or a header cannot be used.
    #[error("the collector of [telemetry] cannot be spoken to: check `otlp` and `headers`")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Telemetry of this process, until [`Telemetry::end`].
pub(crate) struct Telemetry {
    #[cfg(feature = "otlp")]
    exporting: Option<export::Exporting>,
}

impl Telemetry {
    /// Begins: logs go to standard error, quiet unless `PERENNIAL_LOG` (a filter such as `info`) says otherwise; spans go to
    /// the collector, if there is one.
    ///
    /// # Errors
    /// [`TelemetryError`].
    pub(crate) fn start(access: Option<&TelemetryAccess>) -> Result<Telemetry, TelemetryError> {
        #[cfg(feature = "otlp")]
        if let Some(access) = access {
            let (exporting, spans) = export::start(access)?;
            let begun = Registry::default().with(spans).with(logs()).try_init();
            let exporting = begun.is_ok().then_some(exporting);
            return Ok(Telemetry { exporting });
        }
        #[cfg(not(feature = "otlp"))]
        let _ = access;
        // A second start in one process (tests) keeps the first.
        let _ = Registry::default().with(logs()).try_init();
        Ok(Telemetry {
            #[cfg(feature = "otlp")]
            exporting: None,
        })
    }

    /// Sends what was not sent yet, for as long as the end of a command may wait for it.
    pub(crate) fn end(self) {
        #[cfg(feature = "otlp")]
        if let Some(exporting) = self.exporting {
            exporting.end();
        }
    }
}

/// Log lines to standard error.
fn logs<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    let filter = EnvFilter::try_from_env("PERENNIAL_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    fmt::layer().with_writer(std::io::stderr).with_filter(filter)
}
