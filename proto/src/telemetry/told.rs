//! Exporters that say when the collector takes nothing, and when it does again.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::{SpanData, SpanExporter},
};

/// An exporter of one kind of signal, each change of whose luck is said once.
#[derive(Debug)]
pub(super) struct Told<E> {
    exporter: E,
    signal: &'static str,
    is_failing: AtomicBool,
}

impl<E> Told<E> {
    /// `signal`: what people call it that is exported.
    pub(super) fn new(exporter: E, signal: &'static str) -> Self {
        Self {
            exporter,
            signal,
            is_failing: AtomicBool::new(false),
        }
    }

    fn tell(&self, result: OTelSdkResult) -> OTelSdkResult {
        let (signal, was_failing) = (
            self.signal,
            self.is_failing.swap(result.is_err(), Ordering::Relaxed),
        );
        match &result {
            Err(error) if !was_failing => {
                tracing::warn!(signal, %error, "the collector takes nothing; it is tried again");
            }
            Err(error) => tracing::debug!(signal, %error, "the collector still takes nothing"),
            Ok(()) if was_failing => tracing::info!(signal, "the collector takes them again"),
            Ok(()) => {}
        }
        result
    }
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.tell(self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Told<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.tell(self.exporter.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
