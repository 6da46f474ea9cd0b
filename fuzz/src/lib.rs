//! What must hold for any bytes, layer by layer.
//!
//! Every function in a layer's module is a *target*: it takes arbitrary bytes, gives them to one part of the layer,
//! and panics if the part breaks a promise. The programs in `fuzz_targets/` hand these functions to libFuzzer, which
//! searches for such bytes by coverage; the test `replay` calls them with the seeds in `corpus/` and with some
//! thousands of variations, on any toolchain and without libFuzzer.
//!
//! Not panicking is the least of the promises. Codecs are held to *what is read can be written and read again*; the
//! log and the slots to *nothing is handed out that was not written*; the view and the snapshot to a naive model
//! or to their own other half. Formats with checksums are attacked twice: with damage, which the checksum must catch,
//! and with *forged* content, sealed anew, which must at least do no harm.
//!
//! ```
//! // No message, so nothing to hold it to, and no panic:
//! ferrolite_fuzz::wire::wire_request(b"GET / HTTP/1.1\r\n\r\n");
//! ```

#![forbid(unsafe_code)]

#[cfg(feature = "consensus")]
pub mod consensus;
#[cfg(feature = "pager")]
pub mod pager;
pub mod tape;
#[cfg(feature = "wal")]
pub mod wal;
#[cfg(feature = "wire")]
pub mod wire;

/// A function that takes bytes and panics when they break a promise.
pub type Target = fn(&[u8]);

/// All targets that were built, by name.
#[must_use]
pub fn targets() -> Vec<(&'static str, Target)> {
    let layers: &[&[(&str, Target)]] = &[
        #[cfg(feature = "consensus")]
        consensus::TARGETS,
        #[cfg(feature = "pager")]
        pager::TARGETS,
        #[cfg(feature = "wal")]
        wal::TARGETS,
        #[cfg(feature = "wire")]
        wire::TARGETS,
    ];
    layers.concat()
}
