//! Signatures of certificates that were found good before.
//!
//! A signature is good or bad for ever, and a prober meets the same few certificates each minute: only the
//! first time is it computed. Dates, names, constraints and roots are judged anew each time, and so is the
//! signature of the handshake itself, which is another one each time.
//!
//! Invariant: what is kept was good; at most [`MOST`] are, each by a digest of key, text and signature.

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock, PoisonError};

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use sha2::{Digest as _, Sha256};

/// The most signatures that are kept; beyond that all of them are forgotten, and kept anew.
const MOST: usize = 4096;

/// These algorithms, remembering what was good: for the chains of certificates.
pub(super) fn remembering(algorithms: WebPkiSupportedAlgorithms) -> WebPkiSupportedAlgorithms {
    static ALL: OnceLock<&'static [&'static dyn SignatureVerificationAlgorithm]> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let wrap = |inner: &&'static dyn SignatureVerificationAlgorithm| {
            let wrapped: &'static dyn SignatureVerificationAlgorithm =
                Box::leak(Box::new(Remembering { inner: *inner, good: Mutex::default() }));
            wrapped
        };
        // Once for the process.
        Box::leak(algorithms.all.iter().map(wrap).collect())
    });
    WebPkiSupportedAlgorithms { all, ..algorithms }
}

#[derive(Debug)]
struct Remembering {
    inner: &'static dyn SignatureVerificationAlgorithm,
    good: Mutex<HashSet<[u8; 32]>>,
}

impl SignatureVerificationAlgorithm for Remembering {
    fn verify_signature(&self, key: &[u8], text: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let mut digest = Sha256::new();
        for part in [key, text, signature] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        let digest: [u8; 32] = digest.finalize().into();
        if self.good.lock().unwrap_or_else(PoisonError::into_inner).contains(&digest) {
            return Ok(());
        }
        self.inner.verify_signature(key, text, signature)?;
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good.len() >= MOST {
            good.clear();
        }
        good.insert(digest);
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.signature_alg_id()
    }

    fn fips(&self) -> bool {
        self.inner.fips()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustls::pki_types::alg_id;

    /// Good is a signature that is the key's first byte; it counts how often it was asked.
    #[derive(Debug, Default)]
    struct First(AtomicUsize);

    impl SignatureVerificationAlgorithm for First {
        fn verify_signature(&self, key: &[u8], _: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
            self.0.fetch_add(1, Ordering::Relaxed);
            if key.get(..1) == Some(signature) { Ok(()) } else { Err(InvalidSignature) }
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ED25519
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ED25519
        }
    }

    #[test]
    fn only_the_very_same_is_known_and_only_if_it_was_good() {
        let inner: &'static First = Box::leak(Box::default());
        let known = Remembering { inner, good: Mutex::default() };
        let asked = |key: &[u8], text: &[u8], signature: &[u8]| {
            let good = known.verify_signature(key, text, signature).is_ok();
            (good, inner.0.swap(0, Ordering::Relaxed))
        };
        assert_eq!(asked(b"key", b"text", b"k"), (true, 1));
        assert_eq!(asked(b"key", b"text", b"k"), (true, 0));
        assert_eq!(asked(b"key", b"text", b"x"), (false, 1));
        assert_eq!(asked(b"key", b"text", b"x"), (false, 1), "a bad one is asked for again");
        // Another text, another key, and the same bytes cut elsewhere.
        assert_eq!(asked(b"key", b"texT", b"k"), (true, 1));
        assert_eq!(asked(b"kEy", b"text", b"k"), (true, 1));
        assert_eq!(asked(b"keyt", b"ext", b"k"), (true, 1));
        for n in 0..=MOST {
            assert!(asked(b"key", &n.to_be_bytes(), b"k").0);
        }
        assert!(known.good.lock().unwrap().len() <= MOST);
    }
}
